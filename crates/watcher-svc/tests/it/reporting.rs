//! Last checks in reports: simulated hosts, one or two watchers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use host_access::Deps;
use serde_json::json;
use service_core::Lifecycle;
use service_core::model::{CheckReport, CheckRoster, Host, HostCreds, Lease, Status};
use service_core::storage::Revised;
use simulated_hosts::SimulatedHosts;
use watcher_svc::Config;

use crate::fixture::{Fixture, eventually};

const HOSTS: usize = 20;

fn addresses() -> Vec<String> {
    (0..HOSTS).map(|number| format!("10.0.0.{}", number + 1)).collect()
}

/// Hosts that answer, and how often each was probed.
#[derive(Clone, Default)]
struct Simulated {
    hosts: SimulatedHosts,
    asked: Arc<Mutex<BTreeMap<String, usize>>>,
}

impl Simulated {
    fn start() -> Self {
        let simulated = Self::default();
        for address in addresses() {
            simulated.hosts.add(&address);
        }
        simulated
    }

    /// What a watcher of them needs.
    fn deps(&self, fixture: &Fixture, name: &str) -> Deps {
        let asked = Arc::clone(&self.asked);
        let hosts = self.hosts.observed(move |address| {
            *asked.lock().unwrap().entry(address.to_owned()).or_default() += 1;
        });
        Deps { hosts: Arc::new(hosts), ..fixture.deps(name) }
    }

    /// Starts a watcher of them.
    async fn watch(&self, fixture: &Fixture, name: &str, config: Config) -> Lifecycle {
        let life = Lifecycle::new();
        watcher_svc::run(self.deps(fixture, name), config, &life).await.unwrap();
        life
    }

    /// Waits until each host has been asked so often.
    async fn asked(&self, times: usize) {
        eventually("all hosts are checked", || async {
            let asked = self.asked.lock().unwrap();
            (asked.len() == HOSTS && asked.values().all(|asked| *asked >= times)).then_some(())
        })
        .await;
    }
}

async fn with_hosts() -> Fixture {
    let fixture = Fixture::start().await;
    for address in addresses() {
        fixture.add(&HostCreds::new(&address), Status::Active).await;
    }
    fixture
}

/// So many seconds between two reports, and hosts checked twice a second.
fn reporting(seconds: f64) -> Config {
    serde_json::from_value(json!({"interval": 0.5, "report_interval": seconds})).unwrap()
}

