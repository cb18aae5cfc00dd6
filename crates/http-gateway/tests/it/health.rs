//! `/healthz` and `/readyz`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bus::{Bus, Call, Context, Error, Result, presence, topology};
use model::{Network, NetworkType};
use runtime::Lifecycle;
use serde_json::{Value, json};

use crate::support::{Gateway, Setup, Storage, basic, in_time};

const READER: &str = "reader:se:cret";

/// What `/readyz` answers to an anonymous client: status and body.
async fn readyz(gateway: &Gateway) -> (u16, Value) {
    let answer = gateway.send_as("", "GET", "/readyz").await;
    (answer.status, serde_json::from_str(&answer.text()).unwrap())
}

/// Asks again until the answer is as expected.
async fn readyz_until(gateway: &Gateway, expected: impl Fn(u16, &Value) -> bool) -> Value {
    let asked = async {
        loop {
            let (status, body) = readyz(gateway).await;
            if expected(status, &body) {
                return body;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    in_time(asked).await
}

/// Waits until this many replicas answer pings.
async fn until_present(gateway: &Gateway, count: usize) {
    let (context, window) = (Context::default(), Duration::from_millis(50));
    let ping = async || {
        presence::ping(&gateway.bus, &context, window, |found| found.len() >= count).await.unwrap()
    };
    in_time(async { while ping().await.len() < count {} }).await;
}

#[tokio::test]
async fn anybody_may_ask_whether_it_lives_and_is_ready() {
    let gateway = Gateway::start().await;
    let parts = json!({"broker": "ok", "storage": "ok", "store": "ok", "store_write": "ok",
                       "audit_log": "ok"});
    let degraded = json!(["clusterexec", "investigator", "watcher"]);
    let alive = json!({"status": "ok"});
    let ready = json!({"status": "ready", "parts": parts, "degraded": degraded});
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
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.starts_with("the storage service does not answer"), "{detail}");
        let parts = json!({"broker": "ok", "storage": "failed", "store": "unknown",
                           "store_write": "unknown", "audit_log": "ok"});
        assert_eq!(problem["parts"], parts);
    }
}

/// A storage service whose store can be read, and answers writes with `written`; counts the writes.
async fn storage(bus: &Bus, life: &Lifecycle, written: Result<Value>) -> Arc<AtomicUsize> {
    let writes = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&writes);
    let network = Network {
        name: Network::DEFAULT.to_owned(),
        kind: NetworkType::FlannelEtcd,
        options: serde_json::Map::new(),
    };
    let handler = move |call: Call| {
        std::future::ready(match call.method.as_str() {
            "save" => {
                counter.fetch_add(1, Ordering::SeqCst);
                written.clone().map(|_| call.params.value()["model_json_data"].clone())
            }
            "get" => Ok(json!({"record": network, "revision": 1})),
            _ => Ok(json!([])),
        })
    };
    bus.serve(topology::STORAGE, 16, life, handler).await.unwrap();
    writes
}

#[tokio::test]
async fn it_is_not_ready_when_the_store_accepts_no_writes() {
    let gateway = Setup { storage: Storage::Absent, ..Setup::default() }.start().await;
    let full = Err(Error::unavailable("etcdserver: mvcc: database space exceeded"));
    storage(&gateway.bus, &gateway.life, full).await;
    let (status, problem) = readyz(&gateway).await;
    assert_eq!((status, &problem["parts"]["store"]), (503, &json!("ok")), "{problem}");
    assert_eq!(problem["parts"]["store_write"], "failed");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("accepts no writes") && !detail.contains("mvcc"), "{detail}");
}

