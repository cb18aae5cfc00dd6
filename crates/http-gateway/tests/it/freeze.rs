//! The freeze.

use model::Freeze;
use serde_json::json;

use crate::support::{Gateway, PASSWORD, V0, basic};

#[tokio::test]
async fn work_is_frozen_once_and_goes_on_when_that_is_taken_back() {
    let gateway = Gateway::start().await;
    gateway.get("/freeze").await.is(200, &json!({"frozen": false}));
    gateway.delete("/freeze").await.is(200, &json!([]));
    let made = gateway.put("/freeze", json!({"reason": "the network", "x": 1})).await;
    let stored = gateway.stored::<Freeze>(Freeze::ALL).await.unwrap();
    let view = json!({"frozen": true, "by": "admin", "at": stored.at, "reason": "the network"});
    made.is(201, &view);
    assert!(model::stamp::is_stamp(&stored.at));
    // Whoever is first has said why.
    gateway.put("/freeze", json!({"reason": "another"})).await.is(201, &view);
    gateway.get("/freeze").await.is(200, &view);
    gateway.delete("/freeze").await.is(200, &json!([]));
    gateway.get("/freeze").await.is(200, &json!({"frozen": false}));
    let made = gateway.put("/freeze", json!({})).await.json();
    assert_eq!(made["reason"], "");
}

#[tokio::test]
async fn a_reason_that_does_not_fit_freezes_nothing() {
    let gateway = Gateway::start().await;
    for reason in [json!(null), json!(7), json!("x".repeat(1025))] {
        gateway.put("/freeze", json!({"reason": reason})).await.refused(400, "reason");
    }
    assert_eq!(gateway.stored::<Freeze>(Freeze::ALL).await, None);
}

#[tokio::test]
async fn a_freeze_is_in_the_audit_log_and_nothing_for_readers() {
    let gateway = Gateway::start().await;
    let reader = basic(format!("reader:{PASSWORD}"));
    gateway.send_as(&reader, "PUT", &format!("{V0}/freeze")).await.refused(403, "operator");
    assert_eq!(gateway.send_as(&reader, "GET", &format!("{V0}/freeze")).await.status, 200);
    let operator = basic(format!("operator:{PASSWORD}"));
    assert_eq!(gateway.send_as(&operator, "PUT", &format!("{V0}/freeze")).await.status, 201);
    let lines = gateway.audit();
    let told = lines.iter().map(|line| (line["principal"].as_str(), line["status"].as_u64()));
    assert_eq!(
        told.collect::<Vec<_>>(),
        [(Some("reader"), Some(403)), (Some("operator"), Some(201))]
    );
}
