//! Pausing, resuming and aborting operations.

use model::{Freeze, OperationControl, Wanted};
use serde_json::{Value, json};

use crate::support::{Gateway, PASSWORD, V0, basic};

const ADDRESS: &str = "10.0.0.1";

async fn running() -> Gateway {
    let gateway = Gateway::with_executor(Ok(json!({}))).await;
    gateway.cluster("c1", &[ADDRESS]).await;
    gateway.operation("o1", json!({"hosts": [ADDRESS]})).await;
    gateway
}

async fn told(gateway: &Gateway) -> OperationControl {
    gateway.stored::<OperationControl>("o1").await.unwrap()
}

fn summary(state: &str) -> Value {
    json!({"id": "o1", "kind": "restart", "status": "in_process", "state": state, "reason": "",
           "started_by": "admin", "started_at": "2026-11-26T05:00:00.000000", "finished_at": null})
}

#[tokio::test]
async fn an_operation_pauses_goes_on_and_is_aborted() {
    let gateway = running().await;
    gateway.post("/operation/o1/resume").await.is(200, &summary("running"));
    assert_eq!(gateway.stored::<OperationControl>("o1").await, None);
    gateway.post("/operation/o1/pause").await.is(200, &summary("paused"));
    let first = told(&gateway).await;
    assert_eq!((first.wanted, first.by.as_str()), (Wanted::Pause, "admin"));
    assert!(model::stamp::is_stamp(&first.at));
    gateway.progress("o1", ADDRESS, json!({"step": "reboot"})).await;
    // Again: as it was.
    gateway.post("/operation/o1/pause").await.is(200, &summary("pausing"));
    assert_eq!(told(&gateway).await, first);
    gateway.post("/operation/o1/resume").await.is(200, &summary("running"));
    assert_eq!(told(&gateway).await.wanted, Wanted::Run);
    let freeze = Freeze {
        name: Freeze::ALL.into(),
        by: "b".into(),
        at: "a".into(),
        reason: "r".into(),
        restored: false,
    };
    gateway.storage.save(&freeze).await.unwrap();
    gateway.post("/operation/o1/resume").await.is(200, &summary("frozen"));
    for _ in 0..2 {
        gateway.post("/operation/o1/abort").await.is(200, &summary("aborting"));
    }
    for verb in ["pause", "resume"] {
        let answer = gateway.post(&format!("/operation/o1/{verb}")).await;
        answer.refused(409, "is being aborted");
    }
    assert_eq!(told(&gateway).await.wanted, Wanted::Abort);
}

#[tokio::test]
async fn what_has_ended_is_told_nothing() {
    let gateway = running().await;
    for status in ["finished", "failed"] {
        gateway.operation("o1", json!({"status": status})).await;
        for verb in ["pause", "resume", "abort"] {
            let answer = gateway.post(&format!("/operation/o1/{verb}")).await;
            answer.refused(409, &format!("has ended already: it has {status}"));
            let answer = gateway.post(&format!("/operation/o9/{verb}")).await;
            answer.refused(404, "there is no operation o9");
        }
    }
    assert_eq!(gateway.stored::<OperationControl>("o1").await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abort_wins_whoever_else_says_something_at_the_same_moment() {
    let gateway = running().await;
    let verbs = ["pause", "resume", "abort", "pause", "resume", "pause"];
    let posts = verbs.map(|verb| {
        let gateway = &gateway;
        async move { gateway.post(&format!("/operation/o1/{verb}")).await.status }
    });
    let statuses = futures_util::future::join_all(posts).await;
    assert!(statuses.iter().all(|status| [200, 409].contains(status)), "{statuses:?}");
    assert_eq!(statuses[2], 200);
    assert_eq!(told(&gateway).await.wanted, Wanted::Abort);
}

#[tokio::test]
async fn operators_steer_readers_do_not_and_the_audit_log_names_the_operation() {
    let gateway = running().await;
    let at = format!("{V0}/operation/o1/abort");
    let [reader, operator] = ["reader", "operator"].map(|who| basic(format!("{who}:{PASSWORD}")));
    gateway.send_as(&reader, "POST", &at).await.refused(403, "needs the role operator");
    gateway.send_as(&operator, "POST", &at).await.is(200, &summary("aborting"));
    assert_eq!(told(&gateway).await.by, "operator");
    let lines = gateway.audit();
    for (line, who, status) in [(&lines[0], "reader", 403), (&lines[1], "operator", 200)] {
        let expected = (json!(who), json!("POST"), json!(at), json!(status), json!("o1"));
        let [principal, method, path, status, operation] =
            ["principal", "method", "path", "status", "operation"]
                .map(|member| line[member].clone());
        assert_eq!((principal, method, path, status, operation), expected);
    }
}
