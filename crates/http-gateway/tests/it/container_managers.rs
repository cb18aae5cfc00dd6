//! Container managers.

use model::ContainerManagerSecret;
use serde_json::{Value, json};

use crate::support::Gateway;

const PATH: &str = "/containermanager/ocp";

fn options(token: &str) -> Value {
    json!({"server_url": "https://openshift.example.com", "token": token})
}

fn shown(kind: &str, options: &Value) -> Value {
    json!({"name": "ocp", "type": kind, "options": options})
}

#[tokio::test]
async fn a_token_is_kept_encrypted_and_reads_back_as_a_mask() {
    let gateway = Gateway::start().await;
    let masked = shown("kubernetes", &options("********"));
    let body = |token| json!({"type": "kubernetes", "options": options(token)});
    gateway.put(PATH, body("********")).await.refused(400, "stands for a secret");
    gateway.put(PATH, body("canary-token")).await.is(201, &masked);
    gateway.get(PATH).await.is(200, &masked);
    let before = gateway.records().await;
    assert!(!format!("{before:?}").contains("canary"));
    // The same, and what was read sent back.
    gateway.put(PATH, body("canary-token")).await.is(201, &masked);
    gateway.put(PATH, body("********")).await.is(201, &masked);
    gateway.put(PATH, body("another")).await.refused(409, "delete it first");
    let without =
        json!({"type": "kubernetes", "options": {"server_url": "https://openshift.example.com"}});
    gateway.put(PATH, without).await.refused(409, "delete it first");
    assert_eq!(gateway.records().await, before);
    let secret: ContainerManagerSecret = gateway.stored("ocp").await.unwrap();
    assert_eq!(secret.options["token"], "canary-token");
    gateway.delete(PATH).await.is(200, &json!([]));
    assert!(gateway.stored::<ContainerManagerSecret>("ocp").await.is_none());
}

#[tokio::test]
async fn options_that_cannot_make_a_client_are_named_and_not_stored() {
    let gateway = Gateway::start().await;
    let url = "https://k";
    for (body, says) in [
        (json!({}), "`server_url`"),
        (json!({"type": "nomad"}), "type: unknown variant"),
        (
            json!({"options": {"server_url": url, "certificate_path": "/crt"}}),
            "`certificate_key_path`",
        ),
        (
            json!({"options": {"server_url": "http://k", "certificate_path": "/crt",
                               "certificate_key_path": "/key"}}),
            "https",
        ),
        (json!({"options": {"server_url": url, "tokn": "canary"}}), "did you mean `token`?"),
        (json!({"options": {"server_url": url, "token": {"a": "canary"}}}), "`token`"),
        (json!({"name": "other", "type": "trivial"}), "the path names"),
    ] {
        let answer = gateway.put(PATH, body).await;
        answer.refused(400, says);
        assert!(!answer.text().contains("canary"));
    }
    gateway.get("/containermanagers").await.is(200, &json!([]));
}

#[tokio::test]
async fn a_trivial_one_keeps_any_options() {
    let gateway = Gateway::start().await;
    let body = json!({"type": "trivial", "options": {"colour": "blue", "password": "canary"}});
    let masked = shown("trivial", &json!({"colour": "blue", "password": "********"}));
    gateway.put(PATH, body).await.is(201, &masked);
    let other = json!({"type": "trivial", "options": {"colour": "red", "password": "canary"}});
    gateway.put(PATH, other).await.refused(409, "delete it first");
}

#[tokio::test]
async fn a_cluster_that_begins_to_use_it_and_a_deletion_do_not_both_go_through() {
    let gateway = Gateway::start().await;
    for _ in 0..10 {
        gateway.put(PATH, json!({"type": "trivial"})).await;
        let body = json!({"container_manager": "ocp"});
        let (created, deleted) =
            futures_util::join!(gateway.put("/cluster/c1", body), gateway.delete(PATH));
        assert_eq!([created.status, deleted.status].iter().filter(|s| **s == 409).count(), 1);
        gateway.delete("/cluster/c1").await;
        gateway.delete(PATH).await;
    }
}
