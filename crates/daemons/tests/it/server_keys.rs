//! A daemon that reaches hosts needs the key that they trust.

use std::path::PathBuf;
use std::time::Duration;

use daemons::config::Common;
use daemons::service::Service;
use host_access::own_key::{self, PRIVATE, PUBLIC};
use model::{Host, HostCreds, ServerKeys, Status};
use runtime::Lifecycle;

use crate::Store;

/// Longer than any start takes.
const HANG: Duration = Duration::from_mins(2);

impl Store {
    fn key(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts a watcher with the key in the data directory.
    pub(crate) async fn watch(&self, accept_new_key: bool) -> Result<(), String> {
        let (data_dir, run_dir) = (self.folder.path().to_owned(), self.folder.path().join("r"));
        let common = Common { data_dir, run_dir, accept_new_key, ..Common::default() };
        let watcher = Service::Watcher(watcher_svc::Config::default());
        let life = Lifecycle::new();
        let started = watcher.start(self.bus.clone(), &common, &life);
        let started = tokio::time::timeout(HANG, started).await.unwrap();
        life.shutdown(HANG).await;
        started.map_err(|error| format!("{error:#}"))
    }

    async fn register(&self, key: &str) {
        let address = "127.0.0.1".to_owned();
        let creds = HostCreds { ssh_priv_key: key.into(), ..HostCreds::new(&address) };
        self.storage.save(&creds).await.unwrap();
        let host =
            Host { address: address.into(), status: Status::Investigating, ..Host::default() };
        self.storage.save(&host).await.unwrap();
    }

    async fn known(&self) -> Vec<String> {
        let keys = self.storage.find::<ServerKeys>(ServerKeys::ALL).await.unwrap();
        keys.into_iter().flat_map(|keys| keys.record.fingerprints).collect()
    }

    fn fingerprint(&self) -> String {
        own_key::read(self.folder.path()).unwrap().unwrap().fingerprint
    }

    fn lose_key(&self) {
        std::fs::remove_file(self.key(PRIVATE)).unwrap();
        std::fs::remove_file(self.key(PUBLIC)).unwrap();
    }
}

#[tokio::test]
async fn the_first_start_makes_a_key_and_records_it() {
    let store = Store::start().await;
    store.watch(false).await.unwrap();
    let fingerprint = store.fingerprint();
    assert_eq!(store.known().await, [fingerprint.as_str()]);
    store.register("").await;
    store.watch(false).await.unwrap();
    assert_eq!(store.fingerprint(), fingerprint);
}

/// What happened: the file was lost, a new key was made, and every host refused it.
#[tokio::test]
async fn a_lost_key_beside_hosts_that_trust_it_ends_the_start_with_the_way_out() {
    let store = Store::start().await;
    store.watch(false).await.unwrap();
    let fingerprint = store.fingerprint();
    store.register("").await;
    store.lose_key();
    let error = store.watch(false).await.unwrap_err();
    for part in ["id_ed25519 is missing", "127.0.0.1", &fingerprint, "backup", "--accept-new-key"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(!store.key(PRIVATE).exists(), "no new key is made");
    store.watch(true).await.unwrap();
    assert_ne!(store.fingerprint(), fingerprint);
    assert_eq!(store.known().await.len(), 2);
    store.watch(false).await.unwrap();
}

#[tokio::test]
async fn a_foreign_key_beside_hosts_ends_the_start_and_the_right_one_is_accepted_again() {
    let store = Store::start().await;
    store.watch(false).await.unwrap();
    store.register("").await;
    let right = std::fs::read(store.key(PRIVATE)).unwrap();
    let known = store.known().await;
    store.lose_key();
    own_key::make(store.folder.path()).unwrap();
    let error = store.watch(false).await.unwrap_err();
    let foreign = store.fingerprint();
    assert!(error.contains(&foreign) && error.contains(&known[0]), "{error}");
    assert!(error.contains("--accept-new-key"), "{error}");
    assert_eq!(store.known().await, known, "nothing was changed");
    std::fs::write(store.key(PRIVATE), right).unwrap();
    store.watch(false).await.unwrap();
}

#[tokio::test]
async fn a_lost_key_is_made_again_where_every_host_has_a_key_of_its_own() {
    let store = Store::start().await;
    store.watch(false).await.unwrap();
    store.register("a2V5").await;
    store.lose_key();
    store.watch(false).await.unwrap();
    assert_eq!(store.known().await.len(), 2);
}

#[tokio::test]
async fn a_daemon_waits_for_storage_to_confirm_its_key() {
    let store = Store::not_started();
    let (started, ()) = tokio::join!(store.watch(false), async {
        // The daemon is polled first, and is refused by a bus without a storage service.
        tokio::task::yield_now().await;
        assert!(!store.key(PRIVATE).exists(), "no key is made unconfirmed");
        store.serve().await;
    });
    started.unwrap();
    assert_eq!(store.known().await, [store.fingerprint()]);
}
