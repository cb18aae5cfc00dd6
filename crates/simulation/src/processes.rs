//! The processes of a run: replicas of all services, each with its own connections, started, stopped and crashed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bus::Bus;
use host_access::{Deps, LogInLedger};
use http_gateway::audit::Audit;
use http_gateway::auth::passwords::Passwords;
use http_gateway::{Config, Ports};
use runtime::files::{Files, MemoryFiles};
use runtime::{Clock, Lifecycle};
use serde_json::{Value, json};
use simulated_hosts::SimulatedHosts;
use storage_client::lease;
use storage_svc::Handler;
use storage_svc::store::Memory;
use tokio::time::Instant;

use crate::client::{CLIENTS, PASSWORD, client_name};
use crate::fate::Point;
use crate::kubernetes::Kubernetes;
use crate::network::{Link, Network};
use crate::scenario::{Replica, Service};

/// The boot id of the controller's own machine; no host has it.
pub(crate) const OWN_BOOT_ID: &str = "ffffffff-0000-4000-8000-000000000000";

/// What all processes share.
pub(crate) struct Ground {
    pub(crate) network: Network,
    pub(crate) store: Memory,
    pub(crate) hosts: SimulatedHosts,
    pub(crate) clock: Clock,
    /// The Kubernetes whose nodes the hosts are, if there is one.
    pub(crate) kubernetes: Option<Kubernetes>,
    /// The file of the sealing key.
    pub(crate) key_file: std::path::PathBuf,
}

/// The processes that run.
pub(crate) struct Processes {
    ground: Ground,
    running: BTreeMap<Replica, Process>,
    /// The audit logs, which outlive their processes.
    audits: BTreeMap<Replica, Audit>,
}

struct Process {
    life: Lifecycle,
    link: Link,
    gateway: Option<http_gateway::Service>,
}

impl Processes {
    pub(crate) fn new(ground: Ground) -> Self {
        Self { ground, running: BTreeMap::new(), audits: BTreeMap::new() }
    }

    pub(crate) fn ground(&self) -> &Ground {
        &self.ground
    }

    pub(crate) fn ground_mut(&mut self) -> &mut Ground {
        &mut self.ground
    }

    pub(crate) fn is_running(&self, replica: Replica) -> bool {
        self.running.contains_key(&replica)
    }

    /// The number of steps of each replica since its start.
    pub(crate) fn steps(&self) -> BTreeMap<Replica, u64> {
        self.running.iter().map(|(replica, process)| (*replica, process.link.steps())).collect()
    }

    /// The gateways that run.
    pub(crate) fn gateways(&self) -> Vec<http_gateway::Service> {
        self.running.values().filter_map(|process| process.gateway.clone()).collect()
    }

    /// The lines of all audit logs.
    pub(crate) fn audit_lines(&self) -> Vec<String> {
        self.audits.values().flat_map(Audit::lines).collect()
    }

    /// Starts a replica, with faults at its steps.
    pub(crate) async fn start(&mut self, replica: Replica, points: &[Point]) -> anyhow::Result<()> {
        let name = replica.to_string();
        let Ground { network, store, clock, key_file, kubernetes, .. } = &self.ground;
        let (life, link) = (Lifecycle::new(), network.link(&name, points));
        let bus = Bus::over_transport(Arc::new(link.clone()));
        let deps = Deps {
            ledger: LogInLedger::new(&bus, clock.clone()),
            bus: bus.clone(),
            clock: clock.clone(),
            hosts: Arc::new(link.hosts().clone()),
            own_key: "key".into(),
            lease_ttl: lease::TTL,
        };
        let mut gateway = None;
        match replica.service {
            Service::Storage => {
                let config = storage_svc::Config::new(key_file.clone());
                let config = config.or_handler(Handler::memory(store.clone()));
                storage_svc::run(&bus, &config, &life).await.context("no storage service")?;
            }
            Service::Executor => {
                let own = OWN_BOOT_ID.to_owned();
                clusterexec_svc::run(deps, clusterexec_svc::Config::default(), own, &life).await?;
            }
            Service::Investigator => {
                investigator_svc::run(deps, investigator_svc::Config::default(), &life).await?;
            }
            Service::Watcher => {
                watcher_svc::run(deps, watcher_svc::Config::default(), &life).await?;
            }
            Service::ContainerManager => {
                let kubernetes = kubernetes.as_ref().context("no Kubernetes")?;
                let (clients, files) = (link.clients(&kubernetes.api), MemoryFiles::default());
                let (config, files) = (containermgr_svc::Config::default(), Files::Memory(files));
                containermgr_svc::run_with(bus, config, files, clients, &life).await?;
            }
            Service::Gateway => {
                let audit = self.audits.entry(replica).or_insert_with(Audit::memory).clone();
                gateway = Some(start_gateway(bus, clock.clone(), audit, &life).await?);
            }
        }
        self.running.insert(replica, Process { life, link, gateway });
        Ok(())
    }

    /// Lets nothing of a replica reach the bus or a host until then; then it goes on, as after `SIGSTOP` and `SIGCONT`.
    pub(crate) fn stall(&self, replica: Replica, until: Instant) {
        if let Some(process) = self.running.get(&replica) {
            process.link.stall(until);
        }
    }

    /// Ends a replica at once: its tasks end at their next await, and nothing of it reaches the bus or a host any more.
    pub(crate) fn crash(&mut self, replica: Replica) {
        if let Some(process) = self.running.remove(&replica) {
            process.link.cut();
            process.life.kill();
        }
    }

    /// Stops a replica as systemd does it: it finishes or hands over its work, for some time at most.
    pub(crate) async fn stop(&mut self, replica: Replica) {
        if let Some(process) = self.running.remove(&replica) {
            process.life.shutdown(Duration::from_secs(28)).await;
            process.link.cut();
        }
    }

    /// Ends all of them.
    pub(crate) fn crash_all(&mut self) {
        for replica in self.running.keys().copied().collect::<Vec<_>>() {
            self.crash(replica);
        }
    }
}

async fn start_gateway(
    bus: Bus,
    clock: Clock,
    audit: Audit,
    life: &Lifecycle,
) -> anyhow::Result<http_gateway::Service> {
    let files = MemoryFiles::default();
    let users = (0..CLIENTS).map(|number| (client_name(number), json!({"hash": PASSWORD})));
    files.write("/users.json", Value::Object(users.collect()).to_string());
    let (passwords, files) = (Passwords::Plain, Files::Memory(files));
    let ports = Ports { bus, clock, audit, passwords, files };
    let plugins = json!([{"name": "httpbasicauth", "filepath": "/users.json"}]);
    let config =
        Config { authentication_plugins: serde_json::from_value(plugins)?, ..Config::default() };
    Ok(http_gateway::service(ports, &config, life).await?)
}
