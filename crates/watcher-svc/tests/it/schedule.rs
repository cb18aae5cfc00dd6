//! When hosts are checked.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::Status;
use tokio::time::{Instant, sleep};
use watcher_svc::Config;

use crate::fixture::{Fixture, Watcher, addresses};

const HOSTS: usize = 100;

/// Hosts that answer at once, and watchers of them with the default configuration.
struct Fleet {
    fixture: Fixture,
    interval: Duration,
    watchers: Vec<Watcher>,
}

impl Fleet {
    async fn start() -> Self {
        let (fixture, interval) = (Fixture::start().await, Config::default().interval.0);
        fixture.register_all(&addresses(HOSTS), Status::Active).await;
        Self { fixture, interval, watchers: Vec::new() }
    }

    async fn watch(&mut self) {
        let number = self.watchers.len();
        self.watchers.push(self.fixture.watch_as(number, Config::default()).await);
    }

    /// Waits until a host has this status, and says for how many intervals.
    async fn until(&self, address: &str, status: Status) -> f64 {
        let begun = Instant::now();
        self.fixture.until(address, status).await;
        begun.elapsed().div_duration_f64(self.interval)
    }

    /// Lets so many intervals pass.
    async fn intervals(&self, count: f64) {
        sleep(self.interval.mul_f64(count)).await;
    }

    /// The checks of each host so far, from this moment on.
    fn checks_since(&self, since: Instant) -> BTreeMap<String, Vec<(Instant, usize)>> {
        self.fixture.probes_since(since)
    }

    /// The shares of an interval that lie between the checks of a host.
    fn gaps(&self, checks: &[(Instant, usize)]) -> impl Iterator<Item = f64> {
        checks.windows(2).map(|two| (two[1].0 - two[0].0).div_duration_f64(self.interval))
    }
}

#[tokio::test(start_paused = true)]
async fn two_watchers_check_each_host_once_an_interval_at_its_place() {
    let mut fleet = Fleet::start().await;
    fleet.watch().await;
    fleet.watch().await;
    // The first round is irregular: all hosts are new.
    fleet.intervals(2.0).await;
    let since = Instant::now();
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
        for gap in fleet.gaps(checks) {
            assert!((0.99..=1.01).contains(&gap), "{address}: {gap} of an interval: {checks:?}");
        }
    }
    assert!(shares.iter().all(|share| *share > HOSTS / 5), "hosts of each: {shares:?}");
}

/// Whenever it is killed between two of its reports.
#[tokio::test(start_paused = true)]
async fn the_other_watcher_takes_over_within_an_interval_and_checks_no_host_again_too_soon() {
    for phase in [0.05, 0.3] {
        taken_over_after(3.0 + phase).await;
    }
}

async fn taken_over_after(intervals: f64) {
    let mut fleet = Fleet::start().await;
    fleet.watch().await;
    fleet.watch().await;
    fleet.intervals(intervals).await;
    let killed = Instant::now();
    fleet.watchers[1].kill();
    fleet.intervals(3.0).await;
    let checks = fleet.checks_since(killed - fleet.interval * 2);
    assert_eq!(checks.len(), HOSTS);
    for (address, checks) in checks {
        let after: Vec<_> = checks.iter().copied().filter(|(at, _)| *at > killed).collect();
        assert!(after.iter().all(|(_, watcher)| *watcher == 0), "{address}: {checks:?}");
        let waited = (after[0].0 - killed).div_duration_f64(fleet.interval);
        assert!(waited <= 1.01, "{address} is checked {waited} of an interval later");
        for gap in fleet.gaps(&checks) {
            assert!(gap >= 0.49, "{address}: {gap} of an interval: {checks:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn hosts_keep_their_places_while_watchers_come_and_are_stopped() {
    let mut fleet = Fleet::start().await;
    fleet.watch().await;
    fleet.intervals(2.0).await;
    let since = Instant::now();
    fleet.watch().await;
    fleet.intervals(2.3).await;
    fleet.watch().await;
    fleet.intervals(2.6).await;
    fleet.watchers[0].life.shutdown(Duration::from_secs(20)).await;
    fleet.intervals(2.0).await;
    let mut busy = BTreeSet::new();
    let checks = fleet.checks_since(since);
    assert_eq!(checks.len(), HOSTS);
    for (address, checks) in checks {
        busy.extend(checks.iter().map(|(_, watcher)| *watcher));
        for gap in fleet.gaps(&checks) {
            assert!((0.49..=1.01).contains(&gap), "{address}: {gap} of an interval: {checks:?}");
        }
    }
    assert_eq!(busy, BTreeSet::from([0, 1, 2]));
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_down_fails_within_two_intervals_and_heals_within_one() {
    let mut fleet = Fleet::start().await;
    fleet.watch().await;
    fleet.watch().await;
    fleet.intervals(2.0).await;
    for address in ["10.0.0.7", "10.0.1.8", "10.0.1.9"] {
        fleet.fixture.hosts.edit(address, |machine| machine.has_sshd = false);
        let failed = fleet.until(address, Status::Failed).await;
        assert!(failed <= 2.0, "{address} fails after {failed} intervals");
        fleet.fixture.hosts.edit(address, |machine| machine.has_sshd = true);
        let healed = fleet.until(address, Status::Active).await;
        assert!(healed <= 1.01, "{address} heals after {healed} intervals");
        fleet.intervals(0.3).await;
    }
}
