//! Accepting the changed key of a host: the way out of `host-key-changed`.

use model::{Host, HostCreds, Status};
use serde_json::json;

use super::new_host;
use crate::support::{Gateway, HOST_KEY};

const FINGERPRINT: &str = "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU";
const PATH: &str = "/host/10.0.0.1/hostkey";

#[tokio::test]
async fn the_key_that_was_seen_is_pinned_by_its_fingerprint() {
    let gateway = Gateway::start().await;
    gateway.host("10.0.0.1", Status::Failed).await;
    gateway.host_state(json!({"address": "10.0.0.1", "seen_host_key": HOST_KEY})).await;
    let body = json!({"fingerprint": FINGERPRINT, "address": "::ffff:10.0.0.1"});
    gateway.put(PATH, body).await.is(202, &new_host("10.0.0.1"));
    assert_eq!(gateway.investigations().await, ["10.0.0.1"]);
    assert_eq!(gateway.stored::<HostCreds>("10.0.0.1").await.unwrap().ssh_host_key, HOST_KEY);
    let stored = gateway.stored::<Host>("10.0.0.1").await.unwrap();
    assert_eq!(stored.status, Status::Investigating);
}

#[tokio::test]
async fn any_other_fingerprint_is_refused_and_nothing_is_stored() {
    let gateway = Gateway::start().await;
    gateway.put(PATH, json!({"fingerprint": FINGERPRINT})).await.refused(404, "no host 10.0.0.1");
    gateway.host("10.0.0.1", Status::Failed).await;
    gateway.put(PATH, json!({"fingerprint": ""})).await.refused(409, "has not been seen");
    gateway.put(PATH, json!({"fingerprint": FINGERPRINT})).await.refused(409, "has not been seen");
    gateway.host_state(json!({"address": "10.0.0.1", "seen_host_key": HOST_KEY})).await;
    let before = gateway.records().await;
    for other in ["", "SHA256:", "SHA256:other", HOST_KEY, &FINGERPRINT.to_lowercase()] {
        gateway.put(PATH, json!({"fingerprint": other})).await.refused(409, "has not been seen");
    }
    gateway.put(PATH, json!({})).await.refused(400, "missing field `fingerprint`");
    assert_eq!(gateway.records().await, before);
    assert!(gateway.investigations().await.is_empty());
}
