//! When hosts are checked: the real watchers and the real storage service in paused time, which passes only while
//! nothing is to be done. So no load of the machine delays a check.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use host_access::{Deps, LogInLedger};
use jiff::Timestamp;
use service_core::bus::{Bus, Call, Context, topology};
use service_core::model::{Host, HostCreds, Status};
use service_core::storage::Transaction;
use service_core::{Clock, Lifecycle, StorageClient, lease};
use simulated_hosts::SimulatedHosts;
use tokio::time::Instant;
use watcher_svc::Config;

use crate::fixture::Fixture;

const HOSTS: usize = 100;

/// Hosts that are registered at a time: no more than 128 changes are accepted at once.
const AT_A_TIME: usize = 50;

/// The pause between looks.
const TICK: Duration = Duration::from_millis(50);

/// A check: when it began since the start of the fleet, by which watcher.
type Check = (Duration, usize);

/// Hosts that answer at once, and the watchers of them, in paused time.
struct Fleet {
    fixture: Fixture,
    clock: Clock,
    begun: Instant,
    interval: Duration,
    checks: Arc<Mutex<BTreeMap<String, Vec<Check>>>>,
    hosts: SimulatedHosts,
    watchers: Vec<Watcher>,
    /// Of the links between the watchers and the storage service.
    links: Lifecycle,
}

struct Watcher {
    life: Lifecycle,
    /// Whether it is cut off from all others: what it says does not arrive.
    is_cut: Arc<AtomicBool>,
}

/// While this is there, paused time does not pass.
struct Standstill(#[expect(dead_code, reason = "its end is what counts")] Sender<()>);

impl Standstill {
    /// The store writes in a thread of its own, of which the runtime knows nothing: it takes that for idleness. A
    /// blocking task it waits for.
    fn begin() -> Self {
        let (sender, receiver) = channel::<()>();
        // Nothing is ever sent: it ends with the sender.
        drop(tokio::task::spawn_blocking(move || receiver.recv().is_err()));
        Self(sender)
    }
}

impl Fleet {
    async fn start() -> Self {
        let (fixture, hosts) = (Fixture::start().await, SimulatedHosts::default());
        let numbers: Vec<_> = (0..HOSTS).collect();
        for part in numbers.chunks(AT_A_TIME) {
            let mut transaction = Transaction::default();
            for number in part {
                let address = format!("10.0.{}.{}", number / 50, number % 50);
                hosts.add(&address);
                let creds = HostCreds::new(&address);
                let host = Host { address, status: Status::Active, ..Host::default() };
                transaction = transaction.save(&host).unwrap().save(&creds).unwrap();
            }
            fixture.storage.transact(&transaction).await.unwrap();
        }
        tokio::time::pause();
        let (begun, start) = (Instant::now(), "2026-11-21T23:40:00Z".parse::<Timestamp>().unwrap());
        let clock = Clock::simulated(start);
        let interval = Config::default().interval.0;
        let (checks, watchers, links) = (Arc::default(), Vec::new(), Lifecycle::new());
        Self { fixture, clock, begun, interval, checks, hosts, watchers, links }
    }

    /// Starts another watcher with the default configuration, on a bus of its own that is linked with the others'.
    async fn watch(&mut self) {
        let number = self.watchers.len();
        let (life, is_cut) = (Lifecycle::new(), Arc::new(AtomicBool::new(false)));
        let bus = self.link(&is_cut).await;
        let (checks, begun) = (Arc::clone(&self.checks), self.begun);
        let hosts = self.hosts.observed(move |address| {
            let mut checks = checks.lock().unwrap();
            checks.entry(address.to_owned()).or_default().push((begun.elapsed(), number));
        });
        let deps = Deps {
            ledger: LogInLedger::new(&bus, self.clock.clone()),
            bus,
            hosts: Arc::new(hosts),
            clock: self.clock.clone(),
            lease_ttl: lease::TTL,
            ..self.fixture.deps(&format!("w{number}"))
        };
        watcher_svc::run(deps, Config::default(), &life).await.unwrap();
        self.watchers.push(Watcher { life, is_cut });
    }

    /// A bus that passes on requests to the storage service, and its notifications.
    async fn link(&self, is_cut: &Arc<AtomicBool>) -> Bus {
        let (hub, bus) = (self.fixture.bus.clone(), Bus::memory());
        let (asked, cut) = (hub.clone(), Arc::clone(is_cut));
        let forward = move |call: Call| {
            let (hub, cut) = (asked.clone(), Arc::clone(&cut));
            async move {
                if cut.load(Ordering::SeqCst) {
                    return std::future::pending().await;
                }
                let _standstill = Standstill::begin();
                hub.ask(&call.key, &call.params.0, &call.context).await
            }
        };
        bus.serve(topology::STORAGE, usize::from(u16::MAX), &self.links, forward).await.unwrap();
        let mut changes = hub.subscribe("notify.storage.#").await.unwrap();
        let (told, cut) = (bus.clone(), Arc::clone(is_cut));
        spawn(async move {
            while let Some(change) = changes.next().await {
                if !cut.load(Ordering::SeqCst) {
                    told.notify(&change.key, &change.params, &Context::default()).await.unwrap();
                }
            }
        });
        bus
    }

    /// Waits until a host has this status, and says for how many intervals.
    async fn until(&self, address: &str, status: Status) -> f64 {
        let bus = self.link(&Arc::default()).await;
        let storage = StorageClient::new(bus, Context::service("test"));
        let begun = Instant::now();
        while storage.get::<Host>(address).await.unwrap().record.status != status {
            assert!(begun.elapsed() < self.interval * 20, "{address} does not become {status}");
            tokio::time::sleep(TICK).await;
        }
        begun.elapsed().div_duration_f64(self.interval)
    }

    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Lets so many intervals pass.
    async fn intervals(&self, count: f64) {
        tokio::time::sleep(self.interval.mul_f64(count)).await;
    }

    /// The checks of each host so far, from this moment on.
    fn checks_since(&self, since: Duration) -> BTreeMap<String, Vec<Check>> {
        let checks = self.checks.lock().unwrap();
        let later = |checks: &Vec<Check>| {
            checks.iter().copied().filter(|(time, _)| *time >= since).collect()
        };
        checks.iter().map(|(address, checks)| (address.clone(), later(checks))).collect()
    }
}

#[expect(clippy::disallowed_methods, reason = "it ends with the test")]
fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    drop(tokio::spawn(task));
}

