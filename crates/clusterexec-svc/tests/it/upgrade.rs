//! Upgrades and deployments: what is done to a host before its reboot.

use std::time::Duration;

use clusterexec_svc::Config;
use model::{OperationStatus, Outcome, Step, Wanted};
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep};

use crate::fleet::{Fleet, address};

fn data(value: &Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

/// Hosts that are booted from OSTree deployments, with another one staged by what is done to them.
fn stage(fleet: &Fleet, count: usize) {
    let staged = data(&json!({
        "commissaire_checksum_before": "aa", "commissaire_version_before": "41.1",
        "commissaire_checksum": "bb", "commissaire_version": "42.1",
        "commissaire_reboot_required": true,
    }));
    for number in 0..count {
        fleet.hosts.edit(&address(number), |machine| {
            machine.facts.ostree = true;
            machine.apply.result = Ok(staged.clone());
        });
    }
}

#[tokio::test(start_paused = true)]
async fn packages_are_upgraded_without_a_reboot() {
    let fleet = Fleet::start(2).await;
    let executor = fleet.executor().await;
    let changes = data(&json!({"commissaire_changes": "0 1 0\nssh 1 2"}));
    fleet.hosts.edit(&address(0), |machine| machine.apply.result = Ok(changes));
    executor.start("upgrade", json!({})).await.unwrap();
    assert_eq!(fleet.ended("o1").await.status, OperationStatus::Finished);
    fleet.assert_commands(&[], 1);
    let result = fleet.part("o1", 0).await.result.unwrap();
    assert_eq!(result.packages.unwrap().upgraded[0].name, "ssh");
    assert_eq!(fleet.part("o1", 1).await.step, Step::Done);
}

#[tokio::test(start_paused = true)]
async fn upgrade_reboots_as_asked_for() {
    for (option, required, rebooted) in [
        ("always", false, true),
        ("if-needed", true, true),
        ("if-needed", false, false),
        ("never", true, false),
    ] {
        let fleet = Fleet::start(1).await;
        let executor = fleet.executor().await;
        let result = data(&json!({"commissaire_reboot_required": required}));
        fleet.hosts.edit(&address(0), |machine| machine.apply.result = Ok(result));
        let options = json!({"reboot": option, "settle": 0});
        executor.start("upgrade", options).await.unwrap();
        assert_eq!(fleet.ended("o1").await.status, OperationStatus::Finished);
        assert_eq!(fleet.hosts.commands().len(), usize::from(rebooted), "{option} {required}");
    }
}

#[tokio::test(start_paused = true)]
async fn failed_upgrade_names_its_cause_and_stops_the_operation() {
    let fleet = Fleet::start(2).await;
    let executor = fleet.executor().await;
    let cause = "E: Failed to fetch http://deb.example.com".to_owned();
    fleet.hosts.edit(&address(0), |machine| machine.apply.result = Err(cause.clone()));
    executor.start("upgrade", json!({"reboot": "always"})).await.unwrap();
    assert_eq!(fleet.ended("o1").await.status, OperationStatus::Failed);
    let part = fleet.part("o1", 0).await;
    assert_eq!((part.step, part.reason.as_str()), (Step::Failed, "playbook-failed"));
    let failure = part.failure.unwrap().reason;
    for words in [
        "the upgrade of 10.0.0.1 failed: ",
        &cause,
        "; once the cause is gone, start the upgrade again",
    ] {
        assert!(failure.contains(words), "{words:?}: {failure}");
    }
    let log = fleet.logged("o1", 0, Step::Apply).await;
    let failed = log.iter().filter(|(outcome, _)| *outcome == Outcome::Failed);
    assert_eq!(failed.count(), 1, "it is not tried again: {log:?}");
    assert_eq!(fleet.part("o1", 1).await.step, Step::Pending);
    fleet.assert_commands(&[], 1);
}

#[tokio::test(start_paused = true)]
async fn upgrade_goes_on_over_another_connection() {
    let fleet = Fleet::start(1).await;
    let executor = fleet.executor().await;
    fleet.hosts.edit(&address(0), |machine| machine.apply.takes = Duration::from_mins(10));
    executor.start("upgrade", json!({})).await.unwrap();
    fleet.at("o1", 0, Step::Apply).await;
    let begun = Instant::now();
    sleep(Duration::from_mins(5)).await;
    fleet.hosts.cut(&address(0));
    assert_eq!(fleet.ended("o1").await.status, OperationStatus::Finished);
    assert!(begun.elapsed() < Duration::from_mins(12), "it did not begin again");
    let log = fleet.logged("o1", 0, Step::Apply).await;
    assert!(log.iter().any(|(outcome, _)| *outcome == Outcome::Failed), "{log:?}");
}

#[tokio::test(start_paused = true)]
async fn upgrade_that_takes_too_long_fails_and_goes_on_by_itself() {
    let fleet = Fleet::start(1).await;
    let config = Config { apply_timeout: 600, ..Config::default() };
    let executor = fleet.executor_with(config).await;
    fleet.hosts.edit(&address(0), |machine| machine.apply.takes = Duration::from_hours(2));
    executor.start("upgrade", json!({})).await.unwrap();
    assert_eq!(fleet.ended("o1").await.status, OperationStatus::Failed);
    let failure = fleet.part("o1", 0).await.failure.unwrap();
    assert!(failure.reason.contains("systemctl status commissaire-o1-apply"), "{failure:?}");
}

#[tokio::test(start_paused = true)]
async fn package_lock_becomes_an_event() {
    let fleet = Fleet::start(1).await;
    let executor = fleet.executor().await;
    let lock = "the package lock is held by unattended-upgr (pid 77)".to_owned();
    let disk = "the disk is slow".to_owned();
    let waits = [&lock, &lock, &lock, &disk].map(String::clone).to_vec();
    fleet.hosts.edit(&address(0), |machine| machine.apply.waits = waits);
    executor.start("upgrade", json!({})).await.unwrap();
    fleet.ended("o1").await;
    let log = fleet.logged("o1", 0, Step::Apply).await;
    let waits = log.iter().filter(|(outcome, _)| *outcome == Outcome::Waiting);
    let waits: Vec<_> = waits.map(|(_, detail)| detail).collect();
    assert_eq!(waits, [&lock, &disk], "{log:?}");
}

#[tokio::test(start_paused = true)]
async fn host_that_names_ever_other_things_to_wait_for_does_not_fill_the_log() {
    let fleet = Fleet::start(1).await;
    let executor = fleet.executor().await;
    let waits = (0..1000).map(|number| format!("process {number} holds the lock")).collect();
    fleet.hosts.edit(&address(0), |machine| machine.apply.waits = waits);
    executor.start("upgrade", json!({})).await.unwrap();
    fleet.ended("o1").await;
    let log = fleet.logged("o1", 0, Step::Apply).await;
    let waits = log.iter().filter(|(outcome, _)| *outcome == Outcome::Waiting);
    assert_eq!(waits.count(), 20);
}

#[tokio::test(start_paused = true)]
async fn host_that_is_lost_for_good_in_an_upgrade_fails() {
    let fleet = Fleet::start(1).await;
    let executor = fleet.executor().await;
    executor.start("upgrade", json!({})).await.unwrap();
    fleet.at("o1", 0, Step::Apply).await;
    sleep(Duration::from_secs(20)).await;
    fleet.hosts.power_off(&address(0));
    let lost = Instant::now();
    assert_eq!(fleet.ended("o1").await.status, OperationStatus::Failed);
    assert!(lost.elapsed() >= Config::default().verify_timeout(), "it may be rebooting");
    let part = fleet.part("o1", 0).await;
    assert_eq!(part.reason, "unreachable");
    assert!(part.failure.unwrap().reason.contains("lost in the middle of it"));
}

#[tokio::test(start_paused = true)]
async fn version_is_deployed_on_ostree_hosts_alone() {
    let fleet = Fleet::start(2).await;
    let executor = fleet.executor().await;
    stage(&fleet, 1);
    executor.start("deploy", json!({"settle": 0})).await.unwrap();
    assert_eq!(fleet.ended("o1").await.status, OperationStatus::Failed);
    fleet.assert_commands(&[0], 1);
    let result = fleet.part("o1", 0).await.result.unwrap();
    assert_eq!(
        (result.tree.unwrap().after.version.as_str(), result.reboot_required),
        ("42.1", false)
    );
    let part = fleet.part("o1", 1).await;
    assert_eq!((part.step, part.reason.as_str()), (Step::Failed, "not-ostree"));
}

#[tokio::test(start_paused = true)]
async fn host_that_boots_its_previous_tree_fails_a_deployment_alone() {
    for (method, step) in [("deploy", Step::Failed), ("upgrade", Step::Done)] {
        let fleet = Fleet::start(1).await;
        let executor = fleet.executor().await;
        stage(&fleet, 1);
        fleet.hosts.edit(&address(0), |machine| machine.falls_back = true);
        executor.start(method, json!({"settle": 0})).await.unwrap();
        fleet.ended("o1").await;
        let part = fleet.part("o1", 0).await;
        let reason = if step == Step::Failed { "not-booted" } else { "" };
        assert_eq!((part.step, part.reason.as_str()), (step, reason), "{method}: {part:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn ostree_host_is_rebooted_after_an_upgrade_that_has_staged_something() {
    let fleet = Fleet::start(2).await;
    let executor = fleet.executor().await;
    stage(&fleet, 2);
    executor.start("upgrade", json!({"settle": 0})).await.unwrap();
    assert_eq!(fleet.ended("o1").await.status, OperationStatus::Finished);
    fleet.assert_commands(&[0, 1], 1);
}

#[tokio::test(start_paused = true)]
async fn pause_before_an_upgrade_begins_keeps_it_from_beginning() {
    let fleet = Fleet::start(1).await;
    let executor = fleet.executor().await;
    fleet.hosts.edit(&address(0), |machine| machine.apply.takes = Duration::from_mins(30));
    executor.start("upgrade", json!({})).await.unwrap();
    fleet.at("o1", 0, Step::Apply).await;
    fleet.say("o1", Wanted::Pause).await;
    sleep(Duration::from_hours(1)).await;
    fleet.hosts.cut(&address(0));
    sleep(Duration::from_hours(1)).await;
    let part = fleet.part("o1", 0).await;
    assert!(part.result.is_none() && !part.is_worked_on(), "{part:?}");
    fleet.say("o1", Wanted::Run).await;
    assert_eq!(fleet.ended("o1").await.status, OperationStatus::Finished);
    let log = fleet.logged("o1", 0, Step::Apply).await;
    assert!(log.iter().all(|(outcome, _)| *outcome != Outcome::Failed), "{log:?}");
}

#[tokio::test(start_paused = true)]
async fn budget_holds_for_upgrades_too() {
    let fleet = Fleet::start(6).await;
    let executor = fleet.executor().await;
    let options = json!({"reboot": "always", "max_unavailable": 2, "settle": 0});
    executor.start("upgrade", options).await.unwrap();
    assert_eq!(fleet.ended("o1").await.status, OperationStatus::Finished);
    let commands = fleet.hosts.commands();
    assert_eq!(commands.len(), 6);
    assert!(commands.iter().all(|command| command.down.len() < 2), "{commands:?}");
}
