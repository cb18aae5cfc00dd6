//! `Idempotency-Key`: what is asked for twice is started once.

use bus::Error;
use futures_util::future::join_all;
use model::{IdempotentRequest, Operation, Status};
use serde_json::{Value, json};

use crate::support::{Answer, Executor, Gateway, Setup, USER};

const RESTART: &str = "/cluster/c1/restart";

/// With the real executor, which has an empty cluster restarted at once.
async fn gateway() -> Gateway {
    let gateway = Setup { executor: Executor::Real, ..Setup::default() }.start().await;
    gateway.cluster("c1", &[]).await;
    gateway
}

async fn restart(gateway: &Gateway, key: &str) -> Answer {
    gateway.keyed((gateway.address, USER, key), "PUT", RESTART, json!({})).await
}

async fn operations(gateway: &Gateway) -> usize {
    gateway.storage.list::<Operation>().await.unwrap().len()
}

/// The only claim there is.
async fn claim(gateway: &Gateway) -> IdempotentRequest {
    let mut claims = gateway.storage.list::<IdempotentRequest>().await.unwrap();
    assert_eq!(claims.len(), 1);
    claims.remove(0).record
}

fn json_of(answer: &Answer) -> Value {
    assert_eq!(answer.status, 201, "{}", answer.text());
    serde_json::from_str(&answer.text()).unwrap()
}

#[tokio::test]
async fn a_repeated_restart_is_one_operation_and_another_key_another() {
    let gateway = gateway().await;
    let first = json_of(&restart(&gateway, "k").await);
    assert_eq!((&first["status"], &first["finished_at"]), (&json!("in_process"), &Value::Null));
    restart(&gateway, "k").await.is(201, &first);
    assert_eq!(operations(&gateway).await, 1);
    ended(&gateway).await;
    restart(&gateway, "k").await.is(201, &first);
    let second = json_of(&restart(&gateway, "l").await);
    assert_ne!(second["started_at"], first["started_at"]);
    ended(&gateway).await;
    assert_eq!(json_of(&gateway.put(RESTART, json!({})).await)["status"], "in_process");
    assert_eq!(operations(&gateway).await, 3, "without a key each request is one of its own");
}

/// Waits until no operation is in process.
async fn ended(gateway: &Gateway) {
    while gateway.stored::<model::Lease>("operation.c1").await.is_some() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn many_at_once_over_two_gateways_start_one_operation() {
    let gateway = gateway().await;
    let addresses = [gateway.address, gateway.another().await.address];
    let ask = |at: usize| gateway.keyed((addresses[at % 2], USER, "k"), "PUT", RESTART, json!({}));
    let answers = join_all((0..16).map(ask)).await;
    let first = json_of(&answers[0]);
    for answer in &answers {
        answer.is(201, &first);
    }
    assert_eq!(operations(&gateway).await, 1);
}

#[tokio::test]
async fn a_gateway_that_died_before_it_wrote_the_answer_down_starts_nothing_twice() {
    let gateway = gateway().await;
    let first = json_of(&restart(&gateway, "k").await);
    ended(&gateway).await;
    // As it was at that moment: claimed, started, unanswered.
    let unanswered = IdempotentRequest { answer: None, ..claim(&gateway).await };
    gateway.storage.save(&unanswered).await.unwrap();
    let other = gateway.another().await.address;
    gateway.keyed((other, USER, "k"), "PUT", RESTART, json!({})).await.is(201, &first);
    assert_eq!(operations(&gateway).await, 1);
    assert!(claim(&gateway).await.answer.is_some());
}

#[tokio::test]
async fn after_a_day_the_key_is_free_again() {
    let gateway = gateway().await;
    let first = json_of(&restart(&gateway, "k").await);
    ended(&gateway).await;
    let expires_at = "2026-01-01T00:00:00.000000".into();
    let expired = IdempotentRequest { expires_at, ..claim(&gateway).await };
    gateway.storage.save(&expired).await.unwrap();
    let second = json_of(&restart(&gateway, "k").await);
    assert_ne!(second["started_at"], first["started_at"]);
    assert_eq!(operations(&gateway).await, 2);
    assert!(claim(&gateway).await.expires_at > expired.expires_at);
}

#[tokio::test]
async fn a_key_belongs_to_one_user_and_one_request() {
    let gateway = gateway().await;
    gateway.cluster("c2", &[]).await;
    let first = json_of(&restart(&gateway, "k").await);
    ended(&gateway).await;
    let mine = (gateway.address, USER, "k");
    for (method, path, body) in [
        ("PUT", RESTART, json!({"name": "c1"})),
        ("PUT", "/cluster/c2/restart", json!({})),
        ("POST", "/host/10.0.0.1/investigate", json!({})),
    ] {
        gateway.keyed(mine, method, path, body).await.refused(422, "a new request needs a new key");
    }
    // Reading starts nothing, whatever comes along.
    assert_eq!(gateway.keyed(mine, "GET", RESTART, json!({})).await.status, 200);
    let theirs = gateway.keyed((gateway.address, "other", "k"), "PUT", RESTART, json!({})).await;
    assert_ne!(json_of(&theirs)["started_at"], first["started_at"]);
    for wrong in [String::new(), "a".repeat(256)] {
        let at = (gateway.address, USER, wrong.as_str());
        gateway.keyed(at, "PUT", RESTART, json!({})).await.refused(400, "Idempotency-Key is given");
        assert_eq!(gateway.keyed(at, "GET", RESTART, json!({})).await.status, 200);
    }
}

#[tokio::test]
async fn a_refusal_is_not_kept() {
    let refusal = Error::conflict("a restart of c1 is in process already");
    let gateway = Gateway::with_executor(Err(refusal)).await;
    for asked in 1..=2 {
        restart(&gateway, "k").await.refused(409, "in process already");
        assert_eq!(gateway.restarts().len(), asked);
    }
    let ids =
        gateway.restarts().into_iter().map(|call| call.params.value()["operation_id"].clone());
    let ids: Vec<_> = ids.collect();
    assert!(ids[0].is_string() && ids[0] == ids[1], "one operation at most: {ids:?}");
}

#[tokio::test]
async fn a_host_is_registered_and_looked_at_once() {
    let gateway = Gateway::start().await;
    let (at, body) = ((gateway.address, USER, "k"), json!({"ssh_priv_key": "Y2FuYXJ5"}));
    let first = gateway.keyed(at, "PUT", "/host/10.0.0.1", body.clone()).await;
    assert_eq!(gateway.investigations().await, ["10.0.0.1"]);
    gateway.host("10.0.0.1", Status::Failed).await;
    let second = gateway.keyed(at, "PUT", "/host/10.0.0.1", body).await;
    assert_eq!((second.status, second.text()), (201, first.text()));
    assert!(gateway.investigations().await.is_empty(), "nothing was started");
    let kept = serde_json::to_string(&claim(&gateway).await).unwrap();
    assert!(!kept.contains("Y2FuYXJ5"), "{kept}");
}
