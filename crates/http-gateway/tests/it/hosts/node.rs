//! The node of a host: its cordon, its drain and its placement.

use bus::Error;
use model::{Cluster, HostPlacement, Lease, LeasePurpose, Status};
use serde_json::{Value, json};

use crate::support::{Gateway, PASSWORD, basic};

fn cordoned(is_cordoned: bool) -> Value {
    json!({"address": "10.0.0.1", "node": "w1", "cordoned": is_cordoned, "warnings": []})
}

/// A gateway with the host 10.0.0.1 in the cluster c1.
async fn with_member(answer: Result<Value, Error>) -> Gateway {
    let gateway = Gateway::with_executor(answer).await;
    gateway.host("10.0.0.1", Status::Active).await;
    let cluster = json!({"name": "c1", "network": "default", "hostset": ["10.0.0.1"]});
    gateway.storage.save(&serde_json::from_value::<Cluster>(cluster).unwrap()).await.unwrap();
    gateway
}

#[tokio::test]
async fn cordons_are_requested_of_the_executor() {
    let gateway = with_member(Ok(cordoned(true))).await;
    let requested = |gateway: &Gateway| gateway.restarts().last().unwrap().params.value();
    gateway.put("/host/10.0.0.1/cordon", json!({})).await.is(200, &cordoned(true));
    assert_eq!(requested(&gateway), json!({"address": "10.0.0.1"}));
    let path = "/api/v0/host/10.0.0.1/cordon?foreign=true";
    assert_eq!(gateway.send("DELETE", path, "").await.status, 200);
    assert_eq!(requested(&gateway), json!({"address": "10.0.0.1", "foreign": true}));
    gateway.put("/host/10.9.9.9/cordon", json!({})).await.refused(404, "there is no host");
    let refusing = with_member(Err(Error::conflict("the node w1 is cordoned by ann"))).await;
    refusing.put("/host/10.0.0.1/cordon", json!({})).await.refused(409, "cordoned by ann");
}

#[tokio::test]
async fn drain_is_an_operation_on_the_host_alone() {
    let gateway = with_member(Ok(json!({"name": "c1"}))).await;
    let path = "/api/v0/host/10.0.0.1/drain";
    let body = r#"{"drain": {"timeout": 60}, "hosts": ["10.0.0.2"]}"#;
    let answer = gateway.send("POST", path, body).await;
    let id = answer.header("location").rsplit('/').next().unwrap().to_owned();
    answer.is(202, &json!({"operation": id}));
    let requested = gateway.restarts().last().unwrap().params.value();
    assert_eq!(
        requested,
        json!({"cluster_name": "c1", "operation_id": id,
               "options": {"drain": {"timeout": 60}, "hosts": ["10.0.0.1"]}})
    );
    gateway.host("10.0.0.2", Status::Active).await;
    let alone = gateway.send("POST", "/api/v0/host/10.0.0.2/drain", "{}").await;
    alone.refused(409, "10.0.0.2 is in no cluster");
}

#[tokio::test]
async fn reboot_despite_a_blocked_drain_needs_the_role_admin() {
    let gateway = with_member(Ok(json!({"name": "c1"}))).await;
    let body = r#"{"drain": {"on_timeout": "reboot"}}"#;
    let authorization = basic(format!("operator:{PASSWORD}"));
    let headers = [("authorization", authorization.as_str())];
    let restart = ("PUT", "/api/v0/cluster/c1/restart");
    let answer = gateway.send_plain(&headers, restart, body).await;
    answer.refused(403, "`drain.on_timeout: reboot` needs the role admin");
    assert_eq!(gateway.send("PUT", "/api/v0/cluster/c1/restart", body).await.status, 201);
}

#[tokio::test]
async fn placement_is_set_as_a_whole_and_not_during_an_operation() {
    let gateway = with_member(Ok(json!({}))).await;
    let path = "/host/10.0.0.1/placement";
    let unset = json!({"node_name": null, "quorum_group": null});
    gateway.get(path).await.is(200, &unset);
    let both = json!({"node_name": "w1.example.com", "quorum_group": "etcd"});
    gateway.put(path, both.clone()).await.is(200, &both);
    gateway.get(path).await.is(200, &both);
    let group = json!({"node_name": null, "quorum_group": "etcd"});
    gateway.put(path, json!({"quorum_group": "etcd"})).await.is(200, &group);
    gateway.put(path, group.clone()).await.is(200, &group);
    for (wrong, named) in [
        (json!({"node_name": "W1"}), "node_name"),
        (json!({"quorum_group": "a/b"}), "quorum_group"),
        (json!({"quorumgroup": "etcd"}), "quorum_group"),
    ] {
        gateway.put(path, wrong).await.refused(400, named);
    }
    let name = LeasePurpose::Operation("c1").name();
    let lease = Lease { name: name.clone(), ..Lease::default() };
    gateway.storage.save(&lease).await.unwrap();
    gateway.put(path, json!({})).await.refused(409, "an operation is in process");
    gateway.storage.delete::<Lease>(&name).await.unwrap();
    gateway.put(path, json!({})).await.is(200, &unset);
    assert!(gateway.storage.find::<HostPlacement>("10.0.0.1").await.unwrap().is_none());
}
