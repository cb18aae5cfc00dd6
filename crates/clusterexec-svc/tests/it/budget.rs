//! The disruption budget while members die.

use std::time::Duration;

use clusterexec_svc::Config;
use model::{OperationStatus, Step};
use serde_json::json;
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
        assert_eq!(command.down, [address(4).as_str()], "one after the other");
    }
    fleet.hosts.power_on(&address(4));
    assert_eq!(fleet.ended("o1").await.status, OperationStatus::Finished);
    assert_eq!(fleet.hosts.commands().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn sentences_about_10_000_hosts_name_ten_of_them() {
    // 9,998 members have no records, and so are unavailable.
    let fleet = Fleet::start(2).await;
    fleet.set_members((0..10_000).map(address).collect()).await;
    // Few looks at 10,000 members.
    let executor = fleet.executor_with(Config { room_timeout: 5, ..Config::default() }).await;
    let is_short = |sentence: &str, others: usize| {
        assert!(sentence.contains(&format!("and {others} others")), "{sentence}");
        assert!(sentence.len() < 1000, "{} bytes", sentence.len());
    };
    let refused = executor.start("restart", json!({})).await.unwrap_err().to_string();
    is_short(&refused, 9988);
    let dry_run = json!({"cluster_name": "c1", "options": {}, "dry_run": true});
    let plan = executor.ask("restart", dry_run).await.unwrap();
    is_short(plan["refused"].as_str().unwrap(), 9988);

    executor.restart(json!({"max_unavailable": 9999, "skip_unreachable": true})).await;
    is_short(&fleet.events("o1").await[0].detail, 9988);
    // Now there is no place in the budget, which the reason of the pause names.
    fleet.hosts.power_off(&address(1));
    is_short(&fleet.paused("o1").await, 9989);
}
