//! Cordons, and the debts to remove them.

use std::time::Duration;

use model::messages::CordonAnswer;
use model::{CordonDebt, DebtState, Instance, Restored};
use serde_json::{Value, json};
use simulated_kubernetes::FaultAction;
use storage_client::queries;

use crate::support::simulated::{Simulated, clients, fault_once};

const OWNER: &str = "commissaire.io/cordoned-by";
const ADDED: &str = "commissaire.io/cordon-added";
const SCALE_DOWN: &str = "cluster-autoscaler.kubernetes.io/scale-down-disabled";
const DO_NOT_DISRUPT: &str = "karpenter.sh/do-not-disrupt";
const SKIP_REMEDIATION: &str = "cluster.x-k8s.io/skip-remediation";

fn done() -> CordonAnswer {
    CordonAnswer::Done { warnings: Vec::new() }
}

fn writes(simulated: &Simulated) -> usize {
    simulated.requests().iter().filter(|request| request.starts_with("patch")).count()
}

#[tokio::test]
async fn uncordoned_node_is_as_it_was_before_the_cordon() {
    let simulated = Simulated::start(&["w1"]).await;
    simulated.change_node("w1", |node| {
        node["metadata"]["annotations"] =
            json!({DO_NOT_DISRUPT: "true", "example.com/owner": "ops"});
    });
    let before = simulated.node("w1")["metadata"]["annotations"].clone();
    assert_eq!(simulated.cordon("w1", "i/1", "").await, done());
    let node = simulated.node("w1");
    let annotations = &node["metadata"]["annotations"];
    assert_eq!(
        (&node["spec"]["unschedulable"], &annotations[OWNER]),
        (&json!(true), &json!("i/1"))
    );
    assert_eq!(
        (&annotations[SCALE_DOWN], &annotations[ADDED]),
        (&json!("true"), &json!(SCALE_DOWN))
    );
    simulated.requests();
    // A repeated request changes nothing.
    assert_eq!(simulated.cordon("w1", "i/1", "").await, done());
    assert_eq!(writes(&simulated), 0);
    assert_eq!(simulated.uncordon("w1", "i/1").await, done());
    let node = simulated.node("w1");
    assert_eq!(node["metadata"]["annotations"], before);
    assert!(node["spec"].get("unschedulable").is_none());
    assert_eq!(simulated.uncordon("w1", "i/1").await, done());
    assert_eq!(writes(&simulated), 1);
}

#[tokio::test]
async fn cordons_of_others_are_left() {
    let simulated = Simulated::start(&["w1"]).await;
    simulated.change_node("w1", |node| node["spec"]["unschedulable"] = true.into());
    for answer in [
        simulated.cordon("w1", "i/1", "").await,
        simulated.cordon("w1", "i/1", "i/0").await,
        simulated.uncordon("w1", "i/1").await,
    ] {
        let CordonAnswer::Foreign { state } = answer else { panic!("{answer:?}") };
        assert!(state.unschedulable && state.cordoned_by.is_empty());
    }
    // An operator may remove any cordon.
    assert_eq!(simulated.uncordon("w1", "").await, done());
    simulated.cordon("w1", "i/1", "").await;
    let answer = simulated.cordon("w1", "i/2", "").await;
    assert!(matches!(answer, CordonAnswer::Foreign { state } if state.cordoned_by == "i/1"));
    assert_eq!(simulated.cordon("w1", "i/2", "i/1").await, done());
    assert!(matches!(simulated.uncordon("w1", "i/1").await, CordonAnswer::Foreign { .. }));
    assert_eq!(simulated.uncordon("w1", "i/2").await, done());
    assert!(simulated.node("w1")["metadata"]["annotations"].get(SCALE_DOWN).is_none());
}

#[tokio::test]
async fn missing_node_and_one_with_another_uid_are_missing() {
    let simulated = Simulated::start(&["w1"]).await;
    for (node, method) in
        [("w1", "cordon"), ("w1", "uncordon"), ("w2", "cordon"), ("../w1", "cordon")]
    {
        let params = json!({"node": node, "uid": "another", "cordoned_by": "i/1"});
        assert_eq!(simulated.ask::<CordonAnswer>(method, params).await, CordonAnswer::Missing);
    }
}

