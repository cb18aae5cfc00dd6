//! Last checks in reports: one or two watchers.

use std::time::Duration;

use model::{CheckReport, CheckRoster, Host, Lease, Status};
use serde_json::json;
use storage_client::Revised;
use tokio::time::sleep;
use watcher_svc::Config;

use crate::fixture::{Fixture, addresses, config, eventually};

const HOSTS: usize = 20;

async fn with_hosts() -> Fixture {
    let fixture = Fixture::start().await;
    fixture.register_all(&addresses(HOSTS), Status::Active).await;
    fixture
}

async fn hosts(fixture: &Fixture) -> Vec<Revised<Host>> {
    fixture.storage.list::<Host>().await.unwrap()
}

async fn report(fixture: &Fixture) -> Option<CheckReport> {
    fixture.storage.list::<CheckReport>().await.unwrap().pop().map(|report| report.record)
}

async fn roster(fixture: &Fixture, report: &CheckReport) -> Option<CheckRoster> {
    fixture.storage.find(&report.roster).await.unwrap().map(|roster| roster.record)
}

/// Waits until each host has been checked so often.
async fn all_probed(fixture: &Fixture, times: usize) {
    for address in addresses(HOSTS) {
        fixture.probed(&address, times).await;
    }
}

#[tokio::test(start_paused = true)]
async fn checks_that_change_nothing_write_no_host_and_are_shown_all_the_same() {
    let fixture = with_hosts().await;
    let _watcher = fixture.watch(Config::default()).await;
    // The first check of each is written, with the boot id.
    eventually("the first checks are written", async || {
        let hosts = hosts(&fixture).await;
        hosts.iter().all(|host| !host.record.last_check.is_empty()).then_some(())
    })
    .await;
    let first = hosts(&fixture).await;
    let mut changes = fixture.bus.subscribe("notify.storage.Host.*").await.unwrap();
    all_probed(&fixture, 5).await;
    eventually("later checks are shown", async || {
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

#[tokio::test(start_paused = true)]
async fn a_clean_stop_reports_and_the_next_watcher_takes_the_report_over() {
    let fixture = with_hosts().await;
    // It would report in an hour.
    let watcher = fixture.watch_as(0, config(json!({"report_interval": 3600}))).await;
    all_probed(&fixture, 3).await;
    let before = hosts(&fixture).await;
    watcher.life.shutdown(Duration::from_secs(20)).await;
    let after = hosts(&fixture).await;
    for (before, after) in before.iter().zip(&after) {
        assert!(after.record.last_check > before.record.last_check, "{before:?} {after:?}");
        assert_eq!(after.revision, before.revision);
    }
    let left = report(&fixture).await.unwrap();
    assert!(fixture.storage.list::<Lease>().await.unwrap().is_empty());

    // Another one, which checks nothing for now.
    let quiet = json!({"interval": 36000, "report_interval": 1});
    let _watcher = fixture.watch_as(1, config(quiet)).await;
    eventually("it has taken the report over", async || {
        let reports = fixture.storage.list::<CheckReport>().await.unwrap();
        matches!(reports.as_slice(), [only] if only.record.watcher != left.watcher).then_some(())
    })
    .await;
    assert_eq!(fixture.storage.list::<CheckRoster>().await.unwrap().len(), 1);
    for (before, now) in after.iter().zip(hosts(&fixture).await) {
        assert!(now.record.last_check >= before.record.last_check, "{before:?} {now:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_report_of_a_killed_watcher_is_taken_over_once_it_is_dead() {
    let fixture = with_hosts().await;
    let watcher = fixture.watch_as(0, Config::default()).await;
    let left = eventually("it has reported", async || {
        let report = report(&fixture).await?;
        let roster = roster(&fixture, &report).await?;
        let checks = report.checks(&roster).unwrap().count();
        (checks == HOSTS).then_some(report)
    })
    .await;
    watcher.kill();
    let shown = hosts(&fixture).await;
    let _watcher = fixture.watch_as(1, Config::default()).await;
    eventually("the report of the dead one is removed", async || {
        let gone = fixture.storage.find::<CheckReport>(&left.watcher).await.unwrap().is_none();
        gone.then_some(())
    })
    .await;
    for (before, now) in shown.iter().zip(hosts(&fixture).await) {
        assert!(now.record.last_check >= before.record.last_check);
    }
    assert_eq!(fixture.storage.list::<CheckRoster>().await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_report_that_another_removed_is_written_again_and_deleted_hosts_leave_it() {
    let fixture = with_hosts().await;
    let _watcher = fixture.watch(Config::default()).await;
    let first = eventually("it has reported", async || report(&fixture).await).await;
    fixture.delete::<CheckReport>(&first.watcher).await;
    fixture.delete::<CheckRoster>(&first.roster).await;
    eventually("it has reported again, with a roster", async || {
        roster(&fixture, &report(&fixture).await?).await
    })
    .await;
    let all = addresses(HOSTS);
    let (gone, kept) = all.split_at(15);
    for address in gone {
        fixture.delete::<Host>(address).await;
    }
    let left = eventually("the roster has only the hosts that are left", async || {
        let roster = roster(&fixture, &report(&fixture).await?).await?;
        (roster.hosts.len() < HOSTS).then_some(roster.hosts)
    })
    .await;
    assert!(
        left.len() <= 10 && kept.iter().all(|host| left.iter().any(|left| *left == **host)),
        "{left:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_changes_is_written_to_the_records_at_once() {
    let fixture = with_hosts().await;
    let broken = addresses(HOSTS).remove(0);
    let _watcher = fixture.watch(config(json!({"report_interval": 36000}))).await;
    all_probed(&fixture, 3).await;
    fixture.hosts.reboot(&broken);
    // Until it is up again.
    sleep(Duration::from_secs(30)).await;
    all_probed(&fixture, 6).await;
    fixture.hosts.edit(&broken, |machine| machine.has_sshd = false);
    fixture.until(&broken, Status::Failed).await;
    let state = fixture.state(&broken).await;
    assert_eq!((state.reason.as_str(), state.reboots.len()), ("unreachable", 1));
    assert!(state.failing.count >= 3, "{state:?}");
    assert!(fixture.storage.list::<CheckReport>().await.unwrap().is_empty());
}
