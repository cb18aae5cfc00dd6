//! Restarts: what is asked of the executor, and what becomes of its answers.

use std::time::Duration;

use bus::Error;
use model::{ClusterRestart, Failure, OperationStatus};
use serde_json::{Value, json};

use crate::support::{Executor, Gateway, Setup, in_time};

const STARTED: &str = "2026-11-21T23:40:21.397282";

fn initial() -> Value {
    json!({"name": "c1", "status": "in_process", "started_at": STARTED, "finished_at": null,
           "in_process": [], "restarted": []})
}

#[tokio::test]
async fn a_restart_is_started_and_its_record_returned() {
    let gateway = Gateway::with_executor(Ok(initial())).await;
    let answers = [
        gateway.put("/cluster/c1/restart", json!({})).await,
        gateway.send("PUT", "/api/v0/cluster/c1/restart/", "").await,
    ];
    let calls = gateway.restarts();
    assert_eq!(calls.len(), 2);
    for (call, answer) in calls.iter().zip(&answers) {
        answer.is(201, &initial());
        assert_eq!(
            (call.key.as_str(), call.method.as_str()),
            ("jobs.clusterexec.restart", "restart")
        );
        let id = answer.header("location").strip_prefix("/api/v0/operation/").unwrap();
        assert_eq!(call.params.value(), json!({"cluster_name": "c1", "operation_id": id}));
    }
    assert_ne!(answers[0].header("location"), answers[1].header("location"));
}

#[tokio::test]
async fn the_newest_restart_is_shown_and_is_null_until_it_has_ended() {
    let gateway = Gateway::start().await;
    let path = "/cluster/c1/restart";
    gateway.get(path).await.refused(404, "there is no cluster c1");
    gateway.cluster("c1", &[]).await;
    gateway.get(path).await.refused(404, "the cluster c1 has never been restarted");
    let mut record = ClusterRestart {
        name: "c1".into(),
        started_at: STARTED.into(),
        ..ClusterRestart::default()
    };
    gateway.storage.save(&record).await.unwrap();
    gateway.get(path).await.is(200, &initial());

    record.status = OperationStatus::Finished;
    record.finished_at = Some(STARTED.into());
    record.done = vec!["10.0.0.1".into()];
    gateway.storage.save(&record).await.unwrap();
    let mut shown = json!({"name": "c1", "status": "finished", "started_at": STARTED,
                           "finished_at": STARTED, "in_process": [], "restarted": ["10.0.0.1"]});
    gateway.get(path).await.is(200, &shown);

    let failure = json!({"host": "10.0.0.2", "step": "verify", "reason": "it did not come back"});
    record.status = OperationStatus::Failed;
    record.failures = vec![serde_json::from_value::<Failure>(failure.clone()).unwrap()];
    gateway.storage.save(&record).await.unwrap();
    shown["status"] = json!("failed");
    shown["failures"] = json!([failure]);
    gateway.get(path).await.is(200, &shown);
}

#[tokio::test]
async fn a_missing_cluster_is_not_restarted() {
    let gateway = Gateway::with_executor(Err(Error::not_found("there is no cluster c1"))).await;
    gateway.put("/cluster/c1/restart", json!({})).await.refused(404, "there is no cluster c1");
}

#[tokio::test]
async fn an_operation_in_process_is_named() {
    let conflict = Error::conflict("a restart of c1 is in process since 23:40");
    let gateway = Gateway::with_executor(Err(conflict)).await;
    gateway
        .put("/cluster/c1/restart", json!({}))
        .await
        .refused(409, "a restart of c1 is in process");
}

#[tokio::test]
async fn without_an_executor_it_is_503_at_once() {
    // A gateway that waited for an answer would not give one here.
    let timeout = Duration::from_hours(1);
    let gateway = Setup { timeout, ..Setup::default() }.start().await.with_everything().await;
    in_time(gateway.put("/cluster/c1/restart", json!({}))).await.refused(503, "try again");
}

#[tokio::test]
async fn without_an_answer_it_is_504_and_says_where_to_look() {
    let (executor, timeout) = (Executor::Silent, Duration::from_millis(100));
    let gateway = Setup { executor, timeout, ..Setup::default() }.start().await;
    let answer = gateway.put("/cluster/c1/restart", json!({})).await;
    answer.refused(504, "GET /api/v0/cluster/c1/restart");
}

#[tokio::test]
async fn what_is_behind_a_failure_of_the_executor_is_not_told() {
    for (error, status) in [
        (Error::unavailable("etcd at 10.1.2.3 does not answer"), 503),
        (Error::internal("panicked at rollout.rs at 10.1.2.3"), 500),
    ] {
        let gateway = Gateway::with_executor(Err(error)).await;
        let answer = gateway.put("/cluster/c1/restart", json!({})).await;
        answer.refused(status, "");
        assert!(!answer.text().contains("10.1.2.3"), "{}", answer.text());
    }
}

#[tokio::test]
async fn what_looks_like_an_option_starts_nothing() {
    let gateway = Gateway::with_executor(Ok(initial())).await;
    for (given, option) in [
        ("dry-run", "dry_run"),
        ("dryrun", "dry_run"),
        ("dryRun", "dry_run"),
        ("dry_rum", "dry_run"),
        ("max-unavailable", "max_unavailable"),
        ("max-unavailible", "max_unavailable"),
        ("max_failure", "max_failures"),
        ("skip-unreachable", "skip_unreachable"),
        ("includeself", "include_self"),
        ("soka", "soak"),
        ("health_comand", "health_command"),
        ("health-url", "health_url"),
        ("health_timout", "health_timeout"),
        ("ordr", "order"),
        ("host", "hosts"),
        ("rebot", "reboot"),
        ("if-needed", "if_needed"),
    ] {
        for value in [json!(true), json!(false), Value::Null] {
            let mut body = json!({"name": "c1"});
            body[given] = value;
            let answer = gateway.put("/cluster/c1/restart", body).await;
            answer.refused(400, &format!("unknown field {given:?}; did you mean {option:?}?"));
        }
    }
    assert!(gateway.restarts().is_empty());
    let others = json!({"name": "c1", "type": "kubernetes", "version": "7", "comment": "why"});
    gateway.put("/cluster/c1/restart", others).await.is(201, &initial());
}
