//! Explanations: why a host, a cluster, an operation or the installation is in its state.

use model::{Lease, Status};
use serde_json::{Value, json};

use crate::support::{Gateway, PASSWORD, Setup, Storage, V0, basic};

const STARTED: &str = "2026-11-26T05:00:00.000000";

/// A gateway with an operation in process on the cluster `c1`, whose host `10.0.0.1` waits for its package lock.
async fn with_operation() -> Gateway {
    let gateway = Box::pin(Gateway::with_executor(Ok(json!({})))).await;
    gateway.cluster("c1", &["10.0.0.1", "10.0.0.2"]).await;
    gateway.host("10.0.0.1", Status::Active).await;
    gateway.host("10.0.0.2", Status::Failed).await;
    let failed = json!({"address": "10.0.0.2", "reason": "unreachable", "failed_at": STARTED,
                        "detail": "10.0.0.2 port 22 cannot be reached: no route"});
    gateway.host_state(failed).await;
    let operation = gateway.operation("o1", json!({"hosts": ["10.0.0.1"]})).await;
    let wait = json!({"reason": "package-lock", "detail": "apt holds it", "since": STARTED});
    gateway.progress("o1", "10.0.0.1", json!({"step": "apply", "wait": wait})).await;
    let lease = Lease {
        name: "operation.c1".into(),
        owner: "executor".to_owned(),
        operation: operation.id,
        ..Lease::default()
    };
    gateway.storage.save(&lease).await.unwrap();
    gateway
}

async fn explained(gateway: &Gateway, path: &str) -> Value {
    let answer = gateway.get(path).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

#[tokio::test]
async fn operation_its_cluster_and_the_installation_have_one_explanation() {
    let gateway = with_operation().await;
    let operation = explained(&gateway, "/explain/operation/o1").await;
    let shown = gateway.get("/operation/o1").await.json();
    assert_eq!(shown["explanation"], operation);
    assert_eq!(shown["state"], operation["state"]);
    let cluster = explained(&gateway, "/explain/cluster/c1").await;
    for field in ["state", "since", "reason", "sentence", "remedy", "ends"] {
        assert_eq!(cluster[field], operation[field], "{field}");
    }
    assert_eq!(cluster["related"][0], operation);
    assert_eq!(cluster["related"][1]["id"], "10.0.0.2");
    let installation = explained(&gateway, "/explain").await;
    let related = installation["related"].as_array().unwrap();
    assert!(related.contains(&operation), "{installation}");
}

#[tokio::test]
async fn host_is_explained_by_its_wait_in_an_operation_or_by_its_failure() {
    let gateway = with_operation().await;
    let host = explained(&gateway, "/explain/host/10.0.0.1").await;
    assert_eq!(
        host,
        json!({"kind": "host", "id": "10.0.0.1", "state": "active", "since": STARTED,
            "reason": "package-lock",
            "sentence": "the host 10.0.0.1 waits for another program that holds its package lock: apt holds it",
            "remedy": "let that program end, or stop it on the host",
            "ends": "the other program releases the lock"})
    );
    let failed = explained(&gateway, "/explain/host/10.0.0.2").await;
    assert_eq!(
        (&failed["reason"], &failed["since"], &failed["sentence"]),
        (
            &json!("unreachable"),
            &json!(STARTED),
            &json!("10.0.0.2 port 22 cannot be reached: no route")
        )
    );
    assert_eq!(failed["remedy"], "check its power, its network and its sshd");
}

#[tokio::test]
async fn installation_without_its_services_names_them() {
    let gateway = Box::pin(Gateway::start()).await;
    let installation = explained(&gateway, "/explain").await;
    assert_eq!((&installation["state"], &installation["id"]), (&json!("degraded"), &json!("")));
    assert_eq!(installation["reason"], "service-missing");
    let missing = "the installation runs without one of its services: clusterexec";
    assert_eq!(installation["sentence"], missing);
    let related = installation["related"].as_array().unwrap();
    let words: Vec<_> = related.iter().map(|other| other["sentence"].as_str().unwrap()).collect();
    assert!(words[0].ends_with("investigator") && words[1].ends_with("watcher"), "{words:?}");
}

#[tokio::test]
async fn installation_is_explained_while_no_storage_service_answers() {
    let gateway = Setup { storage: Storage::Absent, ..Setup::default() }.start().await;
    let installation = explained(&gateway, "/explain").await;
    assert_eq!(
        (&installation["state"], &installation["reason"], &installation["sentence"]),
        (
            &json!("failed"),
            &json!("storage-away"),
            &json!("the installation cannot work: no storage service answers")
        )
    );
    let remedy = "start the service commissaire-storage-service, and look in its log for its store";
    assert_eq!(installation["remedy"], remedy);
}

#[tokio::test]
async fn operation_without_an_executor_is_abandoned() {
    let gateway = Gateway::start().await;
    gateway.operation("o1", json!({})).await;
    let operation = explained(&gateway, "/explain/operation/o1").await;
    assert_eq!(
        (&operation["state"], &operation["reason"]),
        (&json!("abandoned"), &json!("executor-away"))
    );
    assert_eq!(gateway.get("/operation/o1").await.json()["state"], "abandoned");
}

#[tokio::test]
async fn object_that_does_not_exist_is_not_explained() {
    let gateway = Gateway::start().await;
    gateway.get("/explain/host/10.0.0.9").await.refused(404, "there is no host 10.0.0.9");
    gateway.get("/explain/cluster/c9").await.refused(404, "there is no cluster c9");
    gateway.get("/explain/operation/o9").await.refused(404, "there is no operation o9");
    gateway.get("/explain/network/n1").await.refused(404, "path");
    let reader = basic(format!("reader:{PASSWORD}"));
    assert_eq!(gateway.send_as(&reader, "GET", &format!("{V0}/explain")).await.status, 200);
    gateway.send_as("", "GET", &format!("{V0}/explain")).await.refused(403, "user name");
}
