//! Simulated hosts, the storage service with records in memory, and watchers of them, in paused time: it passes only
//! while nothing is to be done, so no load of the machine delays a check.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bus::{Bus, Call, Context, topology};
use host_access::{Deps, Hosts, LogInLedger};
use model::{Host, HostCreds, HostState, Model, Status};
use runtime::{Clock, Lifecycle};
use serde_json::Value;
use simulated_hosts::SimulatedHosts;
use storage_client::{StorageClient, Transaction, lease};
use storage_svc::Handler;
use storage_svc::store::Memory;
use tempfile::TempDir;
use testbed::log::Log;
use tokio::time::{Instant, sleep};
use tracing::level_filters::LevelFilter;
use watcher_svc::Config;

/// How long tests wait for what should happen.
const HANG: Duration = Duration::from_hours(4);

/// The shortest and the longest pause between two looks.
const LOOK_MIN: Duration = Duration::from_millis(50);
const LOOK_MAX: Duration = Duration::from_secs(1);

/// How long a request of a watcher takes to storage.
const LATENCY: Duration = Duration::from_millis(2);

/// Hosts that are registered at a time: no more than 128 changes are accepted at once.
const AT_A_TIME: usize = 50;

/// Log-ins of watchers to each host: when, and by which watcher.
type Probes = Arc<Mutex<BTreeMap<String, Vec<(Instant, usize)>>>>;

/// Hosts and the storage service, without a watcher yet.
pub(crate) struct Fixture {
    /// The bus of the storage service.
    pub(crate) bus: Bus,
    pub(crate) storage: StorageClient,
    pub(crate) hosts: SimulatedHosts,
    clock: Clock,
    probes: Probes,
    log: Log,
    life: Lifecycle,
    folder: TempDir,
}

/// One watcher, on a bus of its own that is linked with the others'.
pub(crate) struct Watcher {
    pub(crate) bus: Bus,
    pub(crate) life: Lifecycle,
    /// Its handle to the hosts.
    hosts: SimulatedHosts,
    is_cut: Arc<AtomicBool>,
}

impl Fixture {
    pub(crate) async fn start() -> Self {
        let fixture = Self::without_storage();
        fixture.start_storage().await;
        fixture
    }

    /// The same before the storage service is started.
    pub(crate) fn without_storage() -> Self {
        let (log, bus) = (Log::capture_from(LevelFilter::INFO), Bus::memory());
        Self {
            storage: StorageClient::new(bus.clone(), Context::service("test")),
            hosts: SimulatedHosts::default(),
            clock: Clock::simulated("2026-11-28T12:00:00Z".parse().unwrap()),
            probes: Probes::default(),
            life: Lifecycle::new(),
            folder: tempfile::tempdir().unwrap(),
            bus,
            log,
        }
    }

    pub(crate) async fn start_storage(&self) {
        let config = storage_svc::Config::new(self.folder.path().join("secret.key"));
        let config = config.or_handler(Handler::memory(Memory::default()));
        storage_svc::run(&self.bus, &config, &self.life).await.unwrap();
    }

    /// What a service needs that has this bus and these hosts.
    pub(crate) fn deps(&self, bus: &Bus, hosts: impl Hosts + 'static) -> Deps {
        Deps {
            bus: bus.clone(),
            clock: self.clock.clone(),
            hosts: Arc::new(hosts),
            own_key: "key".into(),
            ledger: LogInLedger::new(bus, self.clock.clone()),
            lease_ttl: lease::TTL,
        }
    }

    pub(crate) async fn watch(&self, config: Config) -> Watcher {
        self.watch_as(0, config).await
    }

    /// Starts the watcher of this number.
    pub(crate) async fn watch_as(&self, number: usize, config: Config) -> Watcher {
        let (life, is_cut, hosts) = (Lifecycle::new(), Arc::default(), self.hosts.handle());
        let bus = self.link(&is_cut).await;
        let probes = Arc::clone(&self.probes);
        let observed = hosts.observed(move |address| {
            let mut probes = probes.lock().unwrap();
            probes.entry(address.to_owned()).or_default().push((Instant::now(), number));
        });
        watcher_svc::run(self.deps(&bus, observed), config, &life).await.unwrap();
        Watcher { bus, life, hosts, is_cut }
    }

    /// A bus that passes on requests to the storage service, and its notifications, until it is cut.
    async fn link(&self, is_cut: &Arc<AtomicBool>) -> Bus {
        let bus = Bus::memory();
        let (hub, cut) = (self.bus.clone(), Arc::clone(is_cut));
        let forward = move |call: Call| {
            let (hub, cut) = (hub.clone(), Arc::clone(&cut));
            async move {
                sleep(LATENCY).await;
                if cut.load(Ordering::SeqCst) {
                    return std::future::pending().await;
                }
                hub.ask(&call.key, &call.params.value(), &call.context).await
            }
        };
        bus.serve(topology::STORAGE, usize::from(u16::MAX), &self.life, forward).await.unwrap();
        let mut changes = self.bus.subscribe("notify.storage.#").await.unwrap();
        let (linked, cut) = (bus.clone(), Arc::clone(is_cut));
        self.life.spawn("link", async move {
            while let Some(change) = changes.next().await {
                if !cut.load(Ordering::SeqCst) {
                    linked.notify(&change.key, &change.params, &Context::default()).await.unwrap();
                }
            }
        });
        bus
    }

