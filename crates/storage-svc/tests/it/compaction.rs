//! Upkeep of etcd: its history is dropped, and a full one is named with the way out.

use std::time::Duration;

use bus::{Bus, Context, Kind};
use etcd_access::Options;
use etcd_client::{Client, GetOptions};
use model::Host;
use runtime::Lifecycle;
use serde_json::json;
use storage_client::StorageClient;
use storage_client::lease::Leases;
use storage_svc::compaction::{self, Pace};
use storage_svc::store::{Commit, CommitError, Store, StoreError};
use testbed::etcd::Etcd;
use tokio::time::Instant;

use crate::service::host;
use crate::store::put;

const PACE: Pace = Pace {
    sample: Duration::from_millis(20),
    keep: Duration::from_millis(200),
    observe: Duration::from_millis(300),
};

/// An etcd that is kept compacted, and the storage service that keeps the lease of it.
struct Ground {
    etcd: Etcd,
    store: Store,
    storage: StorageClient,
    life: Lifecycle,
    _folder: tempfile::TempDir,
}

impl Ground {
    async fn on(etcd: Etcd) -> Self {
        let (bus, life, folder) = (Bus::memory(), Lifecycle::new(), tempfile::tempdir().unwrap());
        let config = json!({"storage_handlers": {"type": "etcd", "server_url": etcd.endpoints()},
                            "secret_key_file": folder.path().join("secret.key"),
                            "compaction": "off"});
        let config = serde_json::from_value(config).unwrap();
        storage_svc::run(&bus, &config, &life).await.unwrap();
        let storage = StorageClient::new(bus, Context::service("test"));
        let store = Store::etcd(&Options::at(etcd.endpoints())).await.unwrap();
        Self { etcd, store, storage, life, _folder: folder }
    }

    fn keep_compacted(&self) {
        self.keep_compacted_at(PACE);
    }

    fn keep_compacted_at(&self, pace: Pace) {
        let ttl = Duration::from_mins(5);
        let leases = Leases::new(self.storage.clone(), self.life.clone(), "test".into(), ttl);
        let etcd = self.store.as_etcd().unwrap().clone();
        let keep = compaction::keep("main".into(), etcd, leases, pace, self.life.clone());
        self.life.spawn("compaction", keep);
    }

    async fn is_compacted(&self, revision: i64) -> bool {
        let mut client = Client::connect([self.etcd.endpoints()], None).await.unwrap();
        let old = GetOptions::new().with_revision(revision);
        client.get("/a", Some(old)).await.is_err()
    }

    /// Whether the service has compacted it, which it notes first.
    async fn is_compacted_by_us(&self) -> bool {
        let note = self.store.get(vec!["/commissaire/compacted".into()]).await.unwrap();
        note[0].is_some()
    }

    /// Writes until the first revision is gone.
    async fn compacted(&self) {
        let compacted = async {
            while !self.is_compacted(1).await {
                self.store.commit(put("/commissaire/a", "x")).await.unwrap();
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_mins(2), compacted).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_is_dropped_and_lists_stay_right() {
    let ground = Ground::on(Etcd::up()).await;
    for part in 0..6 {
        let record = |n: usize| {
            let host = host(&format!("10.0.{part}.{n}"));
            (format!("/commissaire/hosts/{}", host.address), json!(host).to_string())
        };
        let puts = (0..100).map(record).collect();
        ground.store.commit(Commit { puts, ..Commit::default() }).await.unwrap();
    }
    assert_eq!(ground.storage.list::<Host>().await.unwrap().len(), 600, "and is remembered");
    ground.keep_compacted();
    ground.compacted().await;
    ground.storage.delete::<Host>("10.0.0.1").await.unwrap();
    ground.storage.save(&host("10.1.0.1")).await.unwrap();
    let hosts = ground.storage.list::<Host>().await.unwrap();
    assert_eq!(hosts.len(), 600);
    assert!(hosts.iter().all(|host| host.record.address != "10.0.0.1"));
    ground.life.shutdown(Duration::from_secs(20)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_etcd_with_keys_of_others_keeps_its_history() {
    let (shared, own) = (Ground::on(Etcd::up()).await, Ground::on(Etcd::up()).await);
    shared.store.commit(put("/registry/pods/a", "{}")).await.unwrap();
    shared.keep_compacted();
    own.keep_compacted();
    // By then it would be the other's turn as well.
    own.compacted().await;
    for _ in 0..3 {
        shared.store.commit(put("/commissaire/a", "x")).await.unwrap();
        assert!(!shared.is_compacted(1).await);
    }
    let delete = Commit { deletes: vec!["/registry/pods/a".into()], ..Commit::default() };
    shared.store.commit(delete).await.unwrap();
    shared.compacted().await;
    for ground in [shared, own] {
        ground.life.shutdown(Duration::from_secs(20)).await;
    }
}

/// etcd does not say so: the history that it drops does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_etcd_that_compacts_itself_is_left_to_that_until_it_stops() {
    let ground = Ground::on(Etcd::with_auto_compaction(1)).await;
    // Some of its compactions may be late on a busy machine.
    let pace = Pace { observe: Duration::from_secs(6), ..PACE };
    ground.keep_compacted_at(pace);
    let begun = Instant::now();
    while begun.elapsed() < pace.observe * 3 / 2 {
        ground.store.commit(put("/commissaire/a", "x")).await.unwrap();
        assert!(!ground.is_compacted_by_us().await, "{:?}", begun.elapsed());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(ground.is_compacted(1).await, "by etcd itself");

    ground.etcd.end_auto_compaction();
    let compacted = async {
        while !ground.is_compacted_by_us().await {
            ground.store.commit(put("/commissaire/a", "x")).await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(2), compacted).await.unwrap();
    ground.life.shutdown(Duration::from_secs(20)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_etcd_is_named_with_the_way_out_and_reads_go_on() {
    let ground = Ground::on(Etcd::with_quota(8 << 20)).await;
    ground.storage.save(&host("10.0.0.1")).await.unwrap();
    let full = async {
        loop {
            match ground.store.commit(put("/commissaire/filler", &"x".repeat(1 << 20))).await {
                Ok(_) => {}
                Err(CommitError::Store(error)) => return error,
                Err(other) => panic!("{other}"),
            }
        }
    };
    let error = tokio::time::timeout(Duration::from_mins(2), full).await.unwrap();
    assert!(matches!(error, StoreError::NoSpace(_)), "{error:?}");

    let refused = ground.storage.save(&host("10.0.0.2")).await.unwrap_err();
    assert_eq!((refused.kind(), refused.part()), (Kind::Unavailable, Some("store")));
    for way_out in ["NOSPACE", "etcdctl compact", "etcdctl defrag", "etcdctl alarm disarm"] {
        assert!(refused.to_string().contains(way_out), "{refused}");
    }
    assert_eq!(ground.storage.list::<Host>().await.unwrap().len(), 1);

    let revision = ground.storage.get::<Host>("10.0.0.1").await.unwrap().revision;
    let newest = ground.store.get(vec!["/commissaire/filler".into()]).await.unwrap();
    let newest = newest[0].as_ref().unwrap().revision.max(revision).to_string();
    ground.etcd.ctl(&["compact", &newest]);
    ground.etcd.ctl(&["defrag"]);
    ground.etcd.ctl(&["alarm", "disarm"]);
    ground.storage.save(&host("10.0.0.2")).await.unwrap();
    ground.life.shutdown(Duration::from_secs(20)).await;
}
