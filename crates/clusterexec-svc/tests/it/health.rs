//! Hosts that are back have to be healthy by the operator's command.

use std::time::Duration;

use model::{OperationStatus, Outcome, Step};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::fleet::{Fleet, address};

#[tokio::test(start_paused = true)]
async fn healthy_host_is_done() {
    let fleet = Fleet::start(2).await;
    let executor = fleet.executor().await;
    executor.restart(json!({"health_command": "true"})).await;
    assert_eq!(fleet.ended("o1").await.status, OperationStatus::Finished);
    fleet.assert_commands(&[0, 1], 1);
}

#[tokio::test(start_paused = true)]
async fn unhealthy_host_is_waited_for() {
    let fleet = Fleet::start(2).await;
    let executor = fleet.executor().await;
    fleet.hosts.edit(&address(0), |machine| machine.command_status = 3);
    executor.restart(json!({"health_command": "curl -f localhost"})).await;
    let waits = |(outcome, detail): &(Outcome, String)| {
        *outcome == Outcome::Waiting && detail.contains("exits with 3")
    };
    fleet
        .until("it waits", async || {
            fleet.logged("o1", 0, Step::Verify).await.iter().any(waits).then_some(())
        })
        .await;
    sleep(Duration::from_mins(2)).await;
    assert_eq!(fleet.part("o1", 1).await.step, Step::Pending, "it keeps its place");
    fleet.hosts.edit(&address(0), |machine| machine.command_status = 0);
    assert_eq!(fleet.ended("o1").await.status, OperationStatus::Finished);
    let log = fleet.logged("o1", 0, Step::Verify).await;
    assert_eq!(log.iter().filter(|event| waits(event)).count(), 1, "reported once: {log:?}");
}

#[tokio::test(start_paused = true)]
async fn host_that_stays_unhealthy_fails_at_the_limit() {
    for (option, limit) in [(json!(null), 300), (json!(60), 60)] {
        let fleet = Fleet::start(1).await;
        let executor = fleet.executor().await;
        fleet.hosts.edit(&address(0), |machine| machine.command_status = 1);
        let mut options = json!({"health_command": "false"});
        if !option.is_null() {
            options["health_timeout"] = option;
        }
        executor.restart(options).await;
        fleet.at("o1", 0, Step::Verify).await;
        let begun = Instant::now();
        assert_eq!(fleet.ended("o1").await.status, OperationStatus::Failed);
        let took = begun.elapsed().as_secs();
        assert!((limit..limit + 60).contains(&took), "{took} s of {limit}");
        let part = fleet.part("o1", 0).await;
        assert_eq!(part.reason, "unhealthy");
        assert!(part.failure.unwrap().reason.contains(&format!("{limit} s")));
    }
}

#[tokio::test(start_paused = true)]
async fn host_that_is_lost_while_it_becomes_healthy_is_reached_again() {
    let fleet = Fleet::start(1).await;
    let executor = fleet.executor().await;
    fleet.hosts.edit(&address(0), |machine| machine.command_status = 1);
    executor.restart(json!({"health_command": "false"})).await;
    fleet.at("o1", 0, Step::Verify).await;
    sleep(Duration::from_secs(40)).await;
    fleet.hosts.cut(&address(0));
    sleep(Duration::from_secs(10)).await;
    fleet.hosts.edit(&address(0), |machine| machine.command_status = 0);
    assert_eq!(fleet.ended("o1").await.status, OperationStatus::Finished);
}
