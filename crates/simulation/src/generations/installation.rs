//! One installation: its records, its services, and its operator.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bus::{Bus, Context};
use model::{
    Cluster, Host, HostCreds, HostState, Instance, NetworkType, Operation, OperationControl,
    OperationHost, OperationStatus, Restored, ServerKeys, Status, Wanted,
};
use runtime::random;
use serde_json::json;
use simulated_hosts::FINGERPRINT;
use storage_client::{StorageClient, Transaction, queries};
use storage_svc::store::Memory;
use tokio::time::{Instant, sleep};

use super::world::{HOSTS, World, address};
use crate::network::Network;
use crate::processes::{Ground, Processes};
use crate::scenario::{Replica, Service};
use crate::trace::Trace;
use crate::truth::Truth;

/// How long an operation over all hosts may take.
const HANG: Duration = Duration::from_hours(2);

/// The options of restarts: the failure of a host does not end them.
fn options() -> serde_json::Value {
    json!({"settle": 0, "max_unavailable": "100%", "max_failures": 100})
}

pub(super) struct Installation {
    processes: Processes,
    store: Memory,
    bus: Bus,
    pub(super) storage: StorageClient,
}

impl Installation {
    /// The first one, with all hosts in a cluster.
    pub(super) async fn first(world: &World) -> Self {
        let mut first = Self::with_records(world, Memory::default()).await;
        http_gateway::make_default_network(&first.storage, NetworkType::None).await.unwrap();
        let mut transaction = Transaction::default().save(&ServerKeys::of(FINGERPRINT)).unwrap();
        for address in (0..HOSTS).map(address) {
            let key = world.hosts.edit(&address, |machine| machine.host_key.clone());
            let creds = HostCreds { ssh_host_key: key, ..HostCreds::new(&address) };
            let (status, os) = (Status::Disassociated, "debian".to_owned());
            let host = Host { address: address.into(), status, os, ..Host::default() };
            transaction = transaction.save(&host).unwrap().save(&creds).unwrap();
        }
        first.storage.transact(&transaction).await.unwrap();
        first.set_members(|_| true).await;
        queries::instance(&first.storage).await.unwrap();
        first.start().await;
        first
    }

    /// One that was restored from a backup.
    pub(super) async fn restored(
        world: &World,
        backup: &Memory,
        generation: u64,
        takes_over: bool,
    ) -> Self {
        let mut restored = Self::with_records(world, backup.copied()).await;
        let at = world.clock.stamp();
        let before = restored.instance().await;
        let instance = Instance {
            generation,
            generation_id: random::uuid().to_string(),
            restored: Some(Restored { taken_at: at.clone(), at, takes_over }),
            ..before
        };
        restored.storage.save(&instance).await.unwrap();
        restored.start().await;
        restored
    }

    /// One with these records, and nothing but a storage service.
    async fn with_records(world: &World, store: Memory) -> Self {
        let truth = Truth::new(Trace::new(false));
        let (network, _) = Network::new(world.seed, &truth, &world.hosts);
        let link = network.link("administrator", &[]);
        let bus = Bus::over_transport(Arc::new(link));
        let storage = StorageClient::new(bus.clone(), Context::service("administrator"));
        let ground = Ground {
            network,
            store: store.clone(),
            hosts: world.hosts.clone(),
            clock: world.clock.clone(),
            kubernetes: None,
            key_file: world.folder.path().join("secret.key"),
        };
        let mut processes = Processes::new(ground);
        processes.start(Replica { service: Service::Storage, number: 1 }, &[]).await.unwrap();
        Self { processes, store, bus, storage }
    }

    async fn start(&mut self) {
        for service in [Service::Executor, Service::Investigator, Service::Watcher] {
            self.processes.start(Replica { service, number: 1 }, &[]).await.unwrap();
        }
    }

    /// Crashes all of its services.
    pub(super) fn stop(&mut self) {
        self.processes.crash_all();
        self.processes.ground().network.close();
    }

    /// Its records as they are now.
    pub(super) fn backup(&self) -> Memory {
        self.store.copied()
    }

    pub(super) async fn instance(&self) -> Instance {
        self.storage.get::<Instance>(Instance::ALL).await.unwrap().record
    }

    /// Takes all hosts over, in this generation.
    pub(super) async fn take_over(&mut self, generation: u64) {
        let mut instance = self.instance().await;
        let id = random::uuid().to_string();
        if generation > instance.generation {
            (instance.generation, instance.generation_id) = (generation, id);
        }
        if let Some(restored) = &mut instance.restored {
            restored.takes_over = true;
        }
        self.storage.save(&instance).await.unwrap();
    }

