//! The sealing key: made once, the same for all who share a store, and checked before it is used.

use std::path::Path;

use bus::Bus;
use model::HostCreds;
use runtime::Lifecycle;
use storage_client::StorageClient;
use storage_svc::Config;

use crate::service::refused;

/// A storage service over `folder`'s store, with a key file of its own.
fn replica(folder: &Path, key: &str) -> Config {
    Config::sqlite(folder.join("store.db"), folder.join(key))
}

/// Starts a service, and stops it after `work`.
async fn running(config: &Config, work: impl AsyncFnOnce(StorageClient)) {
    let (bus, life) = (Bus::memory(), Lifecycle::new());
    storage_svc::run(&bus, config, &life).await.unwrap();
    work(StorageClient::new(bus, bus::Context::service("test"))).await;
    life.shutdown(std::time::Duration::from_secs(5)).await;
}

async fn nothing(_storage: StorageClient) {}

/// Also before anything is sealed: else both would seal, each with its own.
#[tokio::test]
async fn a_service_with_a_key_of_its_own_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (replica(folder.path(), "one.key"), replica(folder.path(), "two.key"));
    running(&one, nothing).await;
    let error = refused(&two).await;
    assert!(error.contains("two.key is missing, and the store holds credentials"), "{error}");
    assert!(!folder.path().join("two.key").exists());

    let elsewhere = tempfile::tempdir().unwrap();
    running(&replica(elsewhere.path(), "x.key"), nothing).await;
    std::fs::copy(elsewhere.path().join("x.key"), folder.path().join("two.key")).unwrap();
    let error = refused(&two).await;
    let of_one = std::fs::read_to_string(folder.path().join("one.key")).unwrap();
    let id = of_one.split(' ').next().unwrap();
    assert!(error.contains(&format!("sealed with the key {id}, which is not in")), "{error}");
    assert!(error.contains("two.key") && !error.contains(of_one.split(' ').nth(1).unwrap()));

    std::fs::copy(folder.path().join("one.key"), folder.path().join("two.key")).unwrap();
    running(&two, nothing).await;
}

#[tokio::test]
async fn replicas_that_start_at_once_make_one_key() {
    let folder = tempfile::tempdir().unwrap();
    let config = replica(folder.path(), "secret.key");
    let start = async |number| {
        running(&config, async |storage: StorageClient| {
            let creds = HostCreds::new(&format!("10.0.0.{number}"));
            storage.save(&creds).await.unwrap();
        })
        .await;
    };
    futures_util::future::join_all((0..8).map(start)).await;
    let key = std::fs::read_to_string(folder.path().join("secret.key")).unwrap();
    assert_eq!(key.lines().count(), 1);
    // And everything that they have sealed opens with it.
    running(&config, async |storage: StorageClient| {
        assert!(!storage.list::<HostCreds>().await.unwrap().is_empty());
    })
    .await;
}

/// A store from before there were marks gets one.
#[tokio::test]
async fn a_store_without_a_mark_is_marked() {
    let folder = tempfile::tempdir().unwrap();
    let config = replica(folder.path(), "secret.key");
    running(&config, nothing).await;
    let database = rusqlite::Connection::open(folder.path().join("store.db")).unwrap();
    assert_eq!(database.execute("DELETE FROM records", []).unwrap(), 1);
    running(&config, nothing).await;
    let marked: String =
        database.query_row("SELECT key FROM records", [], |row| row.get(0)).unwrap();
    assert_eq!(marked, "/commissaire/secrets/mark");
}