/// The shares of an interval that lie between the checks of a host.
fn gaps(checks: &[Check], interval: Duration) -> impl Iterator<Item = f64> {
    checks.windows(2).map(move |two| two[1].0.saturating_sub(two[0].0).div_duration_f64(interval))
}

#[tokio::test]
async fn two_watchers_check_each_host_once_an_interval_at_its_place() {
    let mut fleet = Fleet::start().await;
    fleet.watch().await;
    fleet.watch().await;
    // The first round is irregular: all hosts are new.
    fleet.intervals(2.0).await;
    let since = fleet.now();
    fleet.intervals(5.0).await;
    let checks = fleet.checks_since(since);
    assert_eq!(checks.len(), HOSTS);
    let mut shares = [0; 2];
    for (address, checks) in &checks {
        let watchers: BTreeSet<_> = checks.iter().map(|(_, watcher)| *watcher).collect();
        // One that is due just at the beginning or the end may be in or not.
        assert!((4..=6).contains(&checks.len()), "{address}: {checks:?}");
        assert_eq!(watchers.len(), 1, "{address}: {checks:?}");
        shares[checks[0].1] += 1;
        for gap in gaps(checks, fleet.interval) {
            assert!((0.99..=1.01).contains(&gap), "{address}: {gap} of an interval: {checks:?}");
        }
    }
    assert!(shares.iter().all(|share| *share > HOSTS / 5), "hosts of each: {shares:?}");
}

/// Whenever it falls silent between two of its reports.
#[test]
fn the_other_watcher_takes_over_within_an_interval_and_checks_no_host_again_too_soon() {
    for phase in [0.05, 0.3] {
        // One of its own for each, since time goes on in it as long as it is there.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(taken_over_after(3.0 + phase));
    }
}

async fn taken_over_after(intervals: f64) {
    let mut fleet = Fleet::start().await;
    fleet.watch().await;
    fleet.watch().await;
    fleet.intervals(intervals).await;
    let cut = fleet.now();
    fleet.watchers[1].is_cut.store(true, Ordering::SeqCst);
    fleet.intervals(3.0).await;
    for (address, checks) in fleet.checks_since(cut.saturating_sub(fleet.interval * 2)) {
        let after: Vec<_> = checks.iter().copied().filter(|(time, _)| *time > cut).collect();
        assert!(after.iter().all(|(_, watcher)| *watcher == 0), "{address}: {checks:?}");
        let waited = after[0].0.saturating_sub(cut).div_duration_f64(fleet.interval);
        assert!(waited <= 1.01, "{address} is checked {waited} of an interval later");
        for gap in gaps(&checks, fleet.interval) {
            assert!(gap >= 0.49, "{address}: {gap} of an interval: {checks:?}");
        }
    }
}

#[tokio::test]
async fn hosts_keep_their_places_while_watchers_come_and_are_stopped() {
    let mut fleet = Fleet::start().await;
    fleet.watch().await;
    fleet.intervals(2.0).await;
    let since = fleet.now();
    fleet.watch().await;
    fleet.intervals(2.3).await;
    fleet.watch().await;
    fleet.intervals(2.6).await;
    fleet.watchers[0].life.shutdown(Duration::from_secs(20)).await;
    fleet.intervals(2.0).await;
    let mut busy = BTreeSet::new();
    for (address, checks) in fleet.checks_since(since) {
        busy.extend(checks.iter().map(|(_, watcher)| *watcher));
        for gap in gaps(&checks, fleet.interval) {
            assert!((0.49..=1.01).contains(&gap), "{address}: {gap} of an interval: {checks:?}");
        }
    }
    assert_eq!(busy, BTreeSet::from([0, 1, 2]));
}

#[tokio::test]
async fn a_host_that_is_down_fails_within_two_intervals_and_heals_within_one() {
    let mut fleet = Fleet::start().await;
    fleet.watch().await;
    fleet.watch().await;
    fleet.intervals(2.0).await;
    for address in ["10.0.0.7", "10.0.1.8", "10.0.1.9"] {
        fleet.hosts.edit(address, |machine| machine.has_sshd = false);
        let failed = fleet.until(address, Status::Failed).await;
        assert!(failed <= 2.0, "{address} fails after {failed} intervals");
        fleet.hosts.edit(address, |machine| machine.has_sshd = true);
        let healed = fleet.until(address, Status::Active).await;
        assert!(healed <= 1.01, "{address} heals after {healed} intervals");
        fleet.intervals(0.3).await;
    }
}
