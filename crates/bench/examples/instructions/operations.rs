//! The operations. Each function returns how many were carried out within [`counted`].

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bench::{cluster, executor};
use bus::{Bus, Context, topology};
use clap::ValueEnum;
use host_access::{Deps, LogInLedger};
use http_gateway::peer::Peer;
use http_gateway::{Ports, Service};
use hyper::StatusCode;
use model::{Host, HostCreds, Model as _, Operation as Record, Status};
use runtime::{Clock, Lifecycle};
use serde_json::json;
use simulated_hosts::SimulatedHosts;
use storage_client::{StorageClient, Transaction, lease};
use storage_svc::Handler;
use storage_svc::store::Memory;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

/// An operation whose instructions are counted.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Operation {
    /// `GET` of a host
    Host,
    /// `GET` of a list of 1,000 hosts
    List,
    /// The steps of one host in a restart of a cluster of ten
    Rollout,
    /// What the steps of one host plan and save in a restart of a cluster of 100
    Steps100,
    /// The same in a cluster of 10,000
    Steps10000,
    /// One check of a host by the watcher, from its records to what becomes of them
    Watcher,
}

/// The password of the gateway's user `admin`.
const PASSWORD: &str = "secret";

/// The least cost of its hash.
const COST: u32 = 4;

/// Hosts that are registered at a time: no more than 128 changes are accepted at once.
const AT_A_TIME: usize = 50;

/// Hosts that the watcher checks; the first of them cannot be reached.
const WATCHED: usize = 20;

/// How long it does so: each host is checked once a minute.
const WATCHING: Duration = Duration::from_mins(10);

/// Hosts whose steps are planned and saved.
const STEPPED: usize = 20;

/// The names of the operations that have to take the same.
pub(crate) const STEPS_OF_100: &str = "what steps save, of 100";
pub(crate) const STEPS_OF_10_000: &str = "what steps save, of 10,000";

impl Operation {
    /// Its name in the report.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Host => "GET host",
            Self::List => "GET hosts, 1,000",
            Self::Rollout => "a host's steps, of 10",
            Self::Steps100 => STEPS_OF_100,
            Self::Steps10000 => STEPS_OF_10_000,
            Self::Watcher => "a check of the watcher",
        }
    }
}

/// Carries an operation out; returns how often.
pub(crate) fn carry_out(operation: Operation) -> anyhow::Result<u64> {
    let runtime = Builder::new_current_thread().enable_all().start_paused(true).build();
    let runtime = runtime.context("no runtime")?;
    match operation {
        Operation::Host => get(&runtime, 1, "/api/v0/host/10.0.0.1", 50),
        Operation::List => get(&runtime, 1_000, "/api/v0/hosts", 3),
        Operation::Rollout => rollout(&runtime, 10),
        Operation::Steps100 => steps(&runtime, 100),
        Operation::Steps10000 => steps(&runtime, 10_000),
        Operation::Watcher => watcher(&runtime),
    }
}

/// Callgrind counts within this function.
#[inline(never)]
fn counted(
    runtime: &Runtime,
    work: Pin<Box<dyn Future<Output = anyhow::Result<()>> + '_>>,
) -> anyhow::Result<()> {
    runtime.block_on(work)
}

/// `GET` of a path, where so many hosts are registered.
fn get(runtime: &Runtime, hosts: usize, path: &'static str, times: u64) -> anyhow::Result<u64> {
    let (_fleet, gateway) = runtime.block_on(async {
        let fleet = Fleet::start(hosts).await?;
        let gateway = fleet.gateway().await?;
        // The first log-in runs bcrypt on a thread, which paused time does not wait for; the gateway remembers its result.
        tokio::time::resume();
        request(&gateway, path).await?;
        tokio::time::pause();
        anyhow::Ok((fleet, gateway))
    })?;
    let work = async {
        for _ in 0..times {
            request(&gateway, path).await?;
        }
        Ok(())
    };
    counted(runtime, Box::pin(work))?;
    Ok(times)
}

async fn request(gateway: &Service, path: &str) -> anyhow::Result<()> {
    let peer = Peer::from(SocketAddr::from(([127, 0, 0, 1], 1)));
    let authorization = format!("Basic {}", BASE64.encode(format!("admin:{PASSWORD}")));
    let request = Request::get(path).header("host", "a").header("authorization", authorization);
    let request = request.extension(ConnectInfo(peer)).body(Body::empty())?;
    let response = gateway.answer(request).await;
    let status = response.status();
    let body = to_bytes(response.into_body(), usize::MAX).await?;
    ensure!(status == StatusCode::OK, "{status} {}", String::from_utf8_lossy(&body));
    Ok(())
}

/// A restart of a cluster with so many hosts, until its end.
fn rollout(runtime: &Runtime, hosts: u64) -> anyhow::Result<u64> {
    let fleet = runtime.block_on(async {
        let fleet = Fleet::start(usize::try_from(hosts)?).await?;
        let config = clusterexec_svc::Config::default();
        let own = "no machine".to_owned();
        clusterexec_svc::run(fleet.deps(fleet.hosts.clone()), config, own, &fleet.life).await?;
        anyhow::Ok(fleet)
    })?;
    counted(runtime, Box::pin(fleet.restart()))?;
    Ok(hosts)
}

