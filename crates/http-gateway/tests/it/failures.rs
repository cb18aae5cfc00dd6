//! What is told when something behind the gateway does not work, or a request is no HTTP.

use std::time::{Duration, Instant};

use serde_json::json;
use service_core::model::{Host, HostCreds, Model as _, Status};

use crate::support::{Answer, Gateway, ROUTES, Setup, Storage, WITH_BODY};

/// Fitting requests for every route that needs the storage service.
fn requests() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    let without_body = ROUTES.into_iter().flat_map(|(path, methods)| {
        let methods = methods.iter().filter(|method| matches!(**method, "GET" | "DELETE"));
        methods.map(move |method| (*method, path, ""))
    });
    let all = without_body.chain(WITH_BODY);
    let without_storage =
        ["/api/v0/publickey", "/healthz", "/readyz", "/metrics", "/docs", "/api/v0/openapi.json"];
    all.filter(move |(_, path, _)| !without_storage.contains(path))
}

#[tokio::test]
async fn every_error_is_a_problem_document() {
    let gateway = Gateway::start().await.with_everything().await;
    let large = vec![b' '; 1024 * 1024 + 1];
    for (method, path, body, status, words) in [
        ("PUT", "/api/v0/cluster/c9", &b"null"[..], 400, "the body is not a JSON object"),
        ("GET", "/api/v0/cluster/c9", b"", 404, "there is no cluster c9"),
        ("GET", "/api/v0/nothing", b"", 404, "there is nothing at this path"),
        ("PUT", "/api/v0/hosts", b"", 405, "see `Allow`"),
        ("DELETE", "/api/v0/network/default", b"", 409, "the default network stays"),
        ("PUT", "/api/v0/cluster/c9", &large, 413, "larger than 1048576 bytes"),
        ("PUT", "/api/v0/cluster/c1/restart", b"", 503, "try again shortly"),
    ] {
        gateway.send(method, path, body.to_vec()).await.refused(status, words);
    }
    gateway.send_as("", "GET", "/").await.refused(403, "give a user name and password");
}

#[tokio::test]
async fn without_the_storage_service_every_route_is_503_at_once() {
    let gateway = Setup { storage: Storage::Absent, ..Setup::default() }.start().await;
    for (method, path, body) in requests() {
        let started = Instant::now();
        gateway.send(method, path, body).await.refused(503, "try again");
        assert!(started.elapsed() < Duration::from_secs(2), "{method} {path}");
    }
    // What is wrong whatever is stored is still told.
    gateway.put("/cluster/c1", json!({"network": 7})).await.refused(400, "network");
    gateway.get("/nothing").await.refused(404, "path");
}

#[tokio::test]
async fn when_the_storage_service_is_silent_every_route_is_504() {
    let (storage, timeout) = (Storage::Silent, Duration::from_millis(50));
    let gateway = Setup { storage, timeout, ..Setup::default() }.start().await;
    let asks_executor = |method: &str, path: &str| {
        method == "PUT" && ["/restart", "/upgrade", "/deploy"].iter().any(|end| path.ends_with(end))
    };
    for (method, path, body) in requests().filter(|(method, path, _)| !asks_executor(method, path))
    {
        gateway.send(method, path, body).await.refused(504, "no answer in time");
    }
}

#[track_caller]
fn names_no_internals(answer: &Answer) {
    answer.refused(500, "defect");
    let text = answer.text();
    for internal in ["/commissaire", "sqlite", "store", "serde", "key", "line", "10.0.0.1"] {
        assert!(!text.contains(internal), "{text}");
    }
}

#[tokio::test]
async fn a_damaged_record_names_no_internals_and_hides_no_neighbour() {
    let gateway = Gateway::start().await;
    for address in ["10.0.0.1", "10.0.0.2"] {
        gateway.host(address, Status::Active).await;
    }
    let neighbour = Host { address: "10.0.0.2".into(), status: Status::Active, ..Host::default() };
    for damage in ["", "garbage", "null", r#"{"address": "10.0.0.9"}"#, r#"{"address": 7}"#] {
        gateway.damage::<Host>("10.0.0.1", damage).await;
        for path in ["/host/10.0.0.1", "/host/10.0.0.1/status", "/host/10.0.0.1/creds"] {
            names_no_internals(&gateway.get(path).await);
        }
        names_no_internals(&gateway.put("/host/10.0.0.1", json!({})).await);
        gateway.get("/hosts").await.is(200, &json!([neighbour]));
        gateway.get("/host/10.0.0.2").await.is(200, &json!(neighbour));
    }
}

#[tokio::test]
async fn damaged_credentials_do_not_hide_the_host() {
    let gateway = Gateway::start().await;
    gateway.host("10.0.0.1", Status::Active).await;
    gateway.damage::<HostCreds>("10.0.0.1", &HostCreds::key("10.0.0.1")).await;
    names_no_internals(&gateway.get("/host/10.0.0.1/creds").await);
    for path in ["/host/10.0.0.1", "/host/10.0.0.1/status", "/hosts"] {
        assert_eq!(gateway.get(path).await.status, 200, "{path}");
    }
    gateway.delete("/host/10.0.0.1").await.is(200, &json!([]));
}

#[tokio::test]
async fn what_is_no_http_is_refused_and_others_are_still_served() {
    let gateway = Gateway::start().await;
    let long_line = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(100_000));
    let many_headers = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(500));
    let large_header = format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "b".repeat(1024 * 1024));
    for (request, status) in [
        (&b"\r\n\r\nnonsense\r\n\r\n"[..], 400),
        (b"GET\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (b"GET /a b HTTP/1.1\r\n\r\n", 400),
        (b"G(T / HTTP/1.1\r\n\r\n", 400),
        (b"GET api/v0/hosts HTTP/1.1\r\n\r\n", 400),
        (b"GET /\xff\xfe HTTP/1.1\r\nConnection: close\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (long_line.as_bytes(), 414),
        (many_headers.as_bytes(), 431),
        (large_header.as_bytes(), 431),
    ] {
        let answer = gateway.bytes(request).await;
        assert_eq!(answer.status, status, "{}", answer.what);
    }
    gateway.get("/hosts").await.is(200, &json!([]));
}
