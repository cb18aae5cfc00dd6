//! Members that leave the cluster during an operation.

use std::time::Duration;

use model::{Cluster, Host, Lease, OperationStatus, Outcome, Step};
use serde_json::json;
use tokio::time::sleep;

use crate::fleet::{Fleet, address};

#[tokio::test(start_paused = true)]
async fn removed_member_is_skipped_and_uses_no_place_in_the_budget() {
    let fleet = Fleet::start(3).await;
    let executor = fleet.executor().await;
    executor.restart(json!({})).await;
    fleet.at("o1", 0, Step::Verify).await;
    fleet.hosts.power_off(&address(2));
    sleep(Duration::from_mins(10)).await;
    fleet.assert_commands(&[0], 1);
    fleet.set_members(vec![address(0), address(1)]).await;
    let ended = fleet.ended("o1").await;
    assert_eq!((ended.status, ended.reason.as_str()), (OperationStatus::Finished, ""));
    let part = fleet.part("o1", 2).await;
    let removed = "removed from the cluster";
    assert_eq!((part.step, part.skipped.as_deref()), (Step::Skipped, Some(removed)));
    let mut events = fleet.events("o1").await.into_iter();
    let last = events.rfind(|event| event.host == address(2)).unwrap();
    assert_eq!((last.outcome, last.detail.as_str()), (Outcome::Skipped, removed));
    // The removed one is still down.
    fleet.assert_commands(&[0, 1], 2);
}

#[tokio::test(start_paused = true)]
async fn member_that_is_removed_at_any_moment_is_done_or_skipped() {
    // From before the first one's probe until the second one is back.
    for seconds in 0..55 {
        let fleet = Fleet::start(2).await;
        let executor = fleet.executor().await;
        executor.restart(json!({})).await;
        sleep(Duration::from_secs(seconds)).await;
        fleet.set_members(vec![address(0)]).await;
        assert_eq!(fleet.ended("o1").await.status, OperationStatus::Finished, "{seconds} s");
        match fleet.part("o1", 1).await.step {
            Step::Done => fleet.assert_commands(&[0, 1], 1),
            Step::Skipped => fleet.assert_commands(&[0], 1),
            step => panic!("removed after {seconds} s: {step}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn operation_whose_cluster_is_deleted_ends() {
    let fleet = Fleet::start(2).await;
    let executor = fleet.executor().await;
    executor.restart(json!({})).await;
    fleet.at("o1", 0, Step::Verify).await;
    fleet.storage.delete::<Cluster>("c1").await.unwrap();
    assert_eq!(fleet.ended("o1").await.status, OperationStatus::Finished);
    assert_eq!(fleet.part("o1", 1).await.step, Step::Skipped);
    assert_eq!(fleet.find::<Lease>("operation.c1").await, None);
    fleet.assert_commands(&[0], 1);
}

#[tokio::test(start_paused = true)]
async fn host_that_is_deleted_while_it_is_asked_fails_as_deleted() {
    let fleet = Fleet::start(1).await;
    let executor = fleet.executor().await;
    executor.restart(json!({})).await;
    fleet.hosts.power_off(&address(0));
    sleep(Duration::from_secs(1)).await;
    fleet.storage.delete::<Host>(&address(0)).await.unwrap();
    fleet.ended("o1").await;
    let reason = fleet.part("o1", 0).await.failure.unwrap().reason;
    assert!(reason.starts_with("deleted: "), "{reason}");
    assert_eq!(fleet.find::<Host>(&address(0)).await, None);
}