#[tokio::test]
async fn node_that_changes_at_the_same_time_is_read_again() {
    let simulated = Simulated::start(&["w1"]).await;
    // The first patch is carried out, and its answer is lost.
    let lost = |action| fault_once("PATCH", "/api/v1/nodes/w1", &action);
    simulated.kubernetes.fault(lost(FaultAction::CloseAfter));
    assert_eq!(simulated.cordon("w1", "i/1", "").await, done());
    simulated.kubernetes.fault(lost(FaultAction::Answer {
        status: 409,
        headers: Vec::new(),
        body: json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "the object has been modified", "reason": "Conflict", "code": 409})
        .to_string(),
    }));
    assert_eq!(simulated.uncordon("w1", "i/1").await, done());
    assert!(simulated.node("w1")["spec"].get("unschedulable").is_none());
}

#[tokio::test]
async fn machine_of_a_cordoned_node_is_not_replaced() {
    let simulated = Simulated::start(&["w1"]).await;
    simulated.change_node("w1", |node| {
        node["metadata"]["annotations"] = json!({
            "cluster.x-k8s.io/machine": "m1", "cluster.x-k8s.io/cluster-namespace": "default"});
    });
    let CordonAnswer::Done { warnings } = simulated.cordon("w1", "i/1", "").await else {
        panic!("done")
    };
    assert!(warnings[0].contains("this Kubernetes has no such Machine"), "{warnings:?}");
    simulated.kubernetes.apply(json!({"apiVersion": "cluster.x-k8s.io/v1beta1", "kind": "Machine",
        "metadata": {"name": "m1", "namespace": "default"}, "spec": {}}));
    let annotation = || {
        let machine = simulated.kubernetes.object("machines", "default", "m1").unwrap();
        machine["metadata"]["annotations"][SKIP_REMEDIATION].clone()
    };
    assert_eq!(simulated.cordon("w1", "i/1", "").await, done());
    assert_eq!(annotation(), "commissaire.io");
    assert_eq!(simulated.uncordon("w1", "i/1").await, done());
    assert_eq!(annotation(), Value::Null);
    // An annotation of others stays.
    let mut machine = simulated.kubernetes.object("machines", "default", "m1").unwrap();
    machine["metadata"]["annotations"] = json!({SKIP_REMEDIATION: ""});
    simulated.kubernetes.apply(machine);
    assert_eq!(simulated.cordon("w1", "i/1", "").await, done());
    assert_eq!(simulated.uncordon("w1", "i/1").await, done());
    assert_eq!(annotation(), "");
}

async fn debt(simulated: &Simulated, state: DebtState) -> CordonDebt {
    let kubernetes = simulated.nodes().await.kubernetes;
    let debt = CordonDebt {
        id: CordonDebt::id_of(&kubernetes, "w1"),
        container_manager: "k".to_owned(),
        node: "w1".to_owned(),
        node_uid: simulated.uid("w1"),
        address: "10.0.0.0".into(),
        cordoned_by: "i/1".to_owned(),
        state,
        ..CordonDebt::default()
    };
    simulated.fixture.storage.save(&debt).await.unwrap()
}

