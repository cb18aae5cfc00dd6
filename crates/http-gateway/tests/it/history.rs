//! Operations, running and past, as they are shown.

use model::{Alarm, Freeze, OperationControl, Wanted};
use serde_json::{Value, json};

use crate::support::Gateway;

const STARTED: &str = "2026-11-26T05:00:00.000000";

#[tokio::test]
async fn the_operations_of_a_cluster_are_listed_the_newest_first() {
    let gateway = Gateway::with_executor(Ok(json!({}))).await;
    gateway.get("/cluster/c1/operations").await.refused(404, "there is no cluster c1");
    gateway.cluster("c1", &[]).await;
    gateway.get("/cluster/c1/operations").await.is(200, &json!([]));
    let ended = |status: &str, at: &str, reason: &str| json!({"status": status, "started_at": at, "finished_at": at, "reason": reason});
    gateway.operation("old", ended("finished", "2026-11-24T00:00:00.000000", "")).await;
    let failed = ended("failed", "2026-11-25T00:00:00.000000", "1 host failed");
    gateway.operation("failed", failed).await;
    let aborted = ended("failed", "2026-11-25T01:00:00.000000", "aborted by admin");
    gateway.operation("aborted", aborted).await;
    gateway.operation("new", json!({"kind": "deploy", "version": "7.2"})).await;
    gateway.operation("other", json!({"cluster": "c2"})).await;
    let shown = gateway.get("/cluster/c1/operations").await.json();
    let told: Vec<_> = shown.as_array().unwrap().iter().map(|o| (&o["id"], &o["state"])).collect();
    let expected = [
        (&json!("new"), &json!("running")),
        (&json!("aborted"), &json!("aborted")),
        (&json!("failed"), &json!("failed")),
        (&json!("old"), &json!("finished")),
    ];
    assert_eq!(told, expected);
    let new = json!({"id": "new", "kind": "deploy", "version": "7.2", "status": "in_process",
        "state": "running", "reason": "", "started_by": "admin", "started_at": STARTED,
        "finished_at": null});
    assert_eq!(shown[0], new);
    assert_eq!(shown[1].get("version"), None);
}

fn host(address: &str, members: &Value) -> Value {
    let mut host = json!({"address": address, "step": "pending", "started_at": null,
        "finished_at": null, "rebooted_at": null, "boot_id_before": null, "boot_id_after": null,
        "result": null, "skipped": null, "failure": null});
    host.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    host
}

/// The members of a host that are asked about: others may be added.
fn same_members(shown: &Value, expected: &Value) {
    for (member, value) in expected.as_object().unwrap() {
        assert_eq!(&shown[member], value, "{member} of {shown}");
    }
    assert_eq!(shown.get("id"), None);
}

#[tokio::test]
async fn an_operation_is_shown_host_by_host() {
    let gateway = Gateway::with_executor(Ok(json!({}))).await;
    gateway.get("/operation/o1").await.refused(404, "there is no operation o1");
    let hosts = ["10.0.0.3", "10.0.0.1", "10.0.0.2", "10.0.0.4"];
    let head = json!({"hosts": hosts, "left_out": ["10.0.0.9"], "sick": 1,
                      "options": {"max_unavailable": "30%", "soak": 5}});
    gateway.operation("o1", head).await;
    let done = json!({"step": "done", "boot_id_before": "a", "boot_id_after": "b",
                      "started_at": STARTED, "finished_at": STARTED});
    let failure = json!({"host": "10.0.0.1", "step": "verify", "reason": "it did not come back"});
    let failed = json!({"step": "failed", "failure": failure});
    let under_way = json!({"step": "verify", "rebooted_at": STARTED});
    gateway.progress("o1", "10.0.0.3", done.clone()).await;
    gateway.progress("o1", "10.0.0.1", failed.clone()).await;
    gateway.progress("o1", "10.0.0.2", under_way.clone()).await;
    let answer = gateway.get("/operation/o1").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let mut shown = answer.json();
    let left_out = json!({"step": "skipped", "skipped": "unreachable at the start"});
    let expected = [
        host("10.0.0.3", &done),
        host("10.0.0.1", &failed),
        host("10.0.0.2", &under_way),
        host("10.0.0.4", &json!({})),
        host("10.0.0.9", &left_out),
    ];
    let explanation = shown["explanation"].take();
    assert_eq!(
        explanation["sentence"],
        "the restart o1 of the cluster c1 works on its hosts: 1 of 4 are done; under way: 10.0.0.2 (verify)"
    );
    let hosts = shown["hosts"].take();
    assert_eq!(hosts.as_array().unwrap().len(), expected.len());
    for (shown, expected) in hosts.as_array().unwrap().iter().zip(&expected) {
        same_members(shown, expected);
    }
    assert_eq!(
        shown,
        json!({"id": "o1", "cluster": "c1", "kind": "restart", "status": "in_process",
            "state": "running", "reason": "", "started_by": "admin", "request_id": "r",
            "started_at": STARTED, "finished_at": null, "sick": 1, "hosts": null, "explanation": null,
            "options": {"max_unavailable": "30%", "soak": 5},
            "counts": {"total": 5, "done": 1, "skipped": 1, "failed": 1, "under_way": 1, "pending": 1}})
    );
}

