use bus::{Bus, Context};
use model::{Cluster, Network};
use runtime::Lifecycle;
use serde_json::json;
use storage_client::lease::{Leases, TTL};

use super::*;

struct Fixture {
    storage: StorageClient,
    life: Lifecycle,
    held: Held,
    _folder: tempfile::TempDir,
}

/// A host of that enrollment, under investigation.
async fn fixture(cluster: &str) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let (bus, life) = (Bus::memory(), Lifecycle::new());
    let file = |name| folder.path().join(name);
    let config = storage_svc::Config::sqlite(file("store.db"), file("secret.key"));
    storage_svc::run(&bus, &config, &life).await.unwrap();
    let storage = StorageClient::new(bus, Context::service("test"));
    let since = "2026-11-21T00:00:00.000000";
    let state = json!({"address": "10.0.0.1",
                       "enrolled": {"id": "e", "cluster": cluster, "since": since}});
    storage.save(&serde_json::from_value::<HostState>(state).unwrap()).await.unwrap();
    let leases = Leases::new(storage.clone(), life.clone(), "test".to_owned(), TTL);
    let held =
        leases.try_acquire(&LeasePurpose::Investigation("10.0.0.1").name()).await.unwrap().unwrap();
    Fixture { storage, life, held, _folder: folder }
}

impl Fixture {
    async fn cluster(&self, name: &str, members: &[&str]) {
        let hostset = members.iter().map(|member| (*member).into()).collect();
        let network = Network::DEFAULT.to_owned();
        let cluster = Cluster { name: name.into(), network, hostset, ..Cluster::default() };
        self.storage.save(&cluster).await.unwrap();
    }

    async fn members(&self, name: &str) -> Vec<Address> {
        self.storage.get::<Cluster>(name).await.unwrap().record.hostset
    }

    async fn is_proven(&self) -> bool {
        let state = self.storage.get::<HostState>("10.0.0.1").await.unwrap().record;
        state.enrolled.unwrap().proven
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.life.stop();
    }
}

#[tokio::test]
async fn who_proves_itself_joins_its_cluster_once() {
    let fixture = fixture("c1").await;
    fixture.cluster("c1", &["10.0.0.9"]).await;
    prove(&fixture.storage, "10.0.0.1", &fixture.held).await.unwrap();
    assert!(fixture.is_proven().await);
    assert_eq!(fixture.members("c1").await, ["10.0.0.1", "10.0.0.9"]);
    // An operator took it out; being looked at again does not bring it back.
    fixture.cluster("c1", &[]).await;
    prove(&fixture.storage, "10.0.0.1", &fixture.held).await.unwrap();
    assert!(fixture.members("c1").await.is_empty());
}

#[tokio::test]
async fn without_a_cluster_or_with_one_that_is_gone_it_is_proven_all_the_same() {
    for cluster in ["", "gone"] {
        let fixture = fixture(cluster).await;
        fixture.cluster("c1", &[]).await;
        prove(&fixture.storage, "10.0.0.1", &fixture.held).await.unwrap();
        assert!(fixture.is_proven().await);
        assert!(fixture.members("c1").await.is_empty());
    }
}

#[tokio::test]
async fn whose_lease_is_lost_proves_nothing() {
    let fixture = fixture("c1").await;
    fixture.cluster("c1", &[]).await;
    fixture.storage.delete::<Lease>(&LeasePurpose::Investigation("10.0.0.1").name()).await.unwrap();
    prove(&fixture.storage, "10.0.0.1", &fixture.held).await.unwrap_err();
    assert!(!fixture.is_proven().await);
    assert!(fixture.members("c1").await.is_empty());
}
