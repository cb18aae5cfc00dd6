//! The last list of the pods on a node before the reboot of its host.

use std::time::Duration;

use model::{OperationStatus, Outcome, Step, Wanted};
use serde_json::json;
use simulated_kubernetes::{Fault, FaultAction, NodeSettings};

use crate::kubernetes::{KubernetesFleet, USER};

/// A fault of requests for the pods on a node: they take longer than a list may be old right before a reboot.
fn slow_list() -> Fault {
    let slow = FaultAction::Delay(Duration::from_millis(1500));
    Fault::new(slow).of_user(USER).on_path_containing("nodeName")
}

#[tokio::test(start_paused = true)]
async fn host_is_not_rebooted_by_a_list_of_pods_that_was_requested_more_than_a_second_before() {
    let all = KubernetesFleet::start(2, 0).await;
    let executor = all.fleet.executor().await;
    all.kubernetes.fault(slow_list());
    executor.start("restart", json!({"drain": {"timeout": 60, "attempts": 1}})).await.unwrap();
    let waits = async || {
        let wait = all.fleet.part("o1", 0).await.wait?;
        (wait.reason == "kubernetes-away").then_some(wait.detail)
    };
    let message = all.fleet.until("it waits", waits).await;
    assert!(message.contains("takes more than 1 s"), "{message}");
    let reason = all.fleet.paused("o1").await;
    assert!(reason.contains("takes more than 1 s"), "{reason}");
    assert!(all.fleet.hosts.commands().is_empty());
    all.settled().await;
    assert!((0..2).all(|number| !all.is_cordoned(number)));
    all.kubernetes.clear_faults();
    all.fleet.say("o1", Wanted::Run).await;
    assert_eq!(all.fleet.ended("o1").await.status, OperationStatus::Finished);
    all.fleet.assert_commands(&[0, 1], 1);
}

#[tokio::test(start_paused = true)]
async fn list_of_pods_that_is_too_old_is_requested_again() {
    let all = KubernetesFleet::start(1, 0).await;
    all.kubernetes.add_node(&NodeSettings::new("spare", "10.9.9.9"));
    let executor = all.fleet.executor().await;
    executor.start("restart", json!({})).await.unwrap();
    all.fleet.at("o1", 0, Step::Reboot).await;
    all.kubernetes.fault(slow_list().times(2));
    assert_eq!(all.fleet.ended("o1").await.status, OperationStatus::Finished);
    all.fleet.assert_commands(&[0], 1);
    let waits = all.fleet.logged("o1", 0, Step::Reboot).await;
    assert!(waits.iter().all(|(outcome, _)| *outcome != Outcome::Waiting), "{waits:?}");
}
