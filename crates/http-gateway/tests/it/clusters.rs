//! Clusters.

use model::{Alarm, Cluster, ClusterRestart, Host, Status};
use serde_json::{Value, json};

use crate::support::Gateway;

/// A cluster as its creation shows it.
fn created(name: &str, network: &str) -> Value {
    json!({"name": name, "status": "", "network": network, "container_manager": ""})
}

#[tokio::test]
async fn lists_are_sorted() {
    let gateway = Gateway::start().await;
    gateway.get("/clusters").await.is(200, &json!([]));
    gateway.get("/networks").await.is(200, &json!(["default"]));
    gateway.get("/hosts").await.is(200, &json!([]));
    for name in ["web", "db", "B-2", "a_1"] {
        gateway
            .put(&format!("/cluster/{name}"), json!({}))
            .await
            .is(201, &created(name, "default"));
        assert_eq!(gateway.put(&format!("/network/{name}"), json!({})).await.status, 201);
        assert_eq!(gateway.put(&format!("/host/{name}"), json!({})).await.status, 201);
    }
    gateway.get("/clusters").await.is(200, &json!(["B-2", "a_1", "db", "web"]));
    gateway.get("/networks").await.is(200, &json!(["B-2", "a_1", "db", "default", "web"]));
    let hosts: Vec<Value> = serde_json::from_slice(&gateway.get("/hosts").await.body).unwrap();
    let addresses: Vec<_> = hosts.iter().map(|host| &host["address"]).collect();
    assert_eq!(addresses, ["a_1", "b-2", "db", "web"]);
    for (address, status) in [("web", Status::Disassociated), ("db", Status::Active)] {
        gateway.host(address, status).await;
    }
    let replaced =
        gateway.put("/cluster/web/hosts", json!({"old": [], "new": ["web", "db"]})).await;
    assert_eq!(replaced.status, 200);
    gateway.get("/cluster/web/hosts").await.is(200, &json!(["db", "web"]));
}

async fn shows(gateway: &Gateway, status: &str, [available, unavailable]: [usize; 2]) {
    let answer = gateway.get("/cluster/c1").await;
    let shown: Value = serde_json::from_slice(&answer.body).unwrap();
    let total = available + unavailable;
    let hosts = json!({"total": total, "available": available, "unavailable": unavailable});
    assert_eq!((&shown["status"], &shown["hosts"]), (&json!(status), &hosts));
}

#[tokio::test]
async fn a_cluster_without_container_manager_is_as_well_as_its_members() {
    let gateway = Gateway::start().await;
    gateway.cluster("c1", &[]).await;
    shows(&gateway, "ok", [0, 0]).await;
    gateway.cluster("c1", &["10.0.0.1", "10.0.0.2"]).await;
    for (first, second, status, counts) in [
        (Status::Disassociated, Status::Disassociated, "ok", [2, 0]),
        (Status::Active, Status::Disassociated, "ok", [2, 0]),
        (Status::Disassociated, Status::Failed, "degraded", [1, 1]),
        (Status::Investigating, Status::Active, "degraded", [1, 1]),
        (Status::Bootstrapping, Status::New, "failed", [0, 2]),
        (Status::Failed, Status::Failed, "failed", [0, 2]),
    ] {
        gateway.host("10.0.0.1", first).await;
        gateway.host("10.0.0.2", second).await;
        shows(&gateway, status, counts).await;
    }
}

#[tokio::test]
async fn in_a_cluster_with_a_container_manager_disassociated_is_not_available() {
    let gateway = Gateway::start().await;
    for (address, status) in [("10.0.0.1", Status::Active), ("10.0.0.2", Status::Disassociated)] {
        gateway.host(address, status).await;
    }
    gateway.cluster("c1", &["10.0.0.1", "10.0.0.2"]).await;
    let mut managed: Cluster = gateway.stored("c1").await.unwrap();
    managed.container_manager = "m".to_owned();
    gateway.storage.save(&managed).await.unwrap();
    shows(&gateway, "degraded", [1, 1]).await;
}

#[tokio::test]
async fn a_member_whose_record_is_gone_counts_as_unavailable() {
    let gateway = Gateway::start().await;
    gateway.host("10.0.0.1", Status::Active).await;
    gateway.cluster("c1", &["10.0.0.1", "10.0.0.2"]).await;
    shows(&gateway, "degraded", [1, 1]).await;
    gateway.cluster("c1", &["10.0.0.2"]).await;
    shows(&gateway, "failed", [0, 1]).await;
    gateway.delete("/cluster/c1/hosts/10.0.0.2").await.is(200, &json!([]));
    gateway.cluster("c1", &["10.0.0.2"]).await;
    gateway.delete("/cluster/c1").await.is(200, &json!([]));
}

#[tokio::test]
async fn deleting_a_cluster_frees_its_hosts_and_no_others() {
    let gateway = Gateway::start().await.with_everything().await;
    for (address, status) in [("10.0.0.4", Status::Failed), ("10.0.0.5", Status::Active)] {
        gateway.host(address, status).await;
    }
    gateway.cluster("c1", &["10.0.0.1", "10.0.0.4"]).await;
    gateway.cluster("c2", &["10.0.0.5"]).await;
    let restart = ClusterRestart { name: "c1".into(), ..ClusterRestart::default() };
    gateway.storage.save(&restart).await.unwrap();
    gateway.delete("/cluster/c1").await.is(200, &json!([]));
    gateway.get("/clusters").await.is(200, &json!(["c2"]));
    for (address, status) in [
        ("10.0.0.1", Status::Disassociated),
        ("10.0.0.2", Status::Disassociated),
        ("10.0.0.4", Status::Failed),
        ("10.0.0.5", Status::Active),
    ] {
        assert_eq!(gateway.stored::<Host>(address).await.unwrap().status, status, "{address}");
    }
    gateway.delete("/cluster/c1").await.refused(404, "c1");
    // A cluster of the same name begins anew.
    assert_eq!(gateway.put("/cluster/c1", json!({})).await.status, 201);
    gateway.get("/cluster/c1/restart").await.refused(404, "never been restarted");
}

#[tokio::test]
async fn an_alarm_is_shown_by_the_clusters_that_it_concerns_while_it_lasts() {
    let gateway = Gateway::start().await;
    let manager = json!({"type": "trivial", "options": {}});
    assert_eq!(gateway.put("/containermanager/m1", manager).await.status, 201);
    let cluster = json!({"container_manager": "m1"});
    assert_eq!(gateway.put("/cluster/c1", cluster).await.status, 201);
    gateway.cluster("c2", &[]).await;
    let alarm = json!({
        "since": "2026-11-28T05:00:00.000000", "share": 0.4,
        "reason": "4 of 10 hosts became unreachable or refuse log-ins at once",
    });
    for (scope, shown) in [
        ("fleet", [true, true]),
        ("cluster.c1", [true, false]),
        ("manager.m1", [true, false]),
        ("manager.m2", [false, false]),
    ] {
        gateway.alarm(scope).await;
        for (cluster, shown) in ["c1", "c2"].iter().zip(shown) {
            let cluster = gateway.get(&format!("/cluster/{cluster}")).await.json();
            assert_eq!(cluster.get("alarm"), shown.then_some(&alarm), "{scope}");
        }
        gateway.storage.delete::<Alarm>(scope).await.unwrap();
    }
    assert_eq!(gateway.get("/cluster/c1").await.json().get("alarm"), None);
}