#[tokio::test]
async fn many_questions_are_one_write_to_the_store() {
    let gateway = Setup { storage: Storage::Absent, ..Setup::default() }.start().await;
    let writes = storage(&gateway.bus, &gateway.life, Ok(Value::Null)).await;
    let asked = (0..50).map(|_| readyz(&gateway));
    for (status, body) in futures_util::future::join_all(asked).await {
        assert_eq!(status, 200, "{body}");
    }
    assert_eq!(writes.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn it_is_not_ready_when_the_audit_log_cannot_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("audit.log");
    std::os::unix::fs::symlink("/dev/full", &link).unwrap();
    let gateway = Setup { audit_log: Some(link), ..Setup::default() }.start().await;
    gateway.put("/cluster/c1", json!({})).await.refused(503, "may be done");
    let (status, problem) = readyz(&gateway).await;
    assert_eq!((status, &problem["parts"]["audit_log"]), (503, &json!("failed")), "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("audit log cannot be written"));
}

#[tokio::test]
async fn a_missing_service_degrades_it_and_is_named() {
    let gateway = Gateway::start().await;
    let watcher = gateway.life.outliving();
    for service in ["clusterexec", "investigator"] {
        presence::answer_pings(&gateway.bus, service, &gateway.life);
    }
    presence::answer_pings(&gateway.bus, "watcher", &watcher);
    // With those of the gateway and of its storage service.
    until_present(&gateway, 5).await;
    readyz_until(&gateway, |status, body| status == 200 && body["degraded"] == json!([])).await;
    watcher.shutdown(Duration::from_mins(1)).await;
    let missing = json!(["watcher"]);
    // The first one's answer holds for some seconds.
    let another = gateway.another().await;
    let body = readyz_until(&another, |_, body| body["degraded"] == missing).await;
    assert_eq!(body["status"], "ready");
    let metrics = gateway.send("GET", "/metrics", "").await.text();
    assert!(metrics.contains("commissaire_service_missing{service=\"watcher\"}"), "{metrics}");
}

#[tokio::test]
async fn the_container_manager_service_is_missed_where_there_is_a_manager() {
    let gateway = Gateway::start().await;
    let manager = json!({"type": "trivial", "options": {}});
    assert_eq!(gateway.put("/containermanager/m1", manager).await.status, 201);
    let (status, body) = readyz(&gateway).await;
    let missing = json!(["clusterexec", "investigator", "watcher", "containermgr"]);
    assert_eq!((status, &body["degraded"]), (200, &missing));
}

#[tokio::test]
async fn readers_see_every_replica_and_strangers_do_not() {
    let gateway = Gateway::start().await;
    for path in ["/readyz?verbose", "/readyz?x=1&verbose=true", "/readyz/?verbose"] {
        gateway.send_as("", "GET", path).await.refused(403, "user name");
        let enroll = basic("enroll:se:cret");
        gateway.send_as(&enroll, "GET", path).await.refused(403, "the role enroll");
    }
    for _ in 0..2 {
        presence::answer_pings(&gateway.bus, "watcher", &gateway.life);
    }
    until_present(&gateway, 4).await;
    let replicas = async {
        loop {
            let answer = gateway.send_as(&basic(READER), "GET", "/readyz?verbose").await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            let body: Value = serde_json::from_str(&answer.text()).unwrap();
            let services = body["services"].as_array().unwrap().clone();
            if services.iter().filter(|replica| replica["service"] == "watcher").count() == 2 {
                return services;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let replicas = in_time(replicas).await;
    for replica in &replicas {
        assert_eq!(replica["version"], env!("CARGO_PKG_VERSION"), "{replica}");
        assert!(replica["age"].as_i64().unwrap() >= 0, "{replica}");
        assert!(!replica["started_at"].as_str().unwrap().is_empty(), "{replica}");
    }
    let services: Vec<_> = replicas.iter().map(|replica| &replica["service"]).collect();
    for service in ["gateway", "storage", "watcher"] {
        assert!(services.iter().any(|found| **found == service), "{service}: {replicas:?}");
    }
    let names: std::collections::BTreeSet<_> =
        replicas.iter().map(|replica| replica["replica"].as_str()).collect();
    assert_eq!(names.len(), replicas.len(), "{replicas:?}");
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

#[tokio::test]
async fn readers_and_metrics_see_the_alarms_that_last() {
    let gateway = Gateway::start().await;
    for scope in ["fleet", "cluster.c1"] {
        gateway.alarm(scope).await;
    }
    let verbose = async || {
        let answer = gateway.send_as(&basic(READER), "GET", "/readyz?verbose").await;
        serde_json::from_str::<Value>(&answer.text()).unwrap()["alarms"].clone()
    };
    let alarms = verbose().await;
    assert_eq!(
        (alarms[0]["scope"].as_str(), alarms[1]["scope"].as_str()),
        (Some("cluster.c1"), Some("fleet"))
    );
    assert_eq!(
        (&alarms[1]["share"], &alarms[1]["since"]),
        (&json!(0.4), &json!("2026-11-28T05:00:00.000000"))
    );
    assert_eq!(readyz(&gateway).await.1.get("alarms"), None, "only readers");
    let metrics = gateway.send("GET", "/metrics", "").await.text();
    for (scope, count) in [("fleet", 1), ("cluster", 1), ("manager", 0)] {
        let line = format!("commissaire_alarms{{scope=\"{scope}\"}} {count}");
        assert!(metrics.contains(&line), "{line}: {metrics}");
    }
}
