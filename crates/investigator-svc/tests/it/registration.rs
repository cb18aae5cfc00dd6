//! Hosts that are set up become `active` once the container manager of their cluster has them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bus::{Bus, Call, Context, Error, Kind, topology};
use host_access::{Deps, LogInLedger};
use model::{Address, Cluster, ContainerManagerNodes, Host, HostState, Lease, Network, Status};
use runtime::{Clock, Files, Lifecycle};
use serde_json::{Value, json};
use simulated_hosts::SimulatedHosts;
use storage_client::StorageClient;
use storage_svc::Handler;
use storage_svc::store::Memory;

/// The storage service with records in memory, and simulated hosts, for investigators of them in paused time.
pub(crate) struct Fixture {
    bus: Bus,
    pub(crate) storage: StorageClient,
    pub(crate) clock: Clock,
    pub(crate) hosts: SimulatedHosts,
    _folder: tempfile::TempDir,
    life: Lifecycle,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (bus, life) = (Bus::memory(), Lifecycle::new());
        let config = storage_svc::Config::new(folder.path().join("secret.key"));
        let config = config.or_handler(Handler::memory(Memory::default()));
        storage_svc::run(&bus, &config, &life).await.unwrap();
        let storage = StorageClient::new(bus.clone(), Context::service("test"));
        let clock = Clock::simulated("2026-11-28T12:00:00Z".parse().unwrap());
        Self { bus, storage, clock, hosts: SimulatedHosts::default(), _folder: folder, life }
    }

    /// With a trivial container manager `k`.
    async fn with_manager(self) -> Self {
        let config = containermgr_svc::Config::default();
        containermgr_svc::run(self.bus.clone(), config, Files::System, &self.life).await.unwrap();
        let record = json!({"name": "k", "type": "trivial"});
        let params = json!(["ContainerManagerConfig", record]);
        self.bus.request(topology::STORAGE_SAVE, &params, &Context::default()).await.unwrap();
        self
    }

    /// With a container manager service that answers like this.
    async fn with_answers(
        self,
        answer: impl Fn(&Call) -> Result<Value, Error> + Send + Sync + 'static,
    ) -> (Self, Arc<Mutex<Vec<String>>>) {
        let calls = Arc::<Mutex<Vec<String>>>::default();
        let record = Arc::clone(&calls);
        let handler = move |call: Call| {
            record.lock().unwrap().push(call.method.clone());
            std::future::ready(answer(&call))
        };
        self.bus.serve(topology::CONTAINERMGR, 1, &self.life, handler).await.unwrap();
        (self, calls)
    }

    /// Starts an investigator.
    pub(crate) async fn start(&self) {
        let deps = Deps {
            bus: self.bus.clone(),
            clock: self.clock.clone(),
            hosts: Arc::new(self.hosts.clone()),
            own_key: "key".into(),
            ledger: LogInLedger::new(&self.bus, self.clock.clone()),
            lease_ttl: storage_client::lease::TTL,
        };
        let config = investigator_svc::Config::default();
        investigator_svc::run(deps, config, &self.life).await.unwrap();
    }

    pub(crate) async fn host(&self, address: &str, status: Status) {
        let host = Host { address: address.into(), status, ..Host::default() };
        self.storage.save(&host).await.unwrap();
    }

    async fn cluster(&self, name: &str, manager: &str, members: &[&str]) {
        let cluster = Cluster {
            name: name.into(),
            network: Network::DEFAULT.into(),
            container_manager: manager.into(),
            hostset: members.iter().map(|member| (*member).into()).collect(),
            ..Cluster::default()
        };
        self.storage.save(&cluster).await.unwrap();
    }

    pub(crate) async fn status(&self, address: &str) -> Status {
        self.storage.get::<Host>(address).await.unwrap().record.status
    }

    pub(crate) async fn state(&self, address: &str) -> HostState {
        let found = self.storage.find::<HostState>(address).await.unwrap();
        found.map(|found| found.record).unwrap_or_default()
    }

    pub(crate) async fn wake(&self) {
        self.bus.notify(topology::INVESTIGATE, &json!({}), &Context::default()).await.unwrap();
    }

    async fn nodes(&self) -> Vec<Address> {
        let found = self.storage.find::<ContainerManagerNodes>("k").await.unwrap();
        found.map(|found| found.record.nodes.into_iter().collect()).unwrap_or_default()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.life.stop();
    }
}

pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_hours(1), wait).await.unwrap_or_else(|_| panic!("{what}"));
}

