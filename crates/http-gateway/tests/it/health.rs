//! `/healthz` and `/readyz`.

use std::time::Duration;

use serde_json::json;

use crate::support::{Gateway, Setup, Storage};

#[tokio::test]
async fn anybody_may_ask_whether_it_lives_and_is_ready() {
    let gateway = Gateway::start().await;
    for (path, status) in [("/healthz", "ok"), ("/readyz", "ready"), ("/healthz/", "ok")] {
        gateway.send_as("", "GET", path).await.is(200, &json!({"status": status}));
        gateway.send_as("Bearer x", "GET", path).await.is(200, &json!({"status": status}));
    }
    gateway.send_as("", "POST", "/healthz").await.refused(405, "method");
    gateway.send_as("", "PUT", "/readyz").await.refused(405, "method");
}

#[tokio::test]
async fn it_lives_but_is_not_ready_without_its_storage() {
    for storage in [Storage::Absent, Storage::Silent] {
        let timeout = Duration::from_millis(100);
        let gateway = Setup { storage, timeout, ..Setup::default() }.start().await;
        gateway.send_as("", "GET", "/healthz").await.is(200, &json!({"status": "ok"}));
        gateway.send_as("", "GET", "/readyz").await.refused(503, "storage service");
    }
}
