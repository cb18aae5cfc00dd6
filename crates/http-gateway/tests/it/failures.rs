//! What is told when something behind the gateway does not work, or a request is no HTTP.

use std::time::Duration;

use model::{Cluster, ContainerManagerConfig, Host, HostCreds, Model as _, Network, Status};
use serde_json::json;

use testbed::log::Log;

use crate::support::{Answer, Gateway, Managers, ROUTES, Setup, Storage, WITH_BODY, in_time};

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
        ("PUT", "/api/v0/cluster/c1/restart", b"", 503, "start commissaire-clusterexec-service"),
    ] {
        gateway.send(method, path, body.to_vec()).await.refused(status, words);
    }
    gateway.send_as("", "GET", "/").await.refused(403, "give a user name and password");
}

/// Whether a path is answered during outages, too.
fn is_answered_in_outages(path: &str) -> bool {
    ["/api/v0/explain", "/api/v0/whoami", "/api/v0/login"].contains(&path)
}

#[tokio::test]
async fn without_the_storage_service_every_route_is_503_at_once() {
    // A gateway that waited for an answer would not give one here.
    let (storage, timeout) = (Storage::Absent, Duration::from_hours(1));
    let gateway = Setup { storage, timeout, ..Setup::default() }.start().await;
    for (method, path, body) in requests().filter(|(_, path, _)| !is_answered_in_outages(path)) {
        in_time(gateway.send(method, path, body)).await.refused(503, "no replica of the ");
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
    let is_other =
        |method: &str, path: &str| !asks_executor(method, path) && !is_answered_in_outages(path);
    for (method, path, body) in requests().filter(|(method, path, _)| is_other(method, path)) {
        gateway
            .send(method, path, body)
            .await
            .refused(504, "no answer in time from the storage service");
    }
}

#[tokio::test]
async fn an_outage_is_one_line_however_many_requests_fail_and_a_defect_is_a_line_each() {
    let gateway = Setup { storage: Storage::Absent, ..Setup::default() }.start().await;
    let log = Log::capture();
    for _ in 0..50 {
        gateway.get("/hosts").await.refused(503, "no replica of the storage service");
        assert_eq!(gateway.send_as("", "GET", "/readyz").await.status, 503);
    }
    let lines = log.from_warn();
    assert!(lines.len() <= 1, "{lines:?}");
    let failed =
        log.lines().iter().filter(|line| line.contains("a service does not answer")).count();
    assert_eq!(failed, 50, "each is there with --debug");
    drop(log);

    let gateway = Gateway::start().await;
    gateway.host("10.0.0.1", Status::Active).await;
    gateway.damage::<Host>("10.0.0.1", "garbage").await;
    let log = Log::capture();
    for _ in 0..5 {
        gateway.get("/host/10.0.0.1").await.refused(500, "damaged");
    }
    let failed = |line: &&String| line.starts_with("ERROR") && line.contains("a request failed");
    assert_eq!(log.lines().iter().filter(failed).count(), 5, "{}", log.text());
}

/// The key in the store, and nothing else from the inside.
#[track_caller]
fn names_the_key(answer: &Answer, key: &str) {
    answer.refused(500, &format!("the record {key} in the store is damaged"));
    let text = answer.text();
    for internal in ["sqlite", "serde", "line", "column", "expected", "10.0.0.9"] {
        assert!(!text.contains(internal), "{text}");
    }
}

/// Records that are no JSON, no object, another record's, or invalid.
const DAMAGES: [&str; 5] =
    ["", "garbage", "null", r#"{"address": "10.0.0.9", "name": "other"}"#, r#"{"address": 7}"#];

#[tokio::test]
async fn a_damaged_record_is_named_and_hides_no_neighbour() {
    let gateway = Gateway::start().await;
    for address in ["10.0.0.1", "10.0.0.2"] {
        gateway.host(address, Status::Active).await;
    }
    let neighbour = Host { address: "10.0.0.2".into(), status: Status::Active, ..Host::default() };
    let key = Host::key("10.0.0.1");
    for damage in DAMAGES {
        gateway.damage::<Host>("10.0.0.1", damage).await;
        for path in ["/host/10.0.0.1", "/host/10.0.0.1/status", "/host/10.0.0.1/creds"] {
            names_the_key(&gateway.get(path).await, &key);
        }
        names_the_key(&gateway.put("/host/10.0.0.1", json!({})).await, &key);
        gateway.get("/hosts").await.is(200, &json!([neighbour]));
        gateway.get("/host/10.0.0.2").await.is(200, &json!(neighbour));
    }
}

#[tokio::test]
async fn damaged_credentials_do_not_hide_the_host() {
    let gateway = Gateway::start().await;
    gateway.host("10.0.0.1", Status::Active).await;
    let key = HostCreds::key("10.0.0.1");
    gateway.damage::<HostCreds>("10.0.0.1", &key).await;
    names_the_key(&gateway.get("/host/10.0.0.1/creds").await, &key);
    for path in ["/host/10.0.0.1", "/host/10.0.0.1/status", "/hosts"] {
        assert_eq!(gateway.get(path).await.status, 200, "{path}");
    }
    gateway.delete("/host/10.0.0.1").await.is(200, &json!([]));
}

#[tokio::test]
async fn a_damaged_host_is_deleted_with_all_that_belongs_to_it() {
    let gateway = Gateway::start().await;
    for damage in DAMAGES {
        gateway.put("/cluster/c1", json!({})).await;
        gateway.host("10.0.0.1", Status::Disassociated).await;
        assert_eq!(gateway.put("/cluster/c1/hosts/10.0.0.1", json!({})).await.status, 200);
        gateway.damage::<Host>("10.0.0.1", damage).await;
        gateway.delete("/host/10.0.0.1").await.is(200, &json!([]));
        gateway.get("/host/10.0.0.1").await.refused(404, "10.0.0.1");
        gateway.get("/cluster/c1/hosts").await.is(200, &json!([]));
        assert!(gateway.storage.find::<HostCreds>("10.0.0.1").await.unwrap().is_none());
    }
}

/// A network and a container manager also where a cluster uses them: made again, they are what it refers to.
#[tokio::test]
async fn damaged_clusters_networks_and_container_managers_are_deleted() {
    let setup = Setup { managers: Managers::Real, ..Setup::default() };
    let gateway = setup.start().await;
    let manager = json!({"type": "trivial"});
    for damage in DAMAGES {
        gateway.put("/network/n1", json!({})).await;
        gateway.put("/containermanager/k1", manager.clone()).await;
        let cluster = json!({"network": "n1", "container_manager": "k1"});
        assert_eq!(gateway.put("/cluster/c1", cluster).await.status, 201);

        gateway.damage::<ContainerManagerConfig>("k1", damage).await;
        let key = ContainerManagerConfig::key("k1");
        names_the_key(&gateway.get("/containermanager/k1").await, &key);
        gateway.delete("/containermanager/k1").await.is(200, &json!([]));
        assert_eq!(gateway.put("/containermanager/k1", manager.clone()).await.status, 201);

        gateway.damage::<Network>("n1", damage).await;
        names_the_key(&gateway.get("/network/n1").await, &Network::key("n1"));
        gateway.delete("/network/n1").await.is(200, &json!([]));
        assert_eq!(gateway.put("/network/n1", json!({})).await.status, 201);

        gateway.damage::<Cluster>("c1", damage).await;
        names_the_key(&gateway.get("/cluster/c1").await, &Cluster::key("c1"));
        gateway.delete("/cluster/c1").await.is(200, &json!([]));
        gateway.get("/cluster/c1").await.refused(404, "c1");
        for path in ["/network/n1", "/containermanager/k1"] {
            gateway.delete(path).await.is(200, &json!([]));
        }
    }
    gateway.damage::<Network>(Network::DEFAULT, "garbage").await;
    gateway.delete("/network/default").await.is(200, &json!([]));
    assert_eq!(gateway.put("/network/default", json!({})).await.status, 201);
    gateway.delete("/network/default").await.refused(409, "the default network stays");
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