/// What the steps of a few hosts plan and save in a restart of so many.
fn steps(runtime: &Runtime, hosts: usize) -> anyhow::Result<u64> {
    let (recorded, _fleet) = runtime.block_on(async {
        let fleet = Fleet::start(0).await?;
        let deps = fleet.deps(fleet.hosts.clone());
        anyhow::Ok((executor::recorded(deps, hosts, &fleet.life).await?, fleet))
    })?;
    let journal = recorded.journal();
    let work = async { Ok(recorded.save_steps(&journal, STEPPED).await?) };
    counted(runtime, Box::pin(work))?;
    Ok(STEPPED as u64)
}

/// The watcher's checks for a while.
fn watcher(runtime: &Runtime) -> anyhow::Result<u64> {
    let checks = Arc::new(AtomicU64::new(0));
    let fleet = runtime.block_on(async {
        let fleet = Fleet::start(WATCHED).await?;
        fleet.hosts.power_off(&address(0));
        let noted = Arc::clone(&checks);
        let hosts = fleet.hosts.observed(move |_| {
            noted.fetch_add(1, Ordering::Relaxed);
        });
        watcher_svc::run(fleet.deps(hosts), watcher_svc::Config::default(), &fleet.life).await?;
        // The first checks are written to records, the others only reported.
        tokio::time::sleep(WATCHING).await;
        anyhow::Ok(fleet)
    })?;
    let before = checks.load(Ordering::Relaxed);
    let work = async {
        tokio::time::sleep(WATCHING).await;
        Ok(())
    };
    counted(runtime, Box::pin(work))?;
    drop(fleet);
    Ok(checks.load(Ordering::Relaxed) - before)
}

/// A cluster of simulated hosts, and the storage service.
struct Fleet {
    hosts: SimulatedHosts,
    storage: StorageClient,
    clock: Clock,
    bus: Bus,
    life: Lifecycle,
    _folder: TempDir,
}

impl Fleet {
    async fn start(count: usize) -> anyhow::Result<Self> {
        let (bus, life) = (Bus::memory(), Lifecycle::new());
        let folder = tempfile::tempdir().context("no temporary folder")?;
        let config = storage_svc::Config::new(folder.path().join("secret.key"));
        let config = config.or_handler(Handler::memory(Memory::default()));
        storage_svc::run(&bus, &config, &life).await?;
        let clock = Clock::simulated("2026-11-28T12:00:00Z".parse().context("no time")?);
        let storage = StorageClient::new(bus.clone(), Context::service("bench"));
        let hosts = SimulatedHosts::default();
        let fleet = Self { hosts, storage, clock, bus, life, _folder: folder };
        let addresses: Vec<_> = (0..count).map(address).collect();
        for part in addresses.chunks(AT_A_TIME) {
            fleet.register(part).await?;
        }
        cluster::make(&fleet.storage, "c1", &addresses).await?;
        Ok(fleet)
    }

    async fn register(&self, addresses: &[String]) -> anyhow::Result<()> {
        let mut transaction = Transaction::default();
        for address in addresses {
            self.hosts.add(address);
            let key = self.hosts.edit(address, |machine| machine.host_key.clone());
            let creds = HostCreds { ssh_host_key: key, ..HostCreds::new(address) };
            let (status, os) = (Status::Active, "debian".to_owned());
            let host = Host { address: address.clone().into(), status, os, ..Host::default() };
            transaction = transaction.save(&host)?.save(&creds)?;
        }
        self.storage.transact(&transaction).await?;
        Ok(())
    }

    /// What a service that reaches hosts needs.
    fn deps(&self, hosts: SimulatedHosts) -> Deps {
        Deps {
            bus: self.bus.clone(),
            clock: self.clock.clone(),
            hosts: Arc::new(hosts),
            own_key: "key".into(),
            ledger: LogInLedger::new(&self.bus, self.clock.clone()),
            lease_ttl: lease::TTL,
        }
    }

    async fn gateway(&self) -> anyhow::Result<Service> {
        let users = json!({"admin": {"hash": bcrypt::hash(PASSWORD, COST)?}});
        let plugins = json!([{"name": "httpbasicauth", "users": users}]);
        let authentication_plugins = serde_json::from_value(plugins)?;
        let config =
            http_gateway::Config { authentication_plugins, ..http_gateway::Config::default() };
        let ports = Ports::system(self.bus.clone(), &config)?;
        Ok(http_gateway::service(ports, &config, &self.life).await?)
    }

    async fn restart(&self) -> anyhow::Result<()> {
        let mut changes = self.bus.subscribe(&topology::changed(Record::TYPE, "updated")).await?;
        let options = json!({"settle": 0});
        let params = json!({"cluster_name": "c1", "operation_id": "o1", "options": options});
        let context = Context::service("bench");
        self.bus.request("jobs.clusterexec.restart", &params, &context).await?;
        loop {
            let notification = changes.next().await.context("a notification was lost")?;
            let record = &notification.params["model"];
            if record["finished_at"].is_string() {
                ensure!(record["status"] == "finished", "the restart failed: {record}");
                return Ok(());
            }
        }
    }
}

fn address(number: usize) -> String {
    format!("10.0.{}.{}", number / 250, number % 250 + 1)
}
