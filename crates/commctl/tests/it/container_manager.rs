//! `commctl container_manager`

use serde_json::json;

use crate::support::Fleet;

#[tokio::test]
async fn create_merges_its_options() {
    let fleet = Fleet::new().await;
    let record = json!({"name": "k1", "type": "kubernetes", "options": {"token": "********"}});
    fleet.answers("PUT", "containermanager/k1", 201, record).await;
    let line = r#"container_manager create -t kubernetes -o a=1 -o {"b":true,"a":"2"} -o c=x=y -o d=true k1"#;
    fleet.run(line).await.printed("name: k1\noptions:\n  token: '********'\ntype: kubernetes\n");
    let options = json!({"a": "2", "b": true, "c": "x=y", "d": "true"});
    assert_eq!(fleet.body().await, json!({"type": "kubernetes", "options": options}));
}

#[tokio::test]
async fn secrets_come_by_standard_input() {
    let fleet = Fleet::new().await;
    fleet.answers("PUT", "containermanager/o1", 201, json!([])).await;
    let args = ["container-manager", "create", "-o", "-", "o1"];
    let run = fleet.home.run_with_input(&args, r#"{"token": "s3cret"}"#).await;
    assert_eq!(run.status, 0, "{}", run.stderr);
    let body = json!({"type": "openshift", "options": {"token": "s3cret"}});
    assert_eq!(fleet.body().await, body);

    let run = fleet.home.run_with_input(&args, "{s3cret").await;
    assert_eq!(run.status, 2);
    assert!(!run.stderr.contains("s3cret"), "{}", run.stderr);
}

#[tokio::test]
async fn get_list_and_delete() {
    let fleet = Fleet::new().await;
    fleet.answers("GET", "containermanagers", 200, json!(["k1"])).await;
    fleet.run("container-manager list").await.printed("- k1\n");
    fleet.answers("GET", "containermanager/k1", 200, json!({"name": "k1"})).await;
    fleet.run("container_manager get k1").await.printed("name: k1\n");
    fleet.refuses("DELETE", "containermanager/k1", 409, "cluster web uses it").await;
    fleet
        .run("container_manager delete k1")
        .await
        .failed(1, "error: cluster web uses it (409 Conflict)\n");
}
