//! Two gateways and all services on one thread, with simulated hosts and a store in memory, in paused time. The runtime has
//! no I/O, and its blocking threads are counted.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use bus::{Bus, Context};
use host_access::{Deps, LogInLedger};
use http_gateway::audit::Audit;
use http_gateway::auth::passwords::Passwords;
use http_gateway::peer::Peer;
use http_gateway::{Config, Ports, Service};
use model::NetworkType;
use runtime::files::{Files, MemoryFiles};
use runtime::{Clock, Lifecycle, random};
use serde_json::{Value, json};
use simulated_hosts::SimulatedHosts;
use storage_client::{StorageClient, lease};
use storage_svc::Handler;
use storage_svc::store::Memory;
use tokio::time::{Instant, sleep};
use tower::ServiceExt as _;

use crate::support::{V0, basic};

const HOSTS: [&str; 3] = ["10.0.0.1", "10.0.0.2", "10.0.0.3"];

/// Timeout of each wait, in paused time.
const HANG: Duration = Duration::from_hours(4);

/// Two gateways, and the hosts that their services manage.
struct Simulation {
    gateways: [Service; 2],
    audit: [Audit; 2],
    hosts: SimulatedHosts,
    life: Lifecycle,
    _folder: tempfile::TempDir,
}

impl Simulation {
    async fn start() -> Self {
        let (bus, life, folder) = (Bus::memory(), Lifecycle::new(), tempfile::tempdir().unwrap());
        let clock = Clock::simulated("2026-11-28T12:00:00Z".parse().unwrap());
        let store = storage_svc::Config::new(folder.path().join("secret.key"));
        let store = store.or_handler(Handler::memory(Memory::default()));
        storage_svc::run(&bus, &store, &life).await.unwrap();
        let storage = StorageClient::new(bus.clone(), Context::service("test"));
        http_gateway::make_default_network(&storage, NetworkType::None).await.unwrap();
        let hosts = SimulatedHosts::default();
        for address in HOSTS {
            hosts.add(address);
        }
        services(&bus, &clock, &hosts, &life).await;
        let audit = [Audit::memory(), Audit::memory()];
        let first = gateway(&bus, &clock, &audit[0], &life).await;
        let gateways = [first, gateway(&bus, &clock, &audit[1], &life).await];
        Self { gateways, audit, hosts, life, _folder: folder }
    }

    /// A request of the administrator to one of the gateways.
    async fn ask(&self, gateway: usize, (method, path): (&str, &str), body: Value) -> (u16, Value) {
        let peer: SocketAddr = "192.0.2.1:4711".parse().unwrap();
        let request = Request::builder()
            .method(method)
            .uri(format!("{V0}{path}"))
            .extension(ConnectInfo(Peer::from(peer)))
            .header("host", "test")
            .header("authorization", basic("admin:secret"))
            .header("idempotency-key", format!("{method} {path}"))
            .body(Body::from(body.to_string()))
            .unwrap();
        let response = self.gateways[gateway].clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }

    /// Reads a resource until its field `name` has this value.
    async fn until(&self, gateway: usize, path: &str, name: &str, value: &str) -> Value {
        let begun = Instant::now();
        loop {
            let (status, read) = self.ask(gateway, ("GET", path), json!({})).await;
            assert_eq!(status, 200, "{path}: {read}");
            if read[name] == value {
                return read;
            }
            assert!(begun.elapsed() < HANG, "{path}: {name} never becomes {value}: {read}");
            sleep(Duration::from_secs(1)).await;
        }
    }
}

async fn services(bus: &Bus, clock: &Clock, hosts: &SimulatedHosts, life: &Lifecycle) {
    let deps = Deps {
        ledger: LogInLedger::new(bus, clock.clone()),
        bus: bus.clone(),
        clock: clock.clone(),
        hosts: Arc::new(hosts.clone()),
        own_key: "key".into(),
        lease_ttl: lease::TTL,
    };
    let config = investigator_svc::Config::default();
    investigator_svc::run(deps.clone(), config, life).await.unwrap();
    watcher_svc::run(deps.clone(), watcher_svc::Config::default(), life).await.unwrap();
    let config = clusterexec_svc::Config::default();
    clusterexec_svc::run(deps, config, "no machine".to_owned(), life).await.unwrap();
}

async fn gateway(bus: &Bus, clock: &Clock, audit: &Audit, life: &Lifecycle) -> Service {
    let files = MemoryFiles::default();
    files.write("/users.json", json!({"admin": {"hash": "secret"}}).to_string());
    let ports = Ports {
        bus: bus.clone(),
        clock: clock.clone(),
        audit: audit.clone(),
        passwords: Passwords::Plain,
        files: Files::Memory(files),
    };
    let plugins = json!([{"name": "httpbasicauth", "filepath": "/users.json"}]);
    let plugins = serde_json::from_value(plugins).unwrap();
    let config = Config { authentication_plugins: plugins, ..Config::default() };
    http_gateway::service(ports, &config, life).await.unwrap()
}

/// Registers hosts, makes a cluster of them and restarts it, each through another gateway than the step before.
async fn register_and_restart() {
    let simulation = Simulation::start().await;
    let begun = Instant::now();
    for (number, address) in HOSTS.iter().enumerate() {
        let path = format!("/host/{address}");
        let (status, host) = simulation.ask(number % 2, ("PUT", &path), json!({})).await;
        assert_eq!((status, &host["status"]), (201, &json!("investigating")), "{host}");
    }
    for address in HOSTS {
        let path = format!("/host/{address}");
        simulation.until(0, &path, "status", "disassociated").await;
    }
    let (status, cluster) = simulation.ask(1, ("PUT", "/cluster/c1"), json!({})).await;
    assert_eq!(status, 201, "{cluster}");
    for address in HOSTS {
        let path = format!("/cluster/c1/hosts/{address}");
        assert_eq!(simulation.ask(0, ("PUT", &path), json!({})).await.0, 200);
    }
    let (status, restart) = simulation.ask(1, ("PUT", "/cluster/c1/restart"), json!({})).await;
    assert_eq!(status, 201, "{restart}");
    // Asked for again, of another gateway, it is the same one.
    assert_eq!(simulation.ask(0, ("PUT", "/cluster/c1/restart"), json!({})).await, (201, restart));
    simulation.until(0, "/cluster/c1/restart", "status", "finished").await;

    let mut rebooted: Vec<_> =
        simulation.hosts.commands().into_iter().map(|command| command.address).collect();
    rebooted.sort_unstable();
    assert_eq!(rebooted, HOSTS, "each of them once");
    assert!(begun.elapsed() > Duration::from_mins(2), "{:?} of simulated time", begun.elapsed());
    let lines = simulation.audit.iter().map(|audit| audit.lines().len());
    assert_eq!(lines.collect::<Vec<_>>(), [2 + 3 + 1, 1 + 1 + 1], "every change has its line");
    simulation.life.stop();
}

#[test]
fn two_gateways_register_and_restart_hosts_without_a_thread_that_blocks() {
    let threads = Arc::new(AtomicUsize::new(0));
    let started = Arc::clone(&threads);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        // This runtime has no workers: all of its threads are for blocking calls.
        .on_thread_start(move || {
            started.fetch_add(1, Ordering::SeqCst);
        })
        .build()
        .unwrap();
    let _seeded = random::seeded(1);
    runtime.block_on(register_and_restart());
    assert_eq!(threads.load(Ordering::SeqCst), 0, "blocking threads");
}
