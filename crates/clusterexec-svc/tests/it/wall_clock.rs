//! The wall clock is set while an operation runs.

use std::time::Duration;

use clusterexec_svc::Config;
use model::{OperationStatus, Step};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::fleet::{Fleet, address};

/// Hours by which it is set, as it was where operations went wrong: forward, back, and forward by more than any deadline.
const STEPS: [i64; 3] = [2, -5, 6];

#[tokio::test(start_paused = true)]
async fn soak_time_passes_between_hosts_whatever_the_wall_clock_says() {
    for hours in STEPS {
        let fleet = Fleet::start(2).await;
        let executor = fleet.executor().await;
        executor.restart(json!({"soak": 600, "settle": 30})).await;
        fleet.at("o1", 0, Step::Done).await;
        let done = Instant::now();
        fleet.clock.advance(jiff::SignedDuration::from_hours(hours));
        fleet.ended("o1").await;
        let waited = fleet.hosts.commands()[1].at - done;
        let allowed = Duration::from_mins(10)..Duration::from_mins(11);
        assert!(allowed.contains(&waited), "{hours} h: {waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn deadline_of_a_reboot_does_not_depend_on_the_wall_clock() {
    for hours in STEPS {
        let fleet = Fleet::start(1).await;
        let config = Config { verify_timeout: 60, ..Config::default() };
        let executor = fleet.executor_with(config).await;
        fleet.hosts.edit(&address(0), |machine| machine.boot = Some(Duration::from_secs(50)));
        executor.restart(json!({"settle": 30})).await;
        for step in [Step::Verify, Step::Settle] {
            fleet.at("o1", 0, step).await;
            fleet.clock.advance(jiff::SignedDuration::from_hours(hours));
        }
        assert_eq!(fleet.ended("o1").await.status, OperationStatus::Finished, "{hours} h");
    }
}

#[tokio::test(start_paused = true)]
async fn host_that_stays_down_fails_at_its_deadline_whatever_the_wall_clock_says() {
    for hours in STEPS {
        let fleet = Fleet::start(1).await;
        let config = Config { verify_timeout: 60, ..Config::default() };
        let executor = fleet.executor_with(config).await;
        fleet.hosts.edit(&address(0), |machine| machine.boot = None);
        executor.restart(json!({})).await;
        fleet.at("o1", 0, Step::Verify).await;
        let rebooted = Instant::now();
        fleet.clock.advance(jiff::SignedDuration::from_hours(hours));
        assert_eq!(fleet.ended("o1").await.status, OperationStatus::Failed, "{hours} h");
        assert_eq!(fleet.part("o1", 0).await.reason, "not-back");
        let took = rebooted.elapsed().as_secs();
        assert!((58..=70).contains(&took), "{hours} h: {took} s");
    }
}

#[tokio::test(start_paused = true)]
async fn budget_is_waited_for_as_long_as_configured_whatever_the_wall_clock_says() {
    for hours in STEPS {
        // Before the next host is started, and when one is under way.
        for step in [Step::Done, Step::Reboot] {
            let fleet = Fleet::start(3).await;
            let config = Config { room_timeout: 300, ..Config::default() };
            let executor = fleet.executor_with(config).await;
            executor.restart(json!({"soak": 60})).await;
            fleet.at("o1", 0, step).await;
            fleet.hosts.power_off(&address(2));
            let soak = if step == Step::Done { 60 } else { 0 };
            sleep(Duration::from_secs(soak + 100)).await;
            fleet.clock.advance(jiff::SignedDuration::from_hours(hours));
            let set = Instant::now();
            fleet.paused("o1").await;
            let waited = set.elapsed().as_secs() + 100;
            assert!((300..=320).contains(&waited), "{hours} h, {step}: {waited} s");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn upgrade_that_loses_its_connection_after_the_clock_was_set_goes_on() {
    for hours in STEPS {
        let fleet = Fleet::start(1).await;
        let executor = fleet.executor().await;
        fleet.hosts.edit(&address(0), |machine| machine.apply.takes = Duration::from_mins(10));
        executor.start("upgrade", json!({})).await.unwrap();
        fleet.at("o1", 0, Step::Apply).await;
        sleep(Duration::from_mins(5)).await;
        fleet.clock.advance(jiff::SignedDuration::from_hours(hours));
        fleet.hosts.cut(&address(0));
        assert_eq!(fleet.ended("o1").await.status, OperationStatus::Finished, "{hours} h");
        let begun = fleet.hosts.edit(&address(0), |machine| machine.upgrades_begun());
        assert_eq!(begun, 1, "{hours} h");
    }
}
