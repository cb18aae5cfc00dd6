//! All services in this process: with simulated hosts, a simulated Kubernetes, a store in memory and a bus without a broker.
//! Time is simulated, too.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bus::{Bus, Context};
use containermgr_svc::ClientFactory;
use host_access::{Deps, LogInLedger};
use http_gateway::audit::Audit;
use http_gateway::auth::passwords::Passwords;
use http_gateway::server::limits::Limits;
use http_gateway::{Config, Ports, Service};
use model::NetworkType;
use runtime::files::{Files, MemoryFiles};
use runtime::{Clock, Lifecycle};
use serde_json::{Value, json};
use simulated_hosts::SimulatedHosts;
use simulated_kubernetes::{MASTERS, NodeSettings, Settings, SimulatedKubernetes};
use storage_client::{StorageClient, lease};
use storage_svc::Handler;
use storage_svc::store::Memory;
use tokio::net::TcpListener;
use tokio::time::sleep;

use super::{Event, PASSWORD, USERS};

/// The users file of the gateways.
const USERS_FILE: &str = "/users.json";

/// The file with the public half of the server's own SSH key.
const KEY_FILE: &str = "/id_ed25519.pub";
const PUBLIC_KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl commissaire\n";

/// How often nodes are compared with their hosts.
const MIRROR: Duration = Duration::from_millis(250);

/// The time of a scenario when it begins.
const START: &str = "2026-12-01T12:00:00Z";

/// The services, and what they work on.
#[derive(Debug)]
pub(crate) struct Simulated {
    pub(crate) gateways: Vec<Service>,
    pub(crate) hosts: SimulatedHosts,
    pub(crate) kubernetes: SimulatedKubernetes,
    pub(crate) storage: StorageClient,
    config: Config,
    life: Lifecycle,
}

impl Simulated {
    /// So many gateways, and replicas of each other service.
    pub(crate) async fn start(replicas: usize, folder: &Path) -> Self {
        let (bus, life) = (Bus::memory(), Lifecycle::new());
        let clock = Clock::simulated(START.parse().unwrap());
        let start = START.parse().unwrap();
        let kubernetes = SimulatedKubernetes::new(Settings { seed: 1, start });
        kubernetes.add_user("token", "commissaire", &[MASTERS]);
        let hosts = SimulatedHosts::default();
        let store = Memory::default();
        let mut gateways = Vec::new();
        let config = config();
        for _ in 0..replicas {
            let storage = storage_svc::Config::new(folder.join("secret.key"));
            let storage = storage.or_handler(Handler::memory(store.clone()));
            storage_svc::run(&bus, &storage, &life).await.unwrap();
            services(&bus, &clock, &hosts, &kubernetes, &life).await;
            gateways.push(gateway(&bus, &clock, &config, &life).await);
        }
        let storage = StorageClient::new(bus.clone(), Context::service("features"));
        http_gateway::make_default_network(&storage, NetworkType::None).await.unwrap();
        let simulated = Self { gateways, hosts, kubernetes, storage, config, life };
        simulated.run_kubernetes();
        simulated
    }

    /// Serves each gateway on a port; their URLs.
    pub(crate) async fn listen(&self) -> Vec<String> {
        let mut urls = Vec::new();
        for gateway in &self.gateways {
            let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
            urls.push(format!("http://{}", listener.local_addr().unwrap()));
            http_gateway::listen(gateway.clone(), &self.config, listener, &self.life).unwrap();
        }
        urls
    }

    pub(super) fn happens(&self, address: &str, event: Event) {
        match event {
            Event::PowerOff => self.hosts.power_off(address),
            Event::PowerOn => self.hosts.power_on(address),
            Event::CutOff => self.hosts.edit(address, |machine| machine.is_reachable = false),
            Event::Reconnect => self.hosts.edit(address, |machine| machine.is_reachable = true),
            Event::Reboot => self.hosts.reboot(address),
        }
    }

    pub(super) fn reboots(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for command in self.hosts.commands() {
            *counts.entry(command.address).or_default() += 1;
        }
        counts
    }

