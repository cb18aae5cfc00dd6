//! The disruption budget while members die.

use std::time::Duration;

use serde_json::json;
use service_core::model::{OperationStatus, Step};
use tokio::time::{Instant, sleep};

use crate::fleet::{Fleet, address};

#[tokio::test(start_paused = true)]
async fn member_that_dies_at_any_moment_keeps_the_next_from_its_reboot() {
    // Ansible is ready after three seconds; the decision and the command follow within a tenth.
    for step in 0..60 {
        let fleet = Fleet::start(2).await;
        let executor = fleet.executor().await;
        executor.restart(json!({})).await;
        sleep(Duration::from_secs(3) + Duration::from_millis(6) * step).await;
        fleet.hosts.power_off(&address(1));
        let died = Instant::now();
        sleep(Duration::from_secs(10)).await;
        for command in fleet.hosts.commands() {
            // One that was decided before.
            let since = command.at.saturating_duration_since(died);
            assert!(since < Duration::from_millis(60), "{since:?} after a member died");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn hosts_that_wait_for_their_go_ahead_share_what_is_left_of_the_budget() {
    let fleet = Fleet::start(5).await;
    let executor = fleet.executor().await;
    executor.restart(json!({"max_unavailable": 2})).await;
    // The first goes alone. Then Ansible connects to two.
    fleet.at("o1", 1, Step::Reboot).await;
    fleet.at("o1", 2, Step::Reboot).await;
    fleet.hosts.power_off(&address(4));
    let both = async || (fleet.hosts.commands().len() == 3).then_some(());
    fleet.until("both are rebooted", both).await;
    for command in &fleet.hosts.commands()[1..] {
        assert_eq!(command.down, [address(4)], "one after the other");
    }
    fleet.hosts.power_on(&address(4));
    assert_eq!(fleet.ended("o1").await.status, OperationStatus::Finished);
    assert_eq!(fleet.hosts.commands().len(), 5);
}