#[tokio::test(start_paused = true)]
async fn members_that_are_set_up_are_registered_and_nobody_else() {
    let fixture = Fixture::new().await.with_manager().await;
    for address in ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"] {
        fixture.host(address, Status::Disassociated).await;
    }
    fixture.host("10.0.0.5", Status::Failed).await;
    fixture.cluster("managed", "k", &["10.0.0.1", "10.0.0.2", "10.0.0.5"]).await;
    fixture.cluster("unmanaged", "", &["10.0.0.3"]).await;
    fixture.start().await;
    for address in ["10.0.0.1", "10.0.0.2"] {
        eventually("it is active", async || fixture.status(address).await == Status::Active).await;
    }
    assert_eq!(fixture.nodes().await, ["10.0.0.1", "10.0.0.2"]);
    for address in ["10.0.0.3", "10.0.0.4"] {
        assert_eq!(fixture.status(address).await, Status::Disassociated);
    }
    assert_eq!(fixture.status("10.0.0.5").await, Status::Failed);
    let leases = fixture.storage.list::<Lease>().await.unwrap();
    assert!(leases.is_empty(), "{leases:?}");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_told_and_waits_for_the_operator() {
    let refusal = "the container manager k cannot have a node web_1";
    let (fixture, calls) = Fixture::new()
        .await
        .with_answers(move |_| Err(Error::new(Kind::ContainerManager, refusal)))
        .await;
    fixture.host("web_1", Status::Disassociated).await;
    fixture.cluster("c1", "k", &["web_1"]).await;
    fixture.start().await;
    eventually("it is told", async || {
        fixture.state("web_1").await.reason == HostState::MANAGER_REFUSES
    })
    .await;
    assert_eq!(
        fixture.state("web_1").await.detail,
        format!("it is set up, but not registered: {refusal}")
    );
    assert_eq!(fixture.status("web_1").await, Status::Disassociated);
    // Asked once: another host that is looked at afterwards shows that the next round has come and gone.
    fixture.host("10.0.0.1", Status::Disassociated).await;
    fixture.cluster("c2", "k", &["10.0.0.1"]).await;
    fixture.wake().await;
    eventually("it is told", async || {
        fixture.state("10.0.0.1").await.reason == HostState::MANAGER_REFUSES
    })
    .await;
    assert_eq!(calls.lock().unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_manager_that_does_not_answer_is_told_and_forgotten_once_it_does() {
    let fixture = Fixture::new().await;
    fixture.host("10.0.0.1", Status::Disassociated).await;
    fixture.cluster("c1", "k", &["10.0.0.1"]).await;
    fixture.start().await;
    eventually("it is told", async || {
        fixture.state("10.0.0.1").await.reason == HostState::MANAGER_UNAVAILABLE
    })
    .await;
    assert!(fixture.state("10.0.0.1").await.detail.contains("none is running"));
    // Another process has not waited since, and asks at once.
    let fixture = fixture.with_manager().await;
    fixture.start().await;
    eventually("it is active", async || fixture.status("10.0.0.1").await == Status::Active).await;
    let state = fixture.state("10.0.0.1").await;
    assert_eq!((state.reason.as_str(), state.detail.as_str()), ("", ""));
}

#[tokio::test(start_paused = true)]
async fn a_host_that_leaves_meanwhile_is_taken_out_again() {
    let fixture = Fixture::new().await;
    let storage = fixture.storage.clone();
    let left = Arc::new(Mutex::new(false));
    let calls = Arc::<Mutex<Vec<String>>>::default();
    let record = Arc::clone(&calls);
    let handler = move |call: Call| {
        let (storage, left, record) = (storage.clone(), Arc::clone(&left), Arc::clone(&record));
        async move {
            record.lock().unwrap().push(call.method.clone());
            let first = !std::mem::replace(&mut *left.lock().unwrap(), true);
            if first {
                let leave = |cluster: &mut Cluster| {
                    let before = cluster.hostset.len();
                    cluster.hostset.retain(|member| member != "10.0.0.1");
                    Ok(cluster.hostset.len() < before)
                };
                storage.update::<Cluster>("c1", leave).await?;
            }
            Ok(Value::Null)
        }
    };
    fixture.bus.serve(topology::CONTAINERMGR, 1, &fixture.life, handler).await.unwrap();
    fixture.host("10.0.0.1", Status::Disassociated).await;
    fixture.cluster("c1", "k", &["10.0.0.1"]).await;
    fixture.start().await;
    eventually("it is taken out", async || calls.lock().unwrap().len() == 2).await;
    assert_eq!(*calls.lock().unwrap(), ["register_node", "remove_node"]);
    assert_eq!(fixture.status("10.0.0.1").await, Status::Disassociated);
}

#[tokio::test(start_paused = true)]
async fn an_operation_has_its_hosts_for_itself() {
    let fixture = Fixture::new().await.with_manager().await;
    let lease = Lease {
        name: "operation.c1".into(),
        owner: "x".into(),
        counter: 1,
        ttl_ms: 60_000,
        ..Lease::default()
    };
    fixture.storage.save(&lease).await.unwrap();
    fixture.host("10.0.0.1", Status::Disassociated).await;
    fixture.host("10.0.0.2", Status::Disassociated).await;
    fixture.cluster("c1", "k", &["10.0.0.1"]).await;
    fixture.cluster("c2", "k", &["10.0.0.2"]).await;
    fixture.start().await;
    eventually("it is active", async || fixture.status("10.0.0.2").await == Status::Active).await;
    assert_eq!(fixture.nodes().await, ["10.0.0.2"]);
    assert_eq!(fixture.status("10.0.0.1").await, Status::Disassociated);
}
