//! The main job, each service with its own account: a simulated host is registered, set up, watched and restarted.

use std::sync::Arc;
use std::time::Duration;

use bus::{Bus, Context, topology};
use daemons::Daemon;
use daemons::service::Service;
use host_access::{Deps, LogInLedger};
use model::{
    Cluster, ClusterRestart, Host, HostCreds, HostState, Network, NetworkType, OperationStatus,
    Status,
};
use runtime::{Clock, Lifecycle};
use serde_json::json;
use simulated_hosts::SimulatedHosts;
use storage_client::{StorageClient, Transaction, lease};
use storage_svc::Handler;
use storage_svc::store::Memory;

use super::Installation;

const HOST: &str = "10.0.0.1";

/// Hang guard: more than ten times the usual.
const HANG: Duration = Duration::from_mins(5);

async fn start(installation: &Installation, hosts: &SimulatedHosts, life: &Lifecycle) {
    let deps = |bus: &Bus| Deps {
        ledger: LogInLedger::new(bus, Clock::System),
        bus: bus.clone(),
        clock: Clock::System,
        hosts: Arc::new(hosts.clone()),
        own_key: "key".into(),
        lease_ttl: lease::TTL,
    };
    for daemon in Daemon::ALL {
        let (bus, service) = installation.daemon(daemon).await;
        match service {
            // It is the test, which does with its account what the REST API does.
            Service::Server(..) => {}
            Service::Storage(config) => {
                let store = Some(vec![Handler::memory(Memory::default())]);
                let secret_key_file = installation.folder.path().join("secret.key");
                let config =
                    storage_svc::Config { storage_handlers: store, secret_key_file, ..*config };
                storage_svc::run(&bus, &config, life).await.unwrap();
            }
            service => service.start_with(&bus, life, async |_, _| Ok(deps(&bus))).await.unwrap(),
        }
    }
}

/// Waits for a record to be so.
async fn until<T>(what: &str, read: impl AsyncFn() -> Option<T>) -> T {
    let awaited = async {
        loop {
            if let Some(found) = read().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(HANG, awaited).await.unwrap_or_else(|_| panic!("{what} within {HANG:?}"))
}

/// Starts the services until `life` ends, and has them do their job.
pub(super) async fn runs(installation: &Installation, life: &Lifecycle) {
    let hosts = SimulatedHosts::default();
    hosts.add(HOST);
    hosts.edit(HOST, |machine| machine.boot = Some(Duration::from_secs(1)));
    start(installation, &hosts, life).await;
    let (bus, _) = installation.daemon(Daemon::Server).await;
    let context = Context::service("test");
    let storage = StorageClient::new(bus.clone(), context.clone());
    http_gateway::make_default_network(&storage, NetworkType::None).await.unwrap();

    let host = Host { address: HOST.into(), status: Status::Investigating, ..Host::default() };
    let creds = HostCreds::new(HOST);
    let state = HostState { address: HOST.into(), ..HostState::default() };
    let created = Transaction::default().create(&host).unwrap().save(&creds).unwrap();
    storage.transact(&created.save(&state).unwrap()).await.unwrap();
    bus.notify(topology::INVESTIGATE, &json!({"address": HOST}), &context).await.unwrap();
    until("the host is set up", async || {
        let host = storage.get::<Host>(HOST).await.unwrap().record;
        (host.status == Status::Disassociated).then_some(())
    })
    .await;

    let (name, network) = ("c1".into(), Network::DEFAULT.into());
    let cluster = Cluster { name, network, hostset: vec![HOST.into()], ..Cluster::default() };
    let created = Transaction::default().create(&cluster).unwrap();
    storage.transact(&created).await.unwrap();
    let params = json!({"cluster_name": "c1", "options": {"settle": 0}});
    bus.request("jobs.clusterexec.restart", &params, &context).await.unwrap();
    until("the cluster is restarted", async || {
        let restart = storage.get::<ClusterRestart>("c1").await.unwrap().record;
        (restart.status == OperationStatus::Finished).then_some(())
    })
    .await;
    assert_eq!(hosts.commands().len(), 1);
    // All that answer a ping may do so.
    let window = Duration::from_secs(30);
    let replicas = bus::presence::ping(&bus, &context, window, |all| all.len() == 5);
    assert_eq!(replicas.await.unwrap().len(), 5);
}