#[tokio::test]
async fn what_an_operation_was_told_is_shown_while_it_is_in_process() {
    let gateway = Gateway::with_executor(Ok(json!({}))).await;
    let state = async || gateway.get("/operation/o1").await.json()["state"].clone();
    gateway.operation("o1", json!({"hosts": ["10.0.0.1"]})).await;
    assert_eq!(state().await, "running");
    let mut control = OperationControl {
        id: "o1".into(),
        wanted: Wanted::Pause,
        by: "admin".into(),
        at: STARTED.into(),
        ..OperationControl::default()
    };
    gateway.storage.save(&control).await.unwrap();
    let shown = gateway.get("/operation/o1").await.json();
    let told = json!({"wanted": "pause", "by": "admin", "at": STARTED, "reason": ""});
    assert_eq!((&shown["state"], &shown["control"]), (&json!("paused"), &told));
    gateway.progress("o1", "10.0.0.1", json!({"step": "apply"})).await;
    assert_eq!(state().await, "pausing");
    // Its command waits for the end of the pause: nothing is being done to it.
    let waits = json!({"step": "reboot", "waiting_for": "paused by admin"});
    gateway.progress("o1", "10.0.0.1", waits).await;
    assert_eq!(state().await, "paused");
    control.wanted = Wanted::Abort;
    gateway.storage.save(&control).await.unwrap();
    assert_eq!(state().await, "aborting");
    control.wanted = Wanted::Run;
    gateway.storage.save(&control).await.unwrap();
    assert_eq!(gateway.get("/operation/o1").await.json().get("control"), None);
    let ended = json!({"status": "failed", "reason": "aborted by admin"});
    gateway.operation("o1", ended).await;
    assert_eq!(state().await, "aborted");
}

#[tokio::test]
async fn an_operation_is_frozen_by_operators_and_by_alarms() {
    let gateway = Gateway::with_executor(Ok(json!({}))).await;
    let state = async || gateway.get("/operation/o1").await.json()["state"].clone();
    gateway.operation("o1", json!({})).await;
    for (scope, expected) in
        [("fleet", "frozen"), ("cluster.c1", "frozen"), ("cluster.c2", "running")]
    {
        gateway.alarm(scope).await;
        assert_eq!(state().await, expected, "{scope}");
        gateway.storage.delete::<Alarm>(scope).await.unwrap();
        assert_eq!(state().await, "running");
    }
    let name = Freeze::ALL.to_owned();
    let freeze =
        Freeze { name, by: "a".into(), at: "b".into(), reason: "c".into(), restored: false };
    gateway.storage.save(&freeze).await.unwrap();
    assert_eq!(state().await, "frozen");
}

#[tokio::test]
async fn a_thousand_hosts_are_read_in_parts_and_shown_in_their_turns() {
    let gateway = Gateway::start().await;
    let hosts: Vec<_> = (0..1_000).map(|n| format!("10.1.{}.{}", n / 250, n % 250)).collect();
    gateway.operation("large", json!({"hosts": hosts})).await;
    gateway.progress("large", &hosts[999], json!({"step": "done"})).await;
    let shown = gateway.get("/operation/large").await.json();
    assert_eq!(shown["counts"]["pending"], 999);
    assert_eq!(shown["hosts"][999]["step"], "done");
    assert_eq!(shown["hosts"][0]["address"], hosts[0].as_str());
}
