//! Hosts that are back have to stay up, and to be up at the end.

use std::time::Duration;

use clusterexec_svc::Config;
use model::{HostState, OperationStatus, Outcome, Status, Step, Wanted};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::fleet::{Fleet, address};

#[tokio::test(start_paused = true)]
async fn host_is_done_when_it_has_stayed_up_for_thirty_seconds_by_default() {
    let fleet = Fleet::start(2).await;
    let executor = fleet.executor().await;
    executor.start("restart", json!({})).await.unwrap();
    fleet.at("o1", 0, Step::Settle).await;
    let begun = Instant::now();
    fleet.at("o1", 0, Step::Done).await;
    let took = begun.elapsed().as_secs();
    assert!((29..=32).contains(&took), "{took} s");
    assert_eq!(fleet.ended("o1").await.status, OperationStatus::Finished);
    fleet.assert_commands(&[0, 1], 1);
}

#[tokio::test(start_paused = true)]
async fn host_that_settles_keeps_its_place_in_the_budget() {
    let fleet = Fleet::start(2).await;
    let executor = fleet.executor().await;
    executor.start("restart", json!({"settle": 600})).await.unwrap();
    fleet.at("o1", 0, Step::Settle).await;
    sleep(Duration::from_mins(9)).await;
    assert_eq!(fleet.part("o1", 1).await.step, Step::Pending);
    fleet.ended("o1").await;
}

#[tokio::test(start_paused = true)]
async fn host_that_reboots_while_it_settles_is_verified_and_settles_again() {
    let fleet = Fleet::start(1).await;
    let executor = fleet.executor().await;
    executor.start("restart", json!({})).await.unwrap();
    fleet.at("o1", 0, Step::Settle).await;
    sleep(Duration::from_secs(20)).await;
    let first = fleet.hosts.boot_id(&address(0));
    fleet.hosts.reboot(&address(0));
    let rebooted = Instant::now();
    assert_eq!(fleet.ended("o1").await.status, OperationStatus::Finished);
    assert!(rebooted.elapsed() >= Duration::from_secs(52), "down, up, and the whole time again");
    let log = fleet.logged("o1", 0, Step::Settle).await;
    let outcomes: Vec<_> = log.iter().map(|(outcome, _)| *outcome).collect();
    assert_eq!(outcomes, [Outcome::Started, Outcome::Failed, Outcome::Started, Outcome::Ok]);
    let boot_id = fleet.hosts.boot_id(&address(0));
    assert!(log[0].1.contains(&first) && log[2].1.contains(&boot_id), "{log:?}");
    assert!(log[1].1.contains("rebooted by itself") && log[1].1.contains(&boot_id), "{log:?}");
    assert_eq!(fleet.state(0).await.boot_id, boot_id);
    assert_eq!(fleet.part("o1", 0).await.boot_id_after, Some(boot_id));
    fleet.assert_commands(&[0], 1);
}

#[tokio::test(start_paused = true)]
async fn lost_connection_alone_does_not_begin_it_again() {
    let fleet = Fleet::start(1).await;
    let executor = fleet.executor().await;
    executor.start("restart", json!({})).await.unwrap();
    fleet.at("o1", 0, Step::Settle).await;
    let begun = Instant::now();
    sleep(Duration::from_secs(15)).await;
    fleet.hosts.cut(&address(0));
    fleet.at("o1", 0, Step::Done).await;
    assert!(begun.elapsed() < Duration::from_secs(40), "{:?}", begun.elapsed());
    let log = fleet.logged("o1", 0, Step::Settle).await;
    let outcomes: Vec<_> = log.iter().map(|(outcome, _)| *outcome).collect();
    assert_eq!(outcomes, [Outcome::Started, Outcome::Ok]);
}

#[tokio::test(start_paused = true)]
async fn host_that_keeps_rebooting_fails_at_the_limit() {
    let fleet = Fleet::start(1).await;
    let config = Config { verify_timeout: 300, ..Config::default() };
    let executor = fleet.executor_with(config).await;
    executor.start("restart", json!({})).await.unwrap();
    fleet.at("o1", 0, Step::Settle).await;
    fleet.hosts.edit(&address(0), |machine| machine.boot = Some(Duration::from_secs(1)));
    let begun = Instant::now();
    while fleet.part("o1", 0).await.step != Step::Failed {
        fleet.hosts.reboot(&address(0));
        sleep(Duration::from_secs(20)).await;
        assert!(begun.elapsed() < Duration::from_hours(1), "it has a limit");
    }
    let part = fleet.part("o1", 0).await;
    assert_eq!(part.reason, "not-settled");
    let reason = part.failure.unwrap().reason;
    assert!(reason.contains("keeps rebooting") && reason.contains(address(0).as_str()), "{reason}");
    assert!(begun.elapsed() >= Duration::from_secs(330), "{:?}", begun.elapsed());
    assert_eq!(part.boot_id_after, None);
    assert_eq!(fleet.ended("o1").await.status, OperationStatus::Failed);
    assert_eq!(fleet.reasons("o1", Outcome::Failed).await, ["not-settled", "hosts-failed"]);
}

