//! `/healthz` and `/readyz`.

use std::time::Duration;

use serde_json::json;

use crate::support::{Gateway, Setup, Storage};

#[tokio::test]
async fn anybody_may_ask_whether_it_lives_and_is_ready() {
    let gateway = Gateway::start().await;
    let parts = json!({"broker": "ok", "storage": "ok", "store": "ok"});
    let (alive, ready) = (json!({"status": "ok"}), json!({"status": "ready", "parts": parts}));
    for (path, answer) in [("/healthz", &alive), ("/readyz", &ready), ("/healthz/", &alive)] {
        gateway.send_as("", "GET", path).await.is(200, answer);
        gateway.send_as("Bearer x", "GET", path).await.is(200, answer);
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
        let answer = gateway.send_as("", "GET", "/readyz").await;
        let problem: serde_json::Value = serde_json::from_str(&answer.text()).unwrap();
        assert_eq!(answer.status, 503, "{problem}");
        assert_eq!(answer.header("content-type"), "application/problem+json");
        assert_eq!(problem["detail"], "the storage service does not answer");
        assert_eq!(
            problem["parts"],
            json!({"broker": "ok", "storage": "failed", "store": "unknown"})
        );
    }
}

#[tokio::test]
async fn metrics_tell_what_happened_by_route_and_never_by_path() {
    let gateway = Gateway::start().await;
    gateway.send_as("", "GET", "/metrics").await.refused(403, "give a user name");
    gateway.get("/host/10.9.8.7").await.refused(404, "there is no host");
    gateway.get("/no/such/path").await.refused(404, "nothing at this path");
    let text = gateway.send("GET", "/metrics", "").await.text();
    let route = r#"method="GET",route="/api/v0/host/{address}""#;
    for line in [
        &format!("commissaire_http_requests_total{{{route},status=\"404\"}}"),
        &format!("commissaire_http_request_duration_seconds_bucket{{{route},le=\"0.001\"}}"),
        r#"commissaire_http_requests_total{method="GET",route="none",status="404"}"#,
        r#"commissaire_bus_request_duration_seconds_count{key="storage.get"}"#,
        r#"commissaire_bus_request_failures_total{key="storage.get",kind="NotFound"}"#,
        "commissaire_auth_failures_total",
        "commissaire_http_requests_in_flight 1",
        "commissaire_build_info{version=",
        "process_start_time_seconds",
    ] {
        assert!(text.contains(line), "{line} is missing: {text}");
    }
    assert!(!text.contains("10.9.8.7") && !text.contains("such"), "{text}");
}