/// Waits until the debt is as expected; `None` is one that is settled.
async fn until(simulated: &Simulated, id: &str, is_expected: impl Fn(Option<&CordonDebt>) -> bool) {
    let expected = async {
        loop {
            let found = simulated.fixture.storage.find::<CordonDebt>(id).await.unwrap();
            if is_expected(found.as_ref().map(|found| &found.record)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), expected).await.unwrap();
}

#[tokio::test]
async fn debt_that_is_due_is_paid_by_several_replicas() {
    let simulated = Simulated::start(&["w1"]).await;
    simulated.fixture.start_service_with(clients(&simulated.kubernetes)).await;
    simulated.cordon("w1", "i/1", "").await;
    let held = debt(&simulated, DebtState::Held).await;
    debt(&simulated, DebtState::Kept).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(simulated.node("w1")["spec"]["unschedulable"], true);
    debt(&simulated, DebtState::Due).await;
    until(&simulated, &held.id, |debt| debt.is_none()).await;
    assert!(simulated.node("w1")["spec"].get("unschedulable").is_none());
}

/// The former installation may have paid it, and work on the node again.
#[tokio::test]
async fn debt_of_a_restored_installation_waits_until_the_hosts_are_taken_over() {
    let simulated = Simulated::start(&["w1"]).await;
    simulated.cordon("w1", "i/1", "").await;
    let storage = &simulated.fixture.storage;
    let restored = |takes_over| Some(Restored { takes_over, ..Restored::default() });
    let mut instance =
        Instance { restored: restored(false), ..queries::instance(storage).await.unwrap() };
    storage.save(&instance).await.unwrap();
    let due = debt(&simulated, DebtState::Due).await;
    for _ in 0..3 {
        pass_a_minute().await;
    }
    until(&simulated, &due.id, |debt| debt == Some(&due)).await;
    assert_eq!(simulated.node("w1")["spec"]["unschedulable"], true);
    instance.restored = restored(true);
    storage.save(&instance).await.unwrap();
    pass_a_minute().await;
    until(&simulated, &due.id, |debt| debt.is_none()).await;
    assert!(simulated.node("w1")["spec"].get("unschedulable").is_none());
}

#[tokio::test]
async fn debt_is_paid_once_the_api_server_answers() {
    let simulated = Simulated::start(&["w1"]).await;
    simulated.cordon("w1", "i/1", "").await;
    let owed = debt(&simulated, DebtState::Held).await;
    simulated.kubernetes.set_api_unavailable(true);
    let due = CordonDebt { state: DebtState::Due, ..owed };
    simulated.fixture.storage.save(&due).await.unwrap();
    until(&simulated, &due.id, |debt| {
        debt.is_some_and(|debt| debt.reason.contains("does not answer"))
    })
    .await;
    simulated.kubernetes.set_api_unavailable(false);
    until(&simulated, &due.id, |debt| debt.is_none()).await;
    assert!(simulated.node("w1")["spec"].get("unschedulable").is_none());
}

#[tokio::test]
async fn debt_for_a_deleted_node_or_for_a_cordon_of_others_is_settled() {
    let simulated = Simulated::start(&["w1"]).await;
    simulated.cordon("w1", "i/2", "").await;
    let owed = debt(&simulated, DebtState::Due).await;
    until(&simulated, &owed.id, |debt| debt.is_none()).await;
    assert_eq!(simulated.node("w1")["spec"]["unschedulable"], true);
    let deleted = CordonDebt { node_uid: "another".to_owned(), ..owed };
    simulated.fixture.storage.save(&deleted).await.unwrap();
    until(&simulated, &deleted.id, |debt| debt.is_none()).await;
}

#[tokio::test]
async fn debt_is_kept_with_the_reason_while_its_kubernetes_cannot_be_reached() {
    let simulated = Simulated::start(&["w1"]).await;
    let owed = debt(&simulated, DebtState::Held).await;
    for (id, manager, reason) in [
        (owed.id.clone(), "gone", "there is no container manager"),
        (CordonDebt::id_of("other", "w1"), "k", "reaches another Kubernetes now"),
    ] {
        let manager = manager.to_owned();
        let lost = CordonDebt {
            id: id.clone(),
            container_manager: manager,
            state: DebtState::Due,
            ..owed.clone()
        };
        simulated.fixture.storage.save(&lost).await.unwrap();
        until(&simulated, &id, |debt| debt.unwrap().reason.contains(reason)).await;
    }
}

/// Lets a minute pass at once, and the service act on it.
async fn pass_a_minute() {
    tokio::time::pause();
    tokio::time::advance(Duration::from_mins(1)).await;
    // Storage answers in real time.
    tokio::time::resume();
    tokio::time::sleep(Duration::from_millis(500)).await;
}

#[tokio::test]
async fn debt_that_is_kept_is_settled_once_others_have_uncordoned_its_node() {
    let simulated = Simulated::start(&["w1"]).await;
    simulated.cordon("w1", "i/1", "").await;
    let kept = debt(&simulated, DebtState::Kept).await;
    for _ in 0..3 {
        pass_a_minute().await;
    }
    until(&simulated, &kept.id, |debt| debt == Some(&kept)).await;
    simulated.change_node("w1", |node| {
        node["spec"].as_object_mut().unwrap().remove("unschedulable");
    });
    pass_a_minute().await;
    until(&simulated, &kept.id, |debt| debt.is_none()).await;
    assert_eq!(simulated.node("w1")["metadata"]["annotations"], Value::Null);
}
