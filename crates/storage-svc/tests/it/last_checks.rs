//! Hosts as they are read show the later last check of their records and of the watchers' reports.

use std::sync::Arc;
use std::time::Duration;

use bus::{Bus, Context, topology};
use model::{Address, CheckReport, CheckRoster, Host, Stamp, Status};
use serde_json::json;
use storage_client::{StorageClient, Transaction};
use storage_svc::keyring::Keyring;
use storage_svc::vault::Vault;
use storage_svc::{Handlers, StorageService};
use testbed::etcd::Etcd;

use crate::service::{Fixture, config, start, start_with};

const EARLY: &str = "2026-11-21T23:40:21.397282";
const LATE: &str = "2026-11-21T23:41:00.500000";
const LATEST: &str = "2026-11-21T23:42:00.700001";

fn host(address: &str, last_check: &str) -> Host {
    let (address, last_check) = (address.to_owned(), last_check.into());
    Host { address: address.into(), last_check, status: Status::Active, ..Host::default() }
}

/// A report of `watcher`, with the roster of that number, that says [`LATE`] of these hosts and nothing of
/// `unchecked`.
fn report(watcher: &str, number: u64, checked: &[&str]) -> (CheckRoster, CheckReport) {
    let mut hosts: Vec<_> = checked.iter().copied().map(Address::from).collect();
    hosts.push("unchecked".into());
    let roster = CheckRoster { id: CheckRoster::id_of(watcher, number), hosts };
    let at = "2026-11-21T23:41:30Z".parse().unwrap();
    let late = model::stamp::parse(LATE);
    let report =
        CheckReport::new(watcher, &roster, at, |host| late.filter(|_| host != "unchecked"));
    (roster, report)
}

async fn save_report(storage: &StorageClient, (roster, report): &(CheckRoster, CheckReport)) {
    let both = Transaction::default().save(roster).unwrap().save(report).unwrap();
    storage.transact(&both).await.unwrap();
}

async fn last_checks(storage: &StorageClient) -> Vec<(Address, Stamp)> {
    let hosts = storage.list::<Host>().await.unwrap().into_iter().map(|host| host.record);
    hosts.map(|host| (host.address, host.last_check)).collect()
}

/// The rules, on any store.
async fn the_later_one_is_shown_and_revisions_hold(storage: &StorageClient) {
    for (address, last_check) in
        [("a", EARLY), ("b", LATEST), ("new", ""), ("other", EARLY), ("unchecked", EARLY)]
    {
        storage.save(&host(address, last_check)).await.unwrap();
    }
    let before = storage.get::<Host>("a").await.unwrap();
    assert_eq!(before.record.last_check, EARLY);
    save_report(storage, &report("w1", 1, &["a", "b", "new", "deleted"])).await;
    let shown = [("a", LATE), ("b", LATEST), ("new", ""), ("other", EARLY), ("unchecked", EARLY)];
    let shown = shown.map(|(host, time)| (host.into(), time.into()));
    assert_eq!(last_checks(storage).await, shown);
    let shown = storage.get::<Host>("a").await.unwrap();
    assert_eq!((shown.record.last_check.as_str(), shown.revision), (LATE, before.revision));
    let several = storage.get_many::<Host>(&["b", "gone", "a"]).await.unwrap();
    let several: Vec<_> = several.iter().flatten().map(|host| &host.record.last_check).collect();
    assert_eq!(several, [LATEST, LATE]);

    // What was read can be written with its revision, and is the record's then.
    let os = "debian".to_owned();
    let changed = Host { os, ..shown.record };
    let update = storage_client::Revised { record: changed.clone(), ..shown };
    let update = Transaction::default().update(&update).unwrap();
    storage.transact(&update).await.unwrap();
    assert!(storage.transact(&update).await.unwrap_err().is_conflict());
    assert_eq!(storage.get::<Host>("a").await.unwrap().record, changed);

    // A watcher that is gone, and another whose hosts are others: the latest of all counts.
    save_report(storage, &report("w2", 1, &["other", "b"])).await;
    storage.delete::<CheckReport>("w1").await.unwrap();
    let shown = [("a", LATE), ("b", LATEST), ("new", ""), ("other", LATE), ("unchecked", EARLY)];
    let shown = shown.map(|(host, time)| (host.into(), time.into()));
    assert_eq!(last_checks(storage).await, shown);
}

#[tokio::test]
async fn the_later_last_check_is_shown_with_sqlite() {
    let fixture = start().await;
    the_later_one_is_shown_and_revisions_hold(&fixture.storage).await;
}