#[tokio::test(start_paused = true)]
async fn host_is_done_once_its_system_has_started() {
    for (start, step) in [(200, Step::Done), (3600, Step::Failed)] {
        let fleet = Fleet::start(1).await;
        let config = Config { verify_timeout: 300, ..Config::default() };
        let executor = fleet.executor_with(config).await;
        fleet.hosts.edit(&address(0), |machine| machine.start = Duration::from_secs(start));
        executor.start("restart", json!({})).await.unwrap();
        fleet.ended("o1").await;
        let part = fleet.part("o1", 0).await;
        assert_eq!(part.step, step, "{start} s");
        if step == Step::Failed {
            assert_eq!(part.reason, "not-settled");
            let reason = part.failure.unwrap().reason;
            assert!(reason.contains("systemd says starting"), "{reason}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn host_without_systemd_only_has_to_stay_up() {
    let fleet = Fleet::start(1).await;
    let executor = fleet.executor().await;
    fleet.hosts.edit(&address(0), |machine| machine.has_systemd = false);
    executor.start("restart", json!({})).await.unwrap();
    assert_eq!(fleet.ended("o1").await.status, OperationStatus::Finished);
}

#[tokio::test(start_paused = true)]
async fn units_that_have_failed_since_are_recorded_or_fail_the_host() {
    for (settle, strict) in [(30, false), (30, true), (0, true)] {
        let fleet = Fleet::start(1).await;
        let executor = fleet.executor().await;
        fleet
            .hosts
            .edit(&address(0), |machine| machine.failed_units = vec!["old.service".to_owned()]);
        let options = json!({"settle": settle, "strict_units": strict});
        executor.start("restart", options).await.unwrap();
        fleet.at("o1", 0, Step::Verify).await;
        fleet
            .hosts
            .edit(&address(0), |machine| machine.failed_units.push("new.service".to_owned()));
        fleet.ended("o1").await;
        let part = fleet.part("o1", 0).await;
        if strict {
            assert_eq!((part.step, part.reason.as_str()), (Step::Failed, "units-failed"));
            let reason = part.failure.unwrap().reason;
            assert!(reason.contains("new.service") && !reason.contains("old.service"), "{reason}");
        } else {
            assert_eq!(part.step, Step::Done);
            assert_eq!(part.result.unwrap().failed_units, ["new.service"]);
            let (_, last) = fleet.logged("o1", 0, Step::Settle).await.pop().unwrap();
            assert!(last.contains("new.service") && !last.contains("old.service"), "{last}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn unasked_reboot_of_a_done_host_pauses_the_operation_until_it_is_resumed() {
    let fleet = Fleet::start(3).await;
    let executor = fleet.executor().await;
    executor.restart(json!({"soak": 300})).await;
    fleet.at("o1", 0, Step::Done).await;
    fleet.hosts.reboot(&address(0));
    sleep(Duration::from_mins(1)).await;
    // As the watcher records it.
    let boot_id = fleet.hosts.boot_id(&address(0));
    let seen = HostState { boot_id: boot_id.clone(), ..fleet.state(0).await };
    fleet.storage.save(&seen).await.unwrap();
    let reason = fleet.paused("o1").await;
    assert!(reason.starts_with("unexpected-reboot: "), "{reason}");
    assert!(reason.contains(address(0).as_str()) && reason.contains(&boot_id), "{reason}");
    sleep(Duration::from_hours(1)).await;
    fleet.assert_commands(&[0], 1);
    assert_eq!(fleet.part("o1", 0).await.boot_id_after, Some(boot_id));
    fleet.say("o1", Wanted::Run).await;
    assert_eq!(fleet.ended("o1").await.status, OperationStatus::Finished);
    fleet.assert_commands(&[0, 1, 2], 1);
}

#[tokio::test(start_paused = true)]
async fn done_host_that_is_down_at_the_end_fails_the_operation() {
    let fleet = Fleet::start(2).await;
    let executor = fleet.executor().await;
    executor.restart(json!({"max_unavailable": 2})).await;
    fleet.at("o1", 1, Step::Verify).await;
    fleet.hosts.power_off(&address(0));
    let ended = fleet.ended("o1").await;
    assert_eq!(ended.status, OperationStatus::Failed);
    assert!(ended.reason.starts_with("lost-after: "), "{}", ended.reason);
    assert!(ended.reason.contains(address(0).as_str()), "{}", ended.reason);
    let failure = fleet.part("o1", 0).await.failure.unwrap();
    assert!(failure.reason.starts_with("lost-after: "), "{}", failure.reason);
    assert_eq!(fleet.state(0).await.reason, HostState::UNREACHABLE, "the watcher sees its return");
}

#[tokio::test(start_paused = true)]
async fn removed_done_host_that_is_down_at_the_end_fails_nothing() {
    let fleet = Fleet::start(2).await;
    let executor = fleet.executor().await;
    executor.restart(json!({})).await;
    fleet.at("o1", 1, Step::Verify).await;
    fleet.set_members(vec![address(1)]).await;
    fleet.hosts.power_off(&address(0));
    let ended = fleet.ended("o1").await;
    assert_eq!((ended.status, ended.reason.as_str()), (OperationStatus::Finished, ""));
    assert_eq!(fleet.part("o1", 0).await.step, Step::Done);
}

#[tokio::test(start_paused = true)]
async fn done_host_in_another_boot_at_the_end_is_recorded() {
    let fleet = Fleet::start(2).await;
    let executor = fleet.executor().await;
    executor.restart(json!({})).await;
    // No host is left to do, so nothing looks at the first one before the end.
    fleet.at("o1", 1, Step::Verify).await;
    fleet.hosts.edit(&address(0), |machine| machine.boot = Some(Duration::from_secs(5)));
    fleet.hosts.reboot(&address(0));
    let ended = fleet.ended("o1").await;
    assert_eq!((ended.status, ended.reason.as_str()), (OperationStatus::Finished, ""));
    let boot_id = fleet.hosts.boot_id(&address(0));
    assert_eq!(fleet.part("o1", 0).await.boot_id_after.as_ref(), Some(&boot_id));
    let (_, last) = fleet.logged("o1", 0, Step::Done).await.pop().unwrap();
    assert!(last.contains("rebooted by itself") && last.contains(&boot_id), "{last}");
}

#[tokio::test(start_paused = true)]
async fn host_that_returns_late_is_done_while_the_operation_stays_failed() {
    let fleet = Fleet::start(2).await;
    let executor = fleet.executor().await;
    fleet.hosts.edit(&address(0), |machine| machine.boot = Some(Duration::from_mins(40)));
    executor.start("restart", json!({})).await.unwrap();
    assert_eq!(fleet.ended("o1").await.status, OperationStatus::Failed);
    assert_eq!(fleet.part("o1", 0).await.reason, "not-back");
    fleet.at("o1", 0, Step::Done).await;
    let part = fleet.part("o1", 0).await;
    assert!(part.late && part.failure.is_none());
    assert_eq!(part.boot_id_after, Some(fleet.hosts.boot_id(&address(0))));
    assert_eq!(fleet.operation("o1").await.status, OperationStatus::Failed);
    assert_eq!(fleet.status(0).await, Status::Active);
    fleet.assert_commands(&[0], 1);
}

#[tokio::test(start_paused = true)]
async fn host_that_returns_late_has_to_settle_too() {
    let (boot, settle) = (Duration::from_mins(40), Duration::from_mins(10));
    for start in [Duration::ZERO, Duration::from_mins(15)] {
        let fleet = Fleet::start(1).await;
        let executor = fleet.executor().await;
        fleet
            .hosts
            .edit(&address(0), |machine| (machine.boot, machine.start) = (Some(boot), start));
        executor.restart(json!({"settle": settle.as_secs()})).await;
        assert_eq!(fleet.ended("o1").await.status, OperationStatus::Failed);
        fleet.at("o1", 0, Step::Done).await;
        let done = fleet.hosts.commands()[0].at.elapsed();
        assert!(done >= boot + settle.max(start), "its system starts in {start:?}: {done:?}");
        assert!(fleet.part("o1", 0).await.late);
    }
}

#[tokio::test(start_paused = true)]
async fn host_whose_packets_are_lost_for_a_while_is_done() {
    let fleet = Fleet::start(1).await;
    let executor = fleet.executor().await;
    executor.start("restart", json!({})).await.unwrap();
    fleet.at("o1", 0, Step::Settle).await;
    fleet.hosts.edit(&address(0), |machine| machine.is_reachable = false);
    sleep(Duration::from_mins(5)).await;
    fleet.hosts.edit(&address(0), |machine| machine.is_reachable = true);
    assert_eq!(fleet.ended("o1").await.status, OperationStatus::Finished);
    fleet.assert_commands(&[0], 1);
}
