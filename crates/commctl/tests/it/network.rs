//! `commctl network`

use serde_json::json;

use crate::support::Fleet;

#[tokio::test]
async fn create() {
    let fleet = Fleet::new().await;
    let record = json!({"name": "n1", "type": "flannel_etcd", "options": {}});
    fleet.answers("PUT", "network/n1", 201, record).await;
    fleet.run("network create n1").await.printed("name: n1\noptions: {}\ntype: flannel_etcd\n");
    assert_eq!(fleet.body().await, json!({"type": "flannel_etcd", "options": {}}));
}

#[tokio::test]
async fn create_with_options() {
    let fleet = Fleet::new().await;
    fleet.answers("PUT", "network/n1", 201, json!([])).await;
    fleet.run(r#"network create -t flannel_server -o {"address":"10.0.0.1:8472"} n1"#).await;
    assert_eq!(
        fleet.body().await,
        json!({"type": "flannel_server", "options": {"address": "10.0.0.1:8472"}})
    );
    let run = fleet.run("network create -o [1] n1").await;
    assert_eq!(run.status, 2);
    assert!(run.stderr.contains("not a JSON object"), "{}", run.stderr);
}

#[tokio::test]
async fn get_list_and_delete() {
    let fleet = Fleet::new().await;
    fleet.answers("GET", "networks", 200, json!(["default", "n1"])).await;
    fleet.run("network list").await.printed("- default\n- n1\n");
    fleet.answers("GET", "network/n1", 200, json!({"name": "n1", "type": "none"})).await;
    fleet.run("network get n1").await.printed("name: n1\ntype: none\n");
    fleet.answers("DELETE", "network/n1", 200, json!([])).await;
    let run = fleet.run("network delete n1").await;
    run.printed("");
    assert_eq!(run.stderr, "deleted n1\n");
    fleet.refuses("DELETE", "network/default", 409, "the default network stays").await;
    fleet
        .run("network delete default")
        .await
        .failed(1, "error: the default network stays (409 Conflict)\n");
}
