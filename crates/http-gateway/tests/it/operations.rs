//! Upgrades and deployments: what is asked of the executor, and what is shown of them.

use std::time::Duration;

use model::{ClusterDeploy, ClusterUpgrade, Lease, Operation};
use serde_json::{Value, json};

use crate::support::{Executor, Gateway, Setup};

async fn with_real_executor() -> Gateway {
    let gateway = Setup { executor: Executor::Real, ..Setup::default() }.start().await;
    gateway.cluster("c1", &[]).await;
    gateway
}

#[tokio::test]
async fn an_upgrade_and_a_deployment_are_asked_of_the_executor() {
    let gateway = Gateway::with_executor(Ok(json!({"name": "c1"}))).await;
    gateway.put("/cluster/c1/upgrade", json!({})).await.is(201, &json!({"name": "c1"}));
    let body = json!({"name": "c1", "version": "7.2.6", "type": "x"});
    gateway.put("/cluster/c1/deploy", body).await.is(201, &json!({"name": "c1"}));
    let mut asked: Vec<_> =
        gateway.restarts().into_iter().map(|call| (call.key, call.params.value())).collect();
    for (_, params) in &mut asked {
        assert!(params.as_object_mut().unwrap().remove("operation_id").unwrap().is_string());
    }
    let upgrade = ("jobs.clusterexec.upgrade".to_owned(), json!({"cluster_name": "c1"}));
    let deploy = json!({"cluster_name": "c1", "version": "7.2.6"});
    assert_eq!(asked, [upgrade, ("jobs.clusterexec.deploy".to_owned(), deploy)]);
}

#[tokio::test]
async fn a_deployment_needs_a_version() {
    let gateway = Gateway::with_executor(Ok(json!({}))).await;
    for (body, words) in [
        (json!({}), "missing field `version`"),
        (json!({"versoin": "7"}), "missing field `version`"),
        (json!({"version": ""}), "a version is"),
        (json!({"version": null}), "expected a string"),
        (json!({"version": 7}), "expected a string"),
        (json!({"version": "7; reboot"}), "a version is"),
        (json!({"version": "--help"}), "a version is"),
        (json!({"version": "{{ x }}"}), "a version is"),
        (json!({"version": "7", "dryrun": true}), "did you mean \"dry_run\"?"),
        (json!({"version": "7", "name": "c2"}), "the path names"),
    ] {
        gateway.put("/cluster/c1/deploy", body).await.refused(400, words);
    }
    gateway.put("/cluster/c1/upgrade", json!({"max_unavailible": 2})).await.refused(400, "max_");
    assert!(gateway.restarts().is_empty());
}

#[tokio::test]
async fn the_newest_of_each_kind_is_shown() {
    let gateway = with_real_executor().await;
    for (kind, done) in [("upgrade", "upgraded"), ("deploy", "deployed")] {
        let path = format!("/cluster/c1/{kind}");
        gateway.get(&path).await.refused(404, &format!("the cluster c1 has never been {done}"));
        gateway.get(&format!("/cluster/c2/{kind}")).await.refused(404, "there is no cluster c2");
        let body = json!({"version": "7.2"});
        let missing = gateway.put(&format!("/cluster/c2/{kind}"), body.clone()).await;
        missing.refused(404, "there is no cluster c2");
        let answer = gateway.put(&path, body).await;
        let started: Value = serde_json::from_str(&answer.text()).unwrap();
        let mut expected = json!({"name": "c1", "status": "in_process", "finished_at": null,
                                  "started_at": started["started_at"], "in_process": []});
        expected[done] = json!([]);
        if kind == "deploy" {
            expected["version"] = json!("7.2");
        }
        answer.is(201, &expected);
        while gateway.stored::<Lease>("operation.c1").await.is_some() {
            tokio::task::yield_now().await;
        }
        let shown = gateway.get(&path).await;
        let shown: Value = serde_json::from_str(&shown.text()).unwrap();
        assert_eq!((&shown["status"], &shown[done]), (&json!("finished"), &json!([])), "{shown}");
    }
    assert_eq!(gateway.storage.list::<Operation>().await.unwrap().len(), 2);
    gateway.delete("/cluster/c1").await.is(200, &json!([]));
    assert_eq!(gateway.stored::<ClusterUpgrade>("c1").await, None);
    assert_eq!(gateway.stored::<ClusterDeploy>("c1").await, None);
}

#[tokio::test]
async fn the_operation_in_process_is_named_whatever_its_kind() {
    let gateway = with_real_executor().await;
    gateway.operation("o1", json!({"kind": "upgrade"})).await;
    gateway.operation_on("c1").await;
    for kind in ["restart", "upgrade", "deploy"] {
        let answer = gateway.put(&format!("/cluster/c1/{kind}"), json!({"version": "7"})).await;
        let started =
            "the upgrade o1, started at 2026-11-26T05:00:00.000000 by admin, of the cluster c1";
        answer.refused(409, started);
    }
}

#[tokio::test]
async fn without_an_answer_it_is_504_and_says_where_to_look() {
    let (executor, timeout) = (Executor::Silent, Duration::from_millis(100));
    let gateway = Setup { executor, timeout, ..Setup::default() }.start().await;
    let answer = gateway.put("/cluster/c1/deploy", json!({"version": "7"})).await;
    answer.refused(504, "GET /api/v0/cluster/c1/deploy");
}