    /// At the time of a command to reboot, its host included.
    pub(super) fn most_down(&self) -> usize {
        self.hosts.commands().iter().map(|command| command.down.len() + 1).max().unwrap_or(0)
    }

    /// Makes a host a node of the Kubernetes.
    pub(crate) fn add_node(&self, address: &str) {
        let machine_id = format!("{:0>32}", address.replace('.', ""));
        let boot_id = self.hosts.boot_id(address);
        let settings = NodeSettings::new(&node(address), address);
        self.kubernetes.add_node(&NodeSettings {
            boot_id,
            machine_id: machine_id.clone(),
            ..settings
        });
        self.hosts.edit(address, |machine| {
            machine.facts.kubelet = true;
            machine.facts.machine_id = machine_id;
        });
    }

    /// Runs the controllers, and kubelets that are up while their hosts are.
    fn run_kubernetes(&self) {
        let kubernetes = self.kubernetes.clone();
        self.life.spawn("kubernetes", async move { kubernetes.run().await });
        let (kubernetes, hosts) = (self.kubernetes.clone(), self.hosts.handle());
        self.life.spawn("kubelets", async move {
            let mut known = HashMap::new();
            loop {
                for object in kubernetes.objects("nodes") {
                    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                    // Others are nodes without a host.
                    let Some(address) = name.strip_prefix("node-") else { continue };
                    let address = address.replace('-', ".");
                    let is_up = hosts.edit(&address, |machine| machine.is_up());
                    let boot_id = is_up.then(|| hosts.boot_id(&address));
                    let before = known.insert(name.clone(), boot_id.clone());
                    match (before, boot_id) {
                        (Some(before), now) if before == now => {}
                        (_, Some(boot_id)) => kubernetes.kubelet_up(&name, &boot_id),
                        (_, None) => kubernetes.kubelet_down(&name),
                    }
                }
                sleep(MIRROR).await;
            }
        });
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        self.life.kill();
    }
}

/// The name of the node of a host.
pub(crate) fn node(address: &str) -> String {
    format!("node-{}", address.replace('.', "-"))
}

async fn services(
    bus: &Bus,
    clock: &Clock,
    hosts: &SimulatedHosts,
    kubernetes: &SimulatedKubernetes,
    life: &Lifecycle,
) {
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
    let api = kubernetes.clone();
    let clients = ClientFactory::Function(Arc::new(move |_| Ok(api.client("token"))));
    let config = containermgr_svc::Config::default();
    containermgr_svc::run_with(bus.clone(), config, Files::default(), clients, life).await.unwrap();
}

/// What a gateway is configured with. Its limits of time are those of no scenario: while a command runs, time goes by faster
/// than for that.
fn config() -> Config {
    let day = Duration::from_hours(24);
    let limits = Limits { head: day, body: day, idle: day, request: day, ..Limits::default() };
    let plugins = json!([
        {"name": "httpbasicauth", "filepath": USERS_FILE},
        {"name": "httpauthclientcert", "cn": "monitoring", "role": "reader"},
    ]);
    Config {
        authentication_plugins: serde_json::from_value(plugins).unwrap(),
        ssh_public_key_file: Some(KEY_FILE.into()),
        limits,
        ..Config::default()
    }
}

async fn gateway(bus: &Bus, clock: &Clock, config: &Config, life: &Lifecycle) -> Service {
    let users = USERS.map(|name| (name.to_owned(), json!({"hash": PASSWORD, "role": name})));
    let files = MemoryFiles::default();
    files.write(USERS_FILE, Value::Object(users.into_iter().collect()).to_string());
    files.write(KEY_FILE, PUBLIC_KEY.to_owned());
    let ports = Ports {
        bus: bus.clone(),
        clock: clock.clone(),
        audit: Audit::memory(),
        passwords: Passwords::Plain,
        files: Files::Memory(files),
    };
    http_gateway::service(ports, config, life).await.unwrap()
}
