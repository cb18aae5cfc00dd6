//! An executor that is killed, stopped or cut off, and another one that goes on.

use std::time::Duration;

use clusterexec_svc::Config;
use model::{OperationStatus, Outcome, Step, Wanted};
use serde_json::{Value, json};
use simulated_hosts::LogIn;
use storage_client::lease;
use tokio::time::{Instant, sleep};

use crate::fleet::{Executor, Fleet, address};

/// Has one executor start an operation of three hosts, ends that one after `after`, and another one go on; the moment of
/// the end.
async fn ended_after(
    method: &str,
    options: Value,
    after: Duration,
    end: impl AsyncFn(&Executor),
) -> (Fleet, Instant) {
    let fleet = Fleet::start(3).await;
    let first = fleet.executor().await;
    first.start(method, options).await.unwrap();
    sleep(after).await;
    end(&first).await;
    let end = Instant::now();
    let _second = fleet.executor().await;
    let ended = fleet.ended("o1").await;
    let reason = ended.reason;
    assert_eq!(ended.status, OperationStatus::Finished, "{method}, after {after:?}: {reason}");
    (fleet, end)
}

#[tokio::test(start_paused = true)]
async fn executor_killed_at_any_request_to_storage_is_replaced_by_another() {
    for is_carried_out in [false, true] {
        let mut number = 0;
        loop {
            let fleet = Fleet::start(1).await;
            let config = Config::default();
            let first = fleet.executor_killed_at(config, number, is_carried_out).await;
            let options = json!({"settle": 0});
            // Its answer is lost where it is killed before.
            let accepted = first.start("restart", options.clone()).await.is_ok();
            let second = fleet.executor().await;
            if !accepted {
                second.start("restart", options).await.unwrap();
            }
            let ended = fleet.ended("o1").await;
            assert_eq!(
                ended.status,
                OperationStatus::Finished,
                "request {number}: {}",
                ended.reason
            );
            fleet.assert_commands(&[0], 1);
            // The log-ins to come, and renewals of leases, are requests, too.
            if !first.is_dead() {
                break;
            }
            number += 1;
        }
        assert!(number > 30, "an operation takes more than {number} requests");
    }
}

#[tokio::test(start_paused = true)]
async fn executor_killed_around_a_command_is_replaced_by_another() {
    // Ansible is ready after three seconds; the decision and the command follow within a tenth.
    for step in 0..100 {
        let after = Duration::from_secs(3) + Duration::from_millis(4) * step;
        let options = json!({"settle": 0});
        let (fleet, _) = ended_after("restart", options, after, async |first| first.kill()).await;
        fleet.assert_commands(&[0, 1, 2], 1);
    }
}

#[tokio::test(start_paused = true)]
async fn operation_whose_executor_is_killed_at_any_step_is_finished_by_another() {
    // Until the third host reboots.
    for number in 0..65 {
        let after = Duration::from_millis(990) * number;
        let options = json!({"settle": 5});
        let (fleet, _) = ended_after("restart", options, after, async |first| first.kill()).await;
        fleet.assert_commands(&[0, 1, 2], 1);
    }
}

#[tokio::test(start_paused = true)]
async fn operation_whose_executor_is_stopped_is_finished_by_another() {
    for seconds in (0..60).step_by(3) {
        let after = Duration::from_secs(seconds);
        let options = json!({"settle": 5});
        let end = async |first: &Executor| first.stop().await;
        let (fleet, _) = ended_after("restart", options, after, end).await;
        fleet.assert_commands(&[0, 1, 2], 1);
    }
}

