//! The wall clock is set while an operation runs.

use std::time::Duration;

use clusterexec_svc::Config;
use serde_json::json;
use service_core::model::{OperationStatus, Step};
use tokio::time::Instant;

use crate::fleet::{Fleet, address};

#[tokio::test(start_paused = true)]
async fn soak_time_passes_between_hosts_whatever_the_wall_clock_says() {
    for hours in [2, -5] {
        let fleet = Fleet::start(2).await;
        let executor = fleet.executor().await;
        executor.restart(json!({"soak": 600})).await;
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
    for hours in [6, -5] {
        let fleet = Fleet::start(1).await;
        let config = Config { verify_timeout: 60, ..Config::default() };
        let executor = fleet.executor_with(config).await;
        fleet.hosts.edit(&address(0), |machine| machine.boot = Some(Duration::from_secs(50)));
        executor.restart(json!({})).await;
        fleet.at("o1", 0, Step::Verify).await;
        fleet.clock.advance(jiff::SignedDuration::from_hours(hours));
        assert_eq!(fleet.ended("o1").await.status, OperationStatus::Finished, "{hours} h");
    }
}

#[tokio::test(start_paused = true)]
async fn host_that_stays_down_fails_at_its_deadline_whatever_the_wall_clock_says() {
    for hours in [6, -5] {
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