    /// Deletes a host, as the gateway does.
    pub(super) async fn remove(&self, number: usize) {
        let address = address(number);
        self.set_members(|other| *other != address).await;
        let transaction = Transaction::default()
            .delete::<Host>(&address)
            .delete::<HostCreds>(&address)
            .delete::<HostState>(&address);
        self.storage.transact(&transaction).await.unwrap();
    }

    /// The hosts of the cluster.
    async fn set_members(&self, is_member: impl Fn(&String) -> bool) {
        let members = (0..HOSTS).map(address).filter(is_member);
        let (name, network) = ("web".into(), "default".to_owned());
        let hostset = members.map(Into::into).collect();
        let cluster = Cluster { name, network, hostset, ..Cluster::default() };
        self.storage.save(&cluster).await.unwrap();
    }

    /// Registers a host again, as the gateway does.
    pub(super) async fn register(&self, world: &World, number: usize) {
        let address = address(number);
        world.forget(number);
        let host = Host {
            address: address.clone().into(),
            status: Status::Investigating,
            // An operation that comes before the investigation would fail for want of it.
            os: "debian".to_owned(),
            ..Host::default()
        };
        let (registered_at, bootstrap) = (world.clock.stamp(), model::Bootstrap::None);
        let state =
            HostState { address: address.into(), registered_at, bootstrap, ..HostState::default() };
        let creds = HostCreds::new(&state.address);
        let transaction = Transaction::default().save(&host).unwrap().save(&state).unwrap();
        self.storage.transact(&transaction.save(&creds).unwrap()).await.unwrap();
        self.set_members(|_| true).await;
    }

    async fn resume(&self) {
        for control in self.storage.list::<OperationControl>().await.unwrap() {
            let mut control = control.record;
            if control.wanted == Wanted::Pause {
                control.wanted = Wanted::Run;
                self.storage.save(&control).await.unwrap();
            }
        }
    }

    /// What it works on, for a message.
    async fn all(&self) -> Vec<OperationHost> {
        let all = self.storage.list::<OperationHost>().await.unwrap().into_iter();
        all.map(|host| host.record).filter(|host| host.step.is_under_way()).collect()
    }

    async fn is_busy(&self) -> bool {
        let all = self.storage.list::<Operation>().await.unwrap();
        all.iter().any(|operation| operation.record.status == OperationStatus::InProcess)
    }

    /// Starts a restart of all hosts, unless one is in process or is rejected; one that is paused, as when the other
    /// installation has rebooted a host, goes on.
    pub(super) async fn restart_all(&self) {
        self.resume().await;
        if !self.is_busy().await
            && let Err(error) = self.restart().await
        {
            assert!(error.is_conflict(), "{error}");
        }
    }

    async fn restart(&self) -> bus::Result<()> {
        let params = json!({"cluster_name": "web", "options": options()});
        self.bus.ask("jobs.clusterexec.restart", &params, &Context::service("test")).await.map(drop)
    }

    /// Restarts all hosts, and waits for the end.
    pub(super) async fn restart_to_the_end(&self) {
        self.until_idle().await;
        self.restart().await.unwrap();
        self.until_idle().await;
    }

    async fn until_idle(&self) {
        let begun = Instant::now();
        while self.is_busy().await {
            assert!(begun.elapsed() < HANG, "an operation does not end: {:?}", self.all().await);
            self.resume().await;
            sleep(Duration::from_secs(10)).await;
        }
    }

    async fn fenced(&self, numbers: Range<usize>) -> Vec<(String, bool, String)> {
        let mut all = Vec::new();
        for address in numbers.map(address) {
            let status = self.storage.get::<Host>(&address).await.unwrap().record.status;
            let state = self.storage.get::<HostState>(&address).await.unwrap().record;
            // One that has failed in an operation before does not become fenced.
            all.push((address, status == Status::Failed, state.detail));
        }
        all
    }

    /// Checks that it knows that others have these hosts.
    pub(super) async fn assert_fenced(&self, numbers: Range<usize>) {
        let all = self.fenced(numbers).await;
        let under_way = self.all().await;
        assert!(all.iter().all(|(_, is_fenced, _)| *is_fenced), "{all:?} {under_way:?}");
    }

    /// Checks that it has all hosts, and works on them.
    pub(super) async fn assert_has_all(&self, world: &World) {
        let instance = self.instance().await;
        self.until_idle().await;
        // The watcher looks at a fenced host every ten minutes, and not while an operation works on it.
        sleep(Duration::from_mins(15)).await;
        self.restart_to_the_end().await;
        for number in 0..HOSTS {
            let state = self.storage.get::<HostState>(&address(number)).await.unwrap().record;
            assert_eq!(
                (state.reason.as_str(), state.generation),
                ("", instance.generation),
                "{state:?}"
            );
            assert!(world.is_touched_last_by(number, instance.generation), "{}", address(number));
        }
    }
}