#[tokio::test]
async fn the_later_last_check_is_shown_with_etcd() {
    let (etcd, folder) = (Etcd::up(), tempfile::tempdir().unwrap());
    let config: storage_svc::Config = serde_json::from_value(json!({
        "storage_handlers": {"type": "etcd", "server_url": etcd.endpoints()},
        "secret_key_file": folder.path().join("secret.key"),
    }))
    .unwrap();
    let fixture = start_with(folder, &config).await;
    the_later_one_is_shown_and_revisions_hold(&fixture.storage).await;
}

#[tokio::test]
async fn a_host_that_is_added_again_does_not_show_the_checks_of_the_one_before() {
    let Fixture { storage, .. } = &start().await;
    storage.save(&host("a", EARLY)).await.unwrap();
    save_report(storage, &report("w1", 1, &["a"])).await;
    assert_eq!(storage.get::<Host>("a").await.unwrap().record.last_check, LATE);
    storage.delete::<Host>("a").await.unwrap();
    storage.save(&host("a", "")).await.unwrap();
    assert_eq!(storage.get::<Host>("a").await.unwrap().record.last_check, "");
}

#[tokio::test]
async fn a_damaged_report_hides_neither_hosts_nor_other_reports() {
    let fixture = start().await;
    let storage = &fixture.storage;
    storage.save(&host("a", EARLY)).await.unwrap();
    let (_, report_of_another_roster) = report("w1", 7, &["a"]);
    let (roster, own) = report("w2", 1, &["a"]);
    save_report(storage, &(roster.clone(), own)).await;
    // One without its roster, and one that belongs to a roster of another length.
    storage.save(&report_of_another_roster).await.unwrap();
    assert_eq!(storage.get::<Host>("a").await.unwrap().record.last_check, LATE);
    let short = CheckReport {
        watcher: "w3".to_owned(),
        checks: "////".to_owned(),
        ..{ report("w2", 1, &["a"]).1 }
    };
    storage.save(&short).await.unwrap();
    assert_eq!(last_checks(storage).await, [("a".into(), LATE.into())]);
}

/// Another replica of the storage service: on the same store, and on another bus.
async fn replica(config: &storage_svc::Config) -> StorageClient {
    let handlers = Arc::new(Handlers::open(config.handlers()).await.unwrap());
    let bus = Bus::memory();
    let vault = Vault::new(None, Arc::new(Keyring::default())).unwrap();
    let other = Arc::new(StorageService::new(handlers, vault, bus.clone()));
    let life = runtime::Lifecycle::new();
    let serve = move |call| {
        let other = Arc::clone(&other);
        async move { other.call(call).await }
    };
    bus.serve(topology::STORAGE, 1, &life, serve).await.unwrap();
    StorageClient::new(bus, Context::service("test"))
}

/// Replicas of the storage service learn of a report that another one wrote.
#[tokio::test]
async fn a_report_that_another_replica_wrote_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let fixture = start_with(folder, &config).await;
    let storage = &fixture.storage;
    storage.save(&host("a", EARLY)).await.unwrap();
    assert_eq!(storage.get::<Host>("a").await.unwrap().record.last_check, EARLY);
    let elsewhere = replica(&config).await;
    save_report(&elsewhere, &report("w1", 1, &["a"])).await;
    let seen = async {
        while storage.get::<Host>("a").await.unwrap().record.last_check != LATE {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), seen).await.expect("it is seen");
}

/// As soon as it is announced, not only when what is known is a second old: no second passes here.
#[tokio::test]
async fn a_report_that_another_replica_announces_is_shown_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let fixture = start_with(folder, &config).await;
    let storage = &fixture.storage;
    storage.save(&host("a", EARLY)).await.unwrap();
    let elsewhere = replica(&config).await;
    // Paused time passes while nothing but timers is waited for, and so not beside a blocking task.
    tokio::time::pause();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let standstill = tokio::task::spawn_blocking(move || ended.recv().is_err());
    let shown = async || storage.get::<Host>("a").await.unwrap().record.last_check;
    assert_eq!(shown().await, EARLY);
    save_report(&elsewhere, &report("w1", 1, &["a"])).await;
    assert_eq!(shown().await, EARLY, "what was read a moment ago");
    let key = topology::changed("CheckReport", "created");
    fixture.bus.notify(&key, &json!({}), &Context::default()).await.unwrap();
    let begun = tokio::time::Instant::now();
    while shown().await != LATE {
        assert!(begun.elapsed() < Duration::from_mins(1), "the announcement is not heeded");
        tokio::task::yield_now().await;
    }
    drop(end);
    assert!(standstill.await.unwrap());
}
