//! An etcd that is away when the service starts.

use std::path::Path;
use std::time::Duration;

use bus::{Bus, Context, Kind};
use model::{Host, HostCreds};
use runtime::Lifecycle;
use serde_json::{Value, json};
use storage_client::StorageClient;
use storage_svc::Config;
use testbed::etcd::{ALL, Etcd};
use testbed::log::Log;

use crate::service::{host, refused};

fn config(etcd: &Etcd, key: &Path) -> Config {
    config_at(etcd.endpoints(), key)
}

fn config_at(endpoints: &str, key: &Path) -> Config {
    let handler = json!({"type": "commissaire.storage.etcd", "server_url": endpoints});
    serde_json::from_value(json!({"storage_handlers": handler, "secret_key_file": key})).unwrap()
}

async fn start(config: &Config) -> (StorageClient, Lifecycle) {
    let (bus, life) = (Bus::memory(), Lifecycle::new());
    storage_svc::run(&bus, config, &life).await.unwrap();
    (StorageClient::new(bus, Context::service("test")), life)
}

/// Waits until `storage` can do `work`; meanwhile it may only be unavailable.
async fn eventually<T>(work: impl AsyncFn() -> bus::Result<T>) -> T {
    let tried = async {
        loop {
            match work().await {
                Ok(done) => return done,
                Err(error) => assert_eq!(error.kind(), Kind::Unavailable, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), tried).await.unwrap()
}

#[tokio::test]
async fn an_outage_of_etcd_is_two_lines_that_name_its_option() {
    let (etcd, folder) = (Etcd::up(), tempfile::tempdir().unwrap());
    let handler = json!({"type": "etcd", "server_url": etcd.endpoints()});
    let Value::Object(fields) = json!({"storage_handlers": handler}) else { panic!("an object") };
    let path = Path::new("/etc/commissaire/storage.conf");
    let (storage, life) = start(&Config::parse(path, fields, folder.path()).unwrap()).await;
    storage.save(&host("10.0.0.1")).await.unwrap();
    let log = Log::capture();
    etcd.stop(ALL);
    let left = async {
        // Until the replica takes no requests any more.
        while storage.get::<Host>("10.0.0.1").await.is_ok()
            || !log.text().contains("takes no requests until it does")
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(2), left).await.unwrap();
    etcd.start(ALL);
    eventually(async || storage.save(&host("10.0.0.2")).await).await;
    let place = format!("etcd at {} (`server_url` in {})", etcd.endpoints(), path.display());
    let lines = log.from_info();
    let of_etcd: Vec<_> = lines.iter().filter(|line| line.contains("etcd at")).collect();
    assert_eq!(of_etcd.len(), 2, "{lines:#?}");
    assert!(of_etcd[0].contains(&format!("{place} is unavailable: ")), "{lines:#?}");
    assert!(of_etcd[0].contains("Connection refused"), "{lines:#?}");
    assert!(of_etcd[1].contains(&format!("{place} is available again after ")), "{lines:#?}");
    // The test is a client in the same process.
    let others: Vec<_> = lines.iter().filter(|line| !line.contains("etcd at")).collect();
    assert!(others.iter().all(|line| line.contains("the storage service is ")), "{lines:#?}");
    assert!(others.len() <= 2, "{lines:#?}");
    life.shutdown(Duration::from_secs(5)).await;
}

/// Each sort of mistake is told from the others, and with the option; no password is shown.
#[tokio::test]
async fn an_etcd_that_cannot_be_used_is_named_with_its_option_and_without_its_password() {
    let (etcd, folder) = (Etcd::up(), tempfile::tempdir().unwrap());
    etcd.ctl(&["user", "add", "root:hunter2"]);
    etcd.ctl(&["user", "grant-role", "root", "root"]);
    etcd.ctl(&["auth", "enable"]);
    let at = etcd.endpoints().trim_start_matches("http://").to_owned();
    let log = Log::capture();
    let cases = [
        (json!({"server_url": "http://127.0.0.1:1"}), "http://127.0.0.1:1", "Connection refused"),
        // An etcd without TLS ends the connection in one of several ways.
        (json!({"server_url": format!("https://{at}")}), &*format!("https://{at}"), ""),
        (
            json!({"server_url": etcd.endpoints(), "username": "root", "password": "s3cr3t"}),
            etcd.endpoints(),
            "authentication failed, invalid user ID or password",
        ),
    ];
    // At the same time, since each start waits for its etcd.
    let starts = cases.iter().enumerate().map(async |(number, (handler, ..))| {
        let mut handler = handler.clone();
        handler["type"] = json!("etcd");
        let fields = json!({"storage_handlers": handler});
        let Value::Object(fields) = fields else { panic!("an object") };
        let folder = folder.path().join(number.to_string());
        start(&Config::parse(Path::new("/x.conf"), fields, &folder).unwrap()).await
    });
    let started = futures_util::future::join_all(starts).await;
    let mut lines = log.from_warn();
    lines.retain(|line| line.contains("etcd at"));
    for (_, url, why) in &cases {
        let outage = format!("etcd at {url} (`server_url` in /x.conf) is unavailable: ");
        let told = lines.iter().filter(|line| line.contains(&outage) && line.contains(why)).count();
        assert_eq!(told, 1, "{url} {why}: {lines:#?}");
    }
    assert_eq!(lines.len(), cases.len(), "{lines:#?}");
    assert!(!log.text().contains("s3cr3t"));
    for (_, life) in started {
        life.shutdown(Duration::from_secs(5)).await;
    }
}

/// A key is made only when the store is seen to hold nothing that is sealed with another.
#[tokio::test]
async fn it_is_waited_for_and_no_key_is_made_before() {
    let (etcd, folder) = (Etcd::up(), tempfile::tempdir().unwrap());
    let key = folder.path().join("secret.key");
    etcd.stop(ALL);
    let (storage, life) = start(&config(&etcd, &key)).await;
    let (of_host, of_creds) =
        tokio::join!(storage.get::<Host>("10.0.0.1"), storage.get::<HostCreds>("10.0.0.1"));
    assert_eq!(of_host.unwrap_err().kind(), Kind::Unavailable);
    assert_eq!(of_creds.unwrap_err().kind(), Kind::Unavailable);
    assert!(!key.exists());

    etcd.start(ALL);
    eventually(async || storage.save(&host("10.0.0.1")).await).await;
    eventually(async || storage.save(&HostCreds::new("10.0.0.1")).await).await;
    assert!(key.exists());
    life.shutdown(Duration::from_secs(5)).await;

    // Another machine with the same etcd.
    let elsewhere = folder.path().join("elsewhere.key");
    let error = refused(&config(&etcd, &elsewhere)).await;
    assert!(error.contains("elsewhere.key is missing"), "{error}");
    std::fs::copy(&key, &elsewhere).unwrap();
    let (storage, life) = start(&config(&etcd, &elsewhere)).await;
    assert_eq!(storage.list::<HostCreds>().await.unwrap().len(), 1);
    life.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_key_that_turns_out_to_be_the_wrong_one_ends_the_service() {
    let (etcd, folder) = (Etcd::up(), tempfile::tempdir().unwrap());
    let (key, other) = (folder.path().join("secret.key"), folder.path().join("other.key"));
    let (storage, life) = start(&config(&etcd, &key)).await;
    storage.save(&HostCreds::new("10.0.0.1")).await.unwrap();
    life.shutdown(Duration::from_secs(5)).await;
    drop(storage_svc::Sealer::open(&other, false).unwrap());

    etcd.stop(ALL);
    let (storage, life) = start(&config(&etcd, &other)).await;
    etcd.start(ALL);
    let refused = storage.save(&HostCreds::new("10.0.0.2")).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Unavailable);
    tokio::time::timeout(Duration::from_secs(30), life.stopping()).await.unwrap();
    life.shutdown(Duration::from_secs(5)).await;
    assert_eq!(format!("{:?}", life.exit_code()), format!("{:?}", std::process::ExitCode::FAILURE));
}

#[tokio::test]
async fn a_key_file_that_cannot_be_used_is_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("secret.key");
    std::fs::write(&key, "nonsense").unwrap();
    // Nothing listens there.
    let error = refused(&config_at("http://127.0.0.1:1", &key)).await;
    assert!(error.contains("can be read by others"), "{error}");
}
