//! Hosts that have the mark of another generation of the installation.

use std::time::Duration;

use host_access::generation::signed_text;
use host_access::{Hosts as _, Mark};
use model::{
    Host, Instance, OperationControl, OperationStatus, Restored, ServerKeys, Stamp, Status, Step,
    Wanted,
};
use serde_json::json;
use simulated_hosts::{FINGERPRINT, OWN_KEY};
use storage_client::queries;
use tokio::time::sleep;

use crate::fleet::{Fleet, address};
use crate::kubernetes::KubernetesFleet;

/// Gives a host the mark of a generation of this installation.
async fn mark(fleet: &Fleet, number: usize, generation: u64) -> Instance {
    fleet.storage.save(&ServerKeys::of(FINGERPRINT)).await.unwrap();
    let instance = queries::instance(&fleet.storage).await.unwrap();
    let text = signed_text(&instance.id, generation, "other");
    let signature = fleet.hosts.sign(&OWN_KEY.into(), &text).await.unwrap();
    let mark = Mark { generation, id: "other".to_owned(), signature };
    let text = format!("{mark}\n");
    fleet.hosts.edit(&address(number), |machine| machine.marks.insert(instance.id.clone(), text));
    instance
}

#[tokio::test(start_paused = true)]
async fn host_of_a_newer_generation_is_left_alone_and_stops_the_rollout() {
    for kind in ["restart", "upgrade"] {
        let fleet = Fleet::start(3).await;
        mark(&fleet, 1, 2).await;
        let executor = fleet.executor().await;
        executor.start(kind, json!({"settle": 0})).await.unwrap();
        assert_eq!(fleet.ended("o1").await.status, OperationStatus::Failed);
        let steps =
            [fleet.part("o1", 0).await, fleet.part("o1", 1).await, fleet.part("o1", 2).await];
        assert_eq!(
            steps.map(|part| part.step),
            [Step::Done, Step::Failed, Step::Pending],
            "{kind}"
        );
        let part = fleet.part("o1", 1).await;
        assert_eq!(part.reason, "fenced");
        let sentence = part.failure.unwrap().reason;
        assert!(sentence.contains("generation 2 (other) of this installation"), "{sentence}");
        assert!(sentence.contains("nothing was done to it"), "{sentence}");
        assert_eq!(
            (fleet.status(1).await, fleet.state(1).await.reason.as_str()),
            (Status::Failed, "fenced")
        );
        assert!(fleet.hosts.commands().iter().all(|command| command.address != *address(1)));
        assert_eq!(fleet.hosts.edit(&address(1), |machine| machine.upgrades_begun()), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn two_installations_of_the_same_generation_both_leave_the_host_alone() {
    let fleet = Fleet::start(1).await;
    let instance = mark(&fleet, 0, 1).await;
    let executor = fleet.executor().await;
    executor.restart(json!({})).await;
    assert_eq!(fleet.ended("o1").await.status, OperationStatus::Failed);
    let sentence = fleet.part("o1", 0).await.failure.unwrap().reason;
    assert!(sentence.contains("two installations claim it"), "{sentence}");
    let marks = fleet.hosts.edit(&address(0), |machine| machine.marks[&instance.id].clone());
    let lines: Vec<_> = marks.lines().map(|line| line.split(' ').nth(1).unwrap()).collect();
    assert_eq!(lines, ["other", instance.generation_id.as_str()], "the other one sees it, too");
    assert_eq!(fleet.hosts.commands(), []);
}

#[tokio::test(start_paused = true)]
async fn raised_generation_is_noticed_without_a_restart() {
    let fleet = Fleet::start(1).await;
    let mut instance = mark(&fleet, 0, 3).await;
    let executor = fleet.executor().await;
    executor.restart(json!({})).await;
    fleet.ended("o1").await;
    assert_eq!(fleet.hosts.commands(), []);
    instance.generation = 4;
    let at = "2026-11-28T12:00:00.000000";
    let mut restored = Restored { at: at.into(), taken_at: at.into(), takes_over: false };
    for takes_over in [false, true] {
        restored.takes_over = takes_over;
        instance.restored = Some(restored.clone());
        fleet.storage.save(&instance).await.unwrap();
        // As the watcher does when the host accepts the claim.
        let mut host = fleet.storage.get::<Host>(&address(0)).await.unwrap().record;
        host.status = Status::Active;
        fleet.storage.save(&host).await.unwrap();
        sleep(Duration::from_secs(2)).await;
        let id = format!("o-{takes_over}");
        let params = json!({"cluster_name": "c1", "operation_id": id, "options": {"settle": 0}});
        executor.ask("restart", params).await.unwrap();
        fleet.ended(&id).await;
        assert_eq!(fleet.hosts.commands().len(), usize::from(takes_over));
        let reason = fleet.part(&id, 0).await.reason;
        assert_eq!(reason, if takes_over { "" } else { "fenced" });
    }
}

/// Makes the installation a restored one.
async fn restore(fleet: &Fleet, takes_over: bool) {
    let at = Stamp::from("2099-01-01T00:00:00.000000");
    let restored = Some(Restored { at: at.clone(), taken_at: at, takes_over });
    let instance = queries::instance(&fleet.storage).await.unwrap();
    fleet.storage.save(&Instance { restored, ..instance }).await.unwrap();
}

/// Pauses an operation, as a restore does.
async fn pause(fleet: &Fleet, operation: &str) {
    let control = json!({"id": operation, "wanted": "pause", "by": OperationControl::BY_RESTORE});
    let control: OperationControl = serde_json::from_value(control).unwrap();
    fleet.storage.save(&control).await.unwrap();
}

/// The executor is killed while a host is under way, and its records are restored.
#[tokio::test(start_paused = true)]
async fn restored_operation_does_nothing_to_a_host_under_way_before_it_is_taken_over_and_resumed() {
    let fleet = Fleet::start(1).await;
    let executor = fleet.executor().await;
    executor.restart(json!({"settle": 600})).await;
    fleet.at("o1", 0, Step::Settle).await;
    executor.kill();
    restore(&fleet, false).await;
    pause(&fleet, "o1").await;
    fleet.take_log_ins();

    let executor = fleet.executor().await;
    let unchanged = async || {
        sleep(Duration::from_hours(1)).await;
        assert_eq!(fleet.part("o1", 0).await.step, Step::Settle);
        assert_eq!(fleet.take_log_ins(), 0);
    };
    unchanged().await;
    restore(&fleet, true).await;
    unchanged().await;
    restore(&fleet, false).await;
    fleet.say("o1", Wanted::Run).await;
    unchanged().await;
    restore(&fleet, true).await;
    assert_eq!(fleet.ended("o1").await.status, OperationStatus::Finished);
    drop(executor);
}

#[tokio::test(start_paused = true)]
async fn restored_operation_changes_no_node_before_it_is_taken_over_and_resumed() {
    for step in [Step::Cordon, Step::Drain, Step::Verify, Step::Uncordon] {
        let all = KubernetesFleet::start(2, 0).await;
        all.deploy("web", 2, 1).await;
        all.slow_down();
        let executor = all.fleet.executor().await;
        executor.start("restart", json!({})).await.unwrap();
        all.fleet.at("o1", 0, step).await;
        executor.kill();
        restore(&all.fleet, false).await;
        pause(&all.fleet, "o1").await;
        // What was requested is carried out.
        sleep(Duration::from_secs(10)).await;
        let changes = all.changes();
        let executor = all.fleet.executor().await;
        sleep(Duration::from_hours(1)).await;
        all.fleet.say("o1", Wanted::Run).await;
        sleep(Duration::from_hours(1)).await;
        assert_eq!(all.changes(), changes, "{step}");
        assert_eq!(all.fleet.part("o1", 0).await.step, step);
        restore(&all.fleet, true).await;
        let ended = all.fleet.ended("o1").await;
        assert_eq!(ended.status, OperationStatus::Finished, "{step}");
        all.settled().await;
        assert!((0..2).all(|number| !all.is_cordoned(number)), "{step}");
        // A drain whose time is up postpones its host.
        let mut rebooted: Vec<_> =
            all.fleet.hosts.commands().into_iter().map(|command| command.address).collect();
        rebooted.sort();
        assert_eq!(rebooted, [0, 1].map(|number| address(number).to_string()), "{step}");
        drop(executor);
    }
}