async fn hosts(fixture: &Fixture) -> Vec<Revised<Host>> {
    fixture.storage.list::<Host>().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_that_change_nothing_write_no_host_and_are_shown_all_the_same() {
    let (fixture, simulated) = (with_hosts().await, Simulated::start());
    let _life = simulated.watch(&fixture, "w1", reporting(0.1)).await;
    // The first check of each is written, with the boot id and the host's key.
    eventually("the first checks are written", || async {
        let hosts = hosts(&fixture).await;
        hosts.iter().all(|host| !host.record.last_check.is_empty()).then_some(())
    })
    .await;
    let first = hosts(&fixture).await;
    let mut changes = fixture.bus.subscribe("notify.storage.Host.*").await.unwrap();
    simulated.asked(5).await;
    eventually("later checks are shown", || async {
        let now = hosts(&fixture).await;
        let mut pairs = first.iter().zip(&now);
        pairs.all(|(before, now)| now.record.last_check > before.record.last_check).then_some(())
    })
    .await;
    for (before, now) in first.iter().zip(hosts(&fixture).await) {
        assert_eq!(before.revision, now.revision, "{}", now.record.address);
    }
    let change = tokio::time::timeout(Duration::ZERO, changes.next()).await;
    assert!(change.is_err(), "{change:?}");
    let reports = fixture.storage.list::<CheckReport>().await.unwrap();
    let rosters = fixture.storage.list::<CheckRoster>().await.unwrap();
    assert_eq!((reports.len(), rosters.len()), (1, 1));
    assert_eq!(reports[0].record.checks.len(), 4 * HOSTS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_stop_reports_and_the_next_watcher_takes_the_report_over() {
    let (fixture, simulated) = (with_hosts().await, Simulated::start());
    // It would report in an hour.
    let life = simulated.watch(&fixture, "w1", reporting(3600.0)).await;
    simulated.asked(3).await;
    let before = hosts(&fixture).await;
    life.shutdown(Duration::from_secs(20)).await;
    let after = hosts(&fixture).await;
    for (before, after) in before.iter().zip(&after) {
        assert!(after.record.last_check > before.record.last_check, "{before:?} {after:?}");
        assert_eq!(after.revision, before.revision);
    }
    let report = fixture.storage.list::<CheckReport>().await.unwrap().remove(0).record;
    assert!(fixture.storage.list::<Lease>().await.unwrap().is_empty());

    // Another one, which checks nothing for now.
    let quiet = json!({"interval": 3600, "report_interval": 0.1});
    let quiet = serde_json::from_value(quiet).unwrap();
    let _life = Simulated::start().watch(&fixture, "w2", quiet).await;
    eventually("it has taken the report over", || async {
        let reports = fixture.storage.list::<CheckReport>().await.unwrap();
        matches!(reports.as_slice(), [only] if only.record.watcher != report.watcher).then_some(())
    })
    .await;
    assert_eq!(fixture.storage.list::<CheckRoster>().await.unwrap().len(), 1);
    for (before, now) in after.iter().zip(hosts(&fixture).await) {
        assert!(now.record.last_check >= before.record.last_check, "{before:?} {now:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_report_of_a_killed_watcher_is_taken_over_once_it_is_dead() {
    let (fixture, simulated) = (with_hosts().await, Simulated::start());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (deps, life) = (simulated.deps(&fixture, "w1"), Lifecycle::new());
    let started = runtime.spawn(async move { watcher_svc::run(deps, reporting(0.1), &life).await });
    started.await.unwrap().unwrap();
    let left = eventually("it has reported", || async {
        let report = fixture.storage.list::<CheckReport>().await.unwrap().pop()?;
        let roster = fixture.storage.find::<CheckRoster>(&report.record.roster).await.unwrap()?;
        let checks = report.record.checks(&roster.record).unwrap().count();
        (checks == HOSTS).then_some(report.record)
    })
    .await;
    runtime.shutdown_background();
    let shown = hosts(&fixture).await;
    let _life = Simulated::start().watch(&fixture, "w2", reporting(0.1)).await;
    eventually("the report of the dead one is removed", || async {
        let gone = fixture.storage.find::<CheckReport>(&left.watcher).await.unwrap().is_none();
        gone.then_some(())
    })
    .await;
    for (before, now) in shown.iter().zip(hosts(&fixture).await) {
        assert!(now.record.last_check >= before.record.last_check);
    }
    assert_eq!(fixture.storage.list::<CheckRoster>().await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_another_removed_is_written_again_and_deleted_hosts_leave_it() {
    let (fixture, simulated) = (with_hosts().await, Simulated::start());
    let _life = simulated.watch(&fixture, "w1", reporting(0.1)).await;
    let report = || async { fixture.storage.list::<CheckReport>().await.unwrap().pop() };
    let first = eventually("it has reported", report).await;
    fixture.delete::<CheckReport>(&first.record.watcher).await;
    fixture.delete::<CheckRoster>(&first.record.roster).await;
    eventually("it has reported again, with a roster", || async {
        let again = report().await?;
        let id = again.record.roster;
        fixture.storage.find::<CheckRoster>(&id).await.unwrap()
    })
    .await;
    let (gone, kept) = (&addresses()[..15], &addresses()[15..]);
    for address in gone {
        fixture.delete::<Host>(address).await;
    }
    let left = eventually("the roster has only the hosts that are left", || async {
        let id = report().await?.record.roster;
        let roster = fixture.storage.find::<CheckRoster>(&id).await.unwrap()?;
        (roster.record.hosts.len() < HOSTS).then_some(roster.record.hosts)
    })
    .await;
    let mut kept = kept.to_vec();
    kept.sort_unstable();
    assert!(left.len() <= 10 && kept.iter().all(|host| left.contains(host)), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_is_written_to_the_records_at_once() {
    let (fixture, simulated) = (with_hosts().await, Simulated::start());
    let broken = addresses().remove(0);
    simulated.hosts.edit(&broken, |machine| {
        (machine.shutdown, machine.boot) = (Duration::ZERO, Some(Duration::ZERO));
    });
    let quick = json!({"interval": 0.5, "retry_pauses": [0.1], "report_interval": 3600});
    let quick = serde_json::from_value(quick).unwrap();
    let _life = simulated.watch(&fixture, "w1", quick).await;
    simulated.asked(3).await;
    simulated.hosts.reboot(&broken);
    simulated.asked(6).await;
    simulated.hosts.edit(&broken, |machine| machine.has_sshd = false);
    fixture.until(&broken, Status::Failed).await;
    let state = fixture.state(&broken).await;
    assert_eq!((state.reason.as_str(), state.reboots.len()), ("unreachable", 1));
    assert!(state.failing.count >= 3, "{state:?}");
    assert!(fixture.storage.list::<CheckReport>().await.unwrap().is_empty());
}