    /// Adds a host that is up and in this state.
    pub(crate) async fn register(&self, address: &str, status: Status) {
        self.register_all(&[address], status).await;
    }

    /// Adds hosts that are up and in this state.
    pub(crate) async fn register_all(&self, addresses: &[impl AsRef<str>], status: Status) {
        for part in addresses.chunks(AT_A_TIME) {
            let mut transaction = Transaction::default();
            for address in part {
                let address = address.as_ref();
                self.hosts.add(address);
                let key = self.hosts.edit(address, |machine| machine.host_key.clone());
                let creds = HostCreds { ssh_host_key: key, ..HostCreds::new(address) };
                let host = Host { address: address.into(), status, ..Host::default() };
                transaction = transaction.save(&host).unwrap().save(&creds).unwrap();
            }
            self.storage.transact(&transaction).await.unwrap();
        }
    }

    pub(crate) async fn host(&self, address: &str) -> Host {
        self.storage.get::<Host>(address).await.unwrap().record
    }

    pub(crate) async fn creds(&self, address: &str) -> HostCreds {
        self.storage.get::<HostCreds>(address).await.unwrap().record
    }

    pub(crate) async fn state(&self, address: &str) -> HostState {
        let found = self.storage.find::<HostState>(address).await.unwrap();
        found.map(|state| state.record).unwrap_or_default()
    }

    /// Deletes a record.
    pub(crate) async fn delete<T: Model>(&self, id: &str) {
        self.storage.delete::<T>(id).await.unwrap();
    }

    /// Waits until a host has this status.
    pub(crate) async fn until(&self, address: &str, status: Status) {
        let what = format!("{address} becomes {status}");
        let has_it = async || (self.host(address).await.status == status).then_some(());
        eventually(&what, has_it).await;
    }

    /// Waits for a check of a host that ends from now on.
    pub(crate) async fn checked(&self, address: &str) {
        self.all_checked(&[address]).await;
    }

    /// Waits for a check of each of these hosts that ends from now on.
    pub(crate) async fn all_checked(&self, addresses: &[impl AsRef<str>]) {
        let addresses: Vec<_> = addresses.iter().map(|one| one.as_ref().to_owned()).collect();
        let last_checks = async || {
            let hosts = self.storage.get_many::<Host>(&addresses).await.unwrap();
            let hosts = hosts.into_iter().map(|host| host.unwrap().record.last_check);
            hosts.collect::<Vec<_>>()
        };
        let before = last_checks().await;
        eventually(&format!("{addresses:?} are checked"), async || {
            let now = last_checks().await;
            before.iter().zip(&now).all(|(before, now)| before < now).then_some(())
        })
        .await;
    }

    /// The log-ins to all hosts from `since` on.
    pub(crate) fn probes_since(&self, since: Instant) -> BTreeMap<String, Vec<(Instant, usize)>> {
        let mut probes = self.probes.lock().unwrap().clone();
        for probes in probes.values_mut() {
            probes.retain(|(at, _)| *at >= since);
        }
        probes.retain(|_, probes| !probes.is_empty());
        probes
    }

    /// When log-ins to a host began.
    pub(crate) fn probes(&self, address: &str) -> Vec<Instant> {
        let probes = self.probes.lock().unwrap();
        probes.get(address).into_iter().flatten().map(|(at, _)| *at).collect()
    }

    /// Waits until a host was logged in to so often; when, each time.
    pub(crate) async fn probed(&self, address: &str, count: usize) -> Vec<Instant> {
        let probes = async || Some(self.probes(address)).filter(|probes| probes.len() >= count);
        eventually(&format!("{count} checks of {address} have begun"), probes).await
    }

    /// What was logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.text()
    }
}

impl Watcher {
    /// From now on, nothing comes from it, as if it had been killed.
    pub(crate) fn kill(&self) {
        self.is_cut.store(true, Ordering::SeqCst);
        self.hosts.sever();
    }
}

/// The addresses of so many hosts.
pub(crate) fn addresses(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("10.0.{}.{}", number / 50, number % 50 + 1)).collect()
}

/// A configuration with these fields.
pub(crate) fn config(fields: Value) -> Config {
    serde_json::from_value(fields).unwrap()
}

/// The pauses between these moments, in seconds.
pub(crate) fn gaps(moments: &[Instant]) -> Vec<f64> {
    moments.windows(2).map(|two| (two[1] - two[0]).as_secs_f64()).collect()
}

/// Asks until there is an answer.
pub(crate) async fn eventually<T>(what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(begun.elapsed() < HANG, "not within {HANG:?}: {what}");
        // As exact as it has to be: each look takes processor time.
        sleep((begun.elapsed() / 100).clamp(LOOK_MIN, LOOK_MAX)).await;
    }
}
