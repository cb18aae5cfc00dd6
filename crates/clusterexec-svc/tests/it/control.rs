//! Operators and alarms: pause, resume, abort, freeze.

use std::time::Duration;

use model::{Alarm, ClusterRestart, Freeze, OperationStatus, Outcome, Step, Wanted};
use serde_json::json;
use tokio::time::sleep;

use crate::fleet::{Fleet, address};

async fn freeze(fleet: &Fleet) {
    let (name, by) = (Freeze::ALL.to_owned(), "ann".to_owned());
    let freeze = Freeze { name, by, at: "".into(), reason: "floods".to_owned(), restored: false };
    fleet.storage.save(&freeze).await.unwrap();
}

async fn raise(fleet: &Fleet) {
    let (scope, since) = (Alarm::FLEET.to_owned(), fleet.clock.stamp());
    let reason = "4 of 10 hosts are unreachable".to_owned();
    fleet.storage.save(&Alarm { scope, since, share: 0.4, reason }).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn no_host_is_started_during_a_pause() {
    let fleet = Fleet::start(3).await;
    let executor = fleet.executor().await;
    executor.restart(json!({})).await;
    fleet.at("o1", 0, Step::Verify).await;
    fleet.say("o1", Wanted::Pause).await;
    sleep(Duration::from_hours(2)).await;
    assert_eq!(fleet.part("o1", 0).await.step, Step::Done, "it is followed to its end");
    fleet.assert_commands(&[0], 1);
    fleet.say("o1", Wanted::Run).await;
    assert_eq!(fleet.ended("o1").await.status, OperationStatus::Finished);
    fleet.assert_commands(&[0, 1, 2], 1);
}

#[tokio::test(start_paused = true)]
async fn pause_at_any_moment_is_the_end_of_commands() {
    // From the first probe until the second host has its command.
    for halves in 0..60 {
        let fleet = Fleet::start(2).await;
        let executor = fleet.executor().await;
        executor.restart(json!({})).await;
        sleep(Duration::from_millis(500) * halves).await;
        fleet.say("o1", Wanted::Pause).await;
        let commands = fleet.hosts.commands().len();
        // One whose go-ahead was decided before the pause was acknowledged.
        sleep(Duration::from_millis(300)).await;
        let decided = fleet.hosts.commands().len();
        assert!(decided <= commands + 1);
        sleep(Duration::from_mins(3)).await;
        let later = fleet.hosts.commands().len();
        assert_eq!(later, decided, "paused after {halves} half seconds");
        let mut busy = Vec::new();
        for number in 0..2 {
            busy.push(fleet.part("o1", number).await.is_worked_on());
        }
        assert_eq!(busy, [false, false], "nothing is done to a host");
        fleet.say("o1", Wanted::Run).await;
        assert_eq!(fleet.ended("o1").await.status, OperationStatus::Finished);
        fleet.assert_commands(&[0, 1], 1);
    }
}

#[tokio::test(start_paused = true)]
async fn abort_follows_the_host_under_way_and_skips_the_others() {
    for (boot, step) in [(Some(Duration::from_secs(20)), Step::Done), (None, Step::Failed)] {
        let fleet = Fleet::start(3).await;
        let executor = fleet.executor().await;
        fleet.hosts.edit(&address(0), |machine| machine.boot = boot);
        executor.restart(json!({})).await;
        fleet.at("o1", 0, Step::Verify).await;
        let record = fleet.find::<ClusterRestart>("c1").await.unwrap();
        assert_eq!(record.in_process, [address(0)]);
        fleet.say("o1", Wanted::Abort).await;
        let ended = fleet.ended("o1").await;
        let (status, reason) = (ended.status, ended.reason.as_str());
        assert_eq!((status, reason), (OperationStatus::Failed, "aborted by ann"));
        assert_eq!(fleet.part("o1", 0).await.step, step);
        for number in [1, 2] {
            let part = fleet.part("o1", number).await;
            let skipped = part.skipped.as_deref();
            assert_eq!((part.step, skipped), (Step::Skipped, Some("aborted by ann")));
            assert!(part.finished_at.is_some());
        }
        let done = usize::from(step == Step::Done);
        let detail = format!("failed after {done} of 3 hosts: aborted by ann");
        assert_eq!(fleet.last_event("o1").await, (Outcome::Failed, detail));
        let events = fleet.events("o1").await;
        let skipped = events.iter().filter(|event| event.outcome == Outcome::Skipped);
        assert_eq!(skipped.count(), 2, "{events:?}");
        let record = fleet.find::<ClusterRestart>("c1").await.unwrap();
        let failed = if step == Step::Failed { vec![address(0)] } else { vec![] };
        assert_eq!(record.in_process, failed);
        fleet.assert_commands(&[0], 1);
    }
}

#[tokio::test(start_paused = true)]
async fn abort_of_a_host_that_waits_for_its_go_ahead_leaves_it_as_it_is() {
    let fleet = Fleet::start(2).await;
    let executor = fleet.executor().await;
    executor.restart(json!({})).await;
    fleet.at("o1", 0, Step::Reboot).await;
    fleet.say("o1", Wanted::Pause).await;
    fleet.until("it waits", async || fleet.part("o1", 0).await.waiting_for).await;
    fleet.say("o1", Wanted::Abort).await;
    assert_eq!(fleet.ended("o1").await.status, OperationStatus::Failed);
    for number in [0, 1] {
        assert_eq!(fleet.part("o1", number).await.step, Step::Skipped);
    }
    fleet.assert_commands(&[], 1);
}

#[tokio::test(start_paused = true)]
async fn freeze_lets_no_host_be_started_or_rebooted() {
    let fleet = Fleet::start(2).await;
    let executor = fleet.executor().await;
    executor.restart(json!({})).await;
    fleet.at("o1", 0, Step::Reboot).await;
    freeze(&fleet).await;
    sleep(Duration::from_hours(3)).await;
    fleet.assert_commands(&[], 1);
    let part = fleet.part("o1", 0).await;
    assert!(part.waiting_for.is_some_and(|why| why.contains("floods")));
    let log = fleet.logged("o1", 0, Step::Reboot).await;
    let waits = log.iter().filter(|(outcome, _)| *outcome == Outcome::Waiting);
    assert_eq!(waits.count(), 1, "one event for the whole wait: {log:?}");
    fleet.storage.delete::<Freeze>(Freeze::ALL).await.unwrap();
    assert_eq!(fleet.ended("o1").await.status, OperationStatus::Finished);
    fleet.assert_commands(&[0, 1], 1);
}

#[tokio::test(start_paused = true)]
async fn pause_during_the_probe_is_one_event() {
    let fleet = Fleet::start(1).await;
    let executor = fleet.executor().await;
    executor.restart(json!({})).await;
    fleet.at("o1", 0, Step::Probe).await;
    fleet.say("o1", Wanted::Pause).await;
    sleep(Duration::from_hours(1)).await;
    fleet.say("o1", Wanted::Run).await;
    assert_eq!(fleet.ended("o1").await.status, OperationStatus::Finished);
    let log = fleet.logged("o1", 0, Step::Probe).await;
    let waits = log.iter().filter(|(outcome, _)| *outcome == Outcome::Waiting);
    assert_eq!(waits.count(), 1, "{log:?}");
}

#[tokio::test(start_paused = true)]
async fn host_that_waits_shows_the_present_reason() {
    let fleet = Fleet::start(2).await;
    let executor = fleet.executor().await;
    executor.restart(json!({})).await;
    fleet.at("o1", 0, Step::Reboot).await;
    freeze(&fleet).await;
    let waits_for = async |part: &str| {
        let waits = async || fleet.part("o1", 0).await.waiting_for.filter(|why| why.contains(part));
        fleet.until(part, waits).await;
    };
    waits_for("frozen by ann").await;
    let is_logged = async || {
        let reasons = fleet.reasons("o1", Outcome::Waiting).await;
        reasons.contains(&"frozen".to_owned()).then_some(())
    };
    fleet.until("an event of the rollout", is_logged).await;
    fleet.say("o1", Wanted::Pause).await;
    waits_for("paused by ann").await;
    fleet.storage.delete::<Freeze>(Freeze::ALL).await.unwrap();
    fleet.hosts.power_off(&address(1));
    fleet.say("o1", Wanted::Run).await;
    waits_for("does not answer").await;
    fleet.hosts.power_on(&address(1));
    fleet.at("o1", 0, Step::Verify).await;
    assert_eq!(fleet.part("o1", 0).await.waiting_for, None);
    assert_eq!(fleet.ended("o1").await.status, OperationStatus::Finished);
    let log = fleet.logged("o1", 0, Step::Reboot).await;
    let waits = log.iter().filter(|(outcome, _)| *outcome == Outcome::Waiting);
    assert_eq!(waits.count(), 3, "an event for each reason: {log:?}");
    let reasons = fleet.reasons("o1", Outcome::Waiting).await;
    for reason in ["gate", "host-budget", "frozen", "budget"] {
        assert!(reasons.iter().any(|word| word == reason), "{reason} in {reasons:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn alarm_of_ten_minutes_pauses_the_operation() {
    let fleet = Fleet::start(2).await;
    let executor = fleet.executor().await;
    executor.restart(json!({})).await;
    fleet.at("o1", 0, Step::Done).await;
    raise(&fleet).await;
    sleep(Duration::from_mins(9)).await;
    assert!(fleet.find::<model::OperationControl>("o1").await.is_none());
    let reason = fleet.paused("o1").await;
    assert!(reason.contains("the fleet") && reason.contains("600 s"), "{reason}");
    let logged = async || {
        let events = fleet.events("o1").await;
        events.into_iter().find(|event| event.host.is_empty() && event.detail.contains("600 s"))
    };
    let event = fleet.until("an event of the operation", logged).await;
    assert_eq!(event.outcome, Outcome::Waiting);
    fleet.storage.delete::<Alarm>(Alarm::FLEET).await.unwrap();
    sleep(Duration::from_hours(1)).await;
    fleet.assert_commands(&[0], 1);
    fleet.say("o1", Wanted::Run).await;
    assert_eq!(fleet.ended("o1").await.status, OperationStatus::Finished);
    fleet.assert_commands(&[0, 1], 1);
}

#[tokio::test(start_paused = true)]
async fn operation_with_resume_after_alarm_auto_goes_on_by_itself() {
    let fleet = Fleet::start(2).await;
    let executor = fleet.executor().await;
    executor.restart(json!({"resume_after_alarm": "auto"})).await;
    fleet.at("o1", 0, Step::Done).await;
    raise(&fleet).await;
    sleep(Duration::from_hours(2)).await;
    fleet.assert_commands(&[0], 1);
    fleet.storage.delete::<Alarm>(Alarm::FLEET).await.unwrap();
    assert_eq!(fleet.ended("o1").await.status, OperationStatus::Finished);
    fleet.assert_commands(&[0, 1], 1);
}

#[tokio::test(start_paused = true)]
async fn budget_that_is_free_again_ends_the_wait() {
    let fleet = Fleet::start(3).await;
    let executor = fleet.executor().await;
    executor.restart(json!({})).await;
    fleet.at("o1", 0, Step::Verify).await;
    fleet.hosts.power_off(&address(2));
    sleep(Duration::from_mins(10)).await;
    fleet.assert_commands(&[0], 1);
    fleet.hosts.power_on(&address(2));
    assert_eq!(fleet.ended("o1").await.status, OperationStatus::Finished);
    fleet.assert_commands(&[0, 1, 2], 1);
}
