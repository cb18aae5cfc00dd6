//! The file of the embedded store: what it holds without its side files, copies of it, damage.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bus::{Bus, Context};
use model::Host;
use runtime::Lifecycle;
use storage_client::StorageClient;
use storage_svc::store::Store;

use crate::service::{config, host};
use crate::store::{one, put};

/// A store on the file alone, as somebody finds it who copied nothing else.
fn alone(file: &Path) -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.db");
    std::fs::copy(file, &copy).unwrap();
    let store = Store::sqlite(&copy).unwrap();
    (folder, store)
}

fn made() -> (tempfile::TempDir, PathBuf, Store) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = Store::sqlite(&path).unwrap();
    (folder, path, store)
}

#[tokio::test]
async fn after_a_checkpoint_the_file_alone_holds_every_record() {
    let (_folder, path, store) = made();
    store.commit(put("/a", "1")).await.unwrap();
    assert!(one(&alone(&path).1, "/a").await.is_none(), "it is in the WAL");
    store.checkpoint().await.unwrap();
    assert_eq!(one(&alone(&path).1, "/a").await.unwrap().value, "1");
    store.commit(put("/a", "2")).await.unwrap();
    assert_eq!(one(&store, "/a").await.unwrap().value, "2");
}

#[tokio::test]
async fn a_store_that_is_closing_acknowledges_what_is_in_the_file_alone() {
    let (_folder, path, store) = made();
    store.commit(put("/a", "1")).await.unwrap();
    store.close().await.unwrap();
    assert_eq!(one(&alone(&path).1, "/a").await.unwrap().value, "1");
    store.commit(put("/b", "2")).await.unwrap();
    assert_eq!(one(&alone(&path).1, "/b").await.unwrap().value, "2");
}

#[tokio::test]
async fn after_a_stop_of_the_service_the_file_alone_holds_every_record() {
    let folder = tempfile::tempdir().unwrap();
    let (bus, life) = (Bus::memory(), Lifecycle::new());
    storage_svc::run(&bus, &config(folder.path()), &life).await.unwrap();
    let storage = StorageClient::new(bus.clone(), Context::service("test"));
    storage.save(&host("10.0.0.1")).await.unwrap();
    life.shutdown(Duration::from_secs(20)).await;

    let (copy, store) = alone(&folder.path().join("store.db"));
    drop(store);
    std::fs::rename(copy.path().join("copy.db"), copy.path().join("store.db")).unwrap();
    std::fs::copy(folder.path().join("secret.key"), copy.path().join("secret.key")).unwrap();
    let (bus, life) = (Bus::memory(), Lifecycle::new());
    storage_svc::run(&bus, &config(copy.path()), &life).await.unwrap();
    let storage = StorageClient::new(bus, Context::service("test"));
    assert_eq!(storage.get::<Host>("10.0.0.1").await.unwrap().record.address, "10.0.0.1");
    life.shutdown(Duration::from_secs(20)).await;
}

#[tokio::test]
async fn a_copy_of_a_database_in_use_is_whole_private_and_overwrites_nothing() {
    let (folder, path, store) = made();
    for n in 0..100 {
        store.commit(put(&format!("/k/{n}"), "x")).await.unwrap();
    }
    let copy = folder.path().join("copy.db");
    Store::copy_sqlite(&path, &copy).unwrap();
    let mode = std::fs::metadata(&copy).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode, 0o600);
    store.commit(put("/later", "x")).await.unwrap();

    let error = Store::copy_sqlite(&path, &copy).unwrap_err();
    let error = bus::error::chain(&error);
    assert!(error.contains("copy.db") && error.contains("already exists"), "{error}");
    let copied = Store::sqlite(&copy).unwrap();
    assert_eq!(copied.list("/k/").await.unwrap().len(), 100);
    let (next, before) = (put("/k/0", "y"), store.list("/k/").await.unwrap());
    assert_eq!(copied.list("/k/").await.unwrap(), before, "revisions and all");
    copied.commit(next).await.unwrap();
    let files = std::fs::read_dir(folder.path()).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    assert!(names.into_iter().all(|name| !name.contains("new-")), "nothing is left behind");
}

#[tokio::test]
async fn there_is_nothing_to_copy_where_there_is_no_database() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.db");
    let error = Store::copy_sqlite(&folder.path().join("store.db"), &copy).unwrap_err();
    assert!(error.to_string().contains("cannot open the database"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_damaged_file_is_refused_and_left_as_it_is() {
    let (_folder, path, store) = made();
    for n in 0..500 {
        store.commit(put(&format!("/k/{n}"), &"x".repeat(100))).await.unwrap();
    }
    store.close().await.unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    for page in 3..bytes.len() / 4096 {
        bytes[page * 4096..page * 4096 + 200].fill(0xFF);
    }
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in [("pages.db", bytes), ("text.db", b"x".repeat(8192))] {
        let damaged = folder.path().join(name);
        std::fs::write(&damaged, &content).unwrap();
        let error = Store::sqlite(&damaged).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains("is damaged"), "{error}");
        assert!(error.contains("copy-database"), "{error}");
        assert_eq!(std::fs::read(&damaged).unwrap(), content, "{name}");
    }
}