#[tokio::test(start_paused = true)]
async fn executor_that_is_cut_off_from_its_records_reboots_nothing_more() {
    for step in 0..80 {
        let after = Duration::from_millis(500) * step;
        let options = json!({"settle": 5});
        let (fleet, cut) = ended_after("restart", options, after, async |first| first.cut()).await;
        fleet.assert_commands(&[0, 1, 2], 1);
        // Until its lease has run out, no other executor works.
        let alone = cut + Duration::from_millis(300)..cut + lease::TTL;
        for command in fleet.hosts.commands() {
            assert!(!alone.contains(&command.at), "cut off after {after:?}: {command:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn upgrade_whose_executor_is_killed_is_not_begun_again() {
    for seconds in (0..180).step_by(7) {
        let after = Duration::from_secs(seconds);
        let options = json!({"reboot": "always", "settle": 5});
        let (fleet, _) = ended_after("upgrade", options, after, async |first| first.kill()).await;
        fleet.assert_commands(&[0, 1, 2], 1);
        for number in 0..3 {
            let begun = fleet.hosts.edit(&address(number), |machine| machine.upgrades_begun());
            assert_eq!(begun, 1, "host {number}, killed after {after:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn late_go_ahead_does_not_begin_the_deadline_of_the_reboot() {
    let fleet = Fleet::start(1).await;
    let first = fleet.executor().await;
    fleet.hosts.edit(&address(0), |machine| machine.go_ahead_delay = Duration::from_secs(3));
    first.restart(json!({})).await;
    let waits = async || fleet.part("o1", 0).await.waiting_for.filter(|why| why.contains("late"));
    fleet.until("its go-ahead is late", waits).await;
    assert_eq!(fleet.part("o1", 0).await.rebooted_at, None);
    fleet.say("o1", Wanted::Pause).await;
    sleep(Duration::from_hours(1)).await;
    first.kill();
    fleet.hosts.edit(&address(0), |machine| {
        (machine.go_ahead_delay, machine.log_in) = (Duration::ZERO, LogIn::Throttled);
    });
    let _second = fleet.executor().await;
    fleet.say("o1", Wanted::Run).await;
    sleep(Duration::from_mins(2)).await;
    fleet.hosts.edit(&address(0), |machine| machine.log_in = LogIn::Accepted);
    assert_eq!(fleet.ended("o1").await.status, OperationStatus::Finished);
    fleet.assert_commands(&[0], 1);
}

#[tokio::test(start_paused = true)]
async fn next_executor_says_where_it_goes_on() {
    let fleet = Fleet::start(2).await;
    let first = fleet.executor().await;
    first.restart(json!({})).await;
    fleet.at("o1", 0, Step::Verify).await;
    first.kill();
    let second = fleet.executor().await;
    fleet.ended("o1").await;
    let log = fleet.logged("o1", 0, Step::Verify).await;
    assert!(log.iter().any(|(outcome, _)| *outcome == Outcome::Resumed), "{log:?}");
    let numbers: Vec<_> = fleet.events("o1").await.iter().map(|event| event.seq).collect();
    assert_eq!(
        numbers,
        (1..=numbers.len() as u64).collect::<Vec<_>>(),
        "no event is lost or doubled"
    );
    // Asked for again, it is not started again.
    second.restart(json!({})).await;
    fleet.assert_commands(&[0, 1], 1);
}

#[tokio::test(start_paused = true)]
async fn take_over_in_a_soak_waits_for_no_more_than_the_whole_of_it() {
    // The clock of the other machine is so many hours ahead.
    for (hours, least, most) in [(-5, 10, 15), (6, 3, 4)] {
        let fleet = Fleet::start(2).await;
        let first = fleet.executor().await;
        first.restart(json!({"soak": 600})).await;
        fleet.at("o1", 0, Step::Done).await;
        let done = Instant::now();
        sleep(Duration::from_mins(3)).await;
        fleet.clock.advance(jiff::SignedDuration::from_hours(hours));
        first.kill();
        let _second = fleet.executor().await;
        fleet.ended("o1").await;
        let waited = fleet.hosts.commands()[1].at - done;
        let allowed = Duration::from_mins(least)..Duration::from_mins(most);
        assert!(allowed.contains(&waited), "{hours} h: {waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn next_executor_has_the_host_settle_again() {
    let fleet = Fleet::start(1).await;
    let first = fleet.executor().await;
    first.restart(json!({"settle": 600})).await;
    fleet.at("o1", 0, Step::Settle).await;
    sleep(Duration::from_mins(5)).await;
    first.kill();
    let (_second, killed) = (fleet.executor().await, Instant::now());
    fleet.at("o1", 0, Step::Done).await;
    assert!(killed.elapsed() >= Duration::from_mins(10), "the whole time: {:?}", killed.elapsed());
}

#[tokio::test(start_paused = true)]
async fn host_that_stays_down_is_failed_after_a_take_over_too() {
    let fleet = Fleet::start(1).await;
    let first = fleet.executor().await;
    fleet.hosts.edit(&address(0), |machine| machine.boot = None);
    first.restart(json!({})).await;
    fleet.at("o1", 0, Step::Verify).await;
    let rebooted = Instant::now();
    sleep(Duration::from_mins(5)).await;
    first.kill();
    let _second = fleet.executor().await;
    assert_eq!(fleet.ended("o1").await.status, OperationStatus::Failed);
    assert_eq!(fleet.part("o1", 0).await.reason, "not-back");
    let took = rebooted.elapsed().as_secs() / 60;
    assert!((14..=16).contains(&took), "{took} min from the reboot, not from the take-over");
}
