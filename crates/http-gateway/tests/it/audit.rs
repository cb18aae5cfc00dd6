//! The audit log: who did what.

use serde_json::{Value, json};

use crate::support::{Gateway, PASSWORD, Setup, V0, basic};

/// A line without what differs from run to run.
fn told(line: &Value) -> (String, String, String, Value) {
    let text = |member: &str| line[member].as_str().unwrap_or_default().to_owned();
    (text("principal"), text("method"), text("path"), line["status"].clone())
}

#[tokio::test]
async fn every_change_and_every_reading_of_credentials_is_a_line() {
    let gateway = Gateway::start().await;
    let secret = json!({"ssh_priv_key": "Y2FuYXJ5"}).to_string();
    let header = ("x-request-id", "abc-1");
    gateway.send_with(header, "PUT", &format!("{V0}/host/10.0.0.1?x=canary"), &secret).await;
    gateway.get("/host/10.0.0.1").await;
    gateway.get("/hosts").await;
    gateway.get("/host/10.0.0.1/creds").await;
    gateway.get("/host/10.0.0.2/creds").await;
    gateway.put("/cluster/c1", json!({"network": 7})).await;
    let reader = basic(format!("reader:{PASSWORD}"));
    gateway.send_as(&reader, "DELETE", &format!("{V0}/host/10.0.0.1")).await;
    gateway.send_as(&reader, "GET", &format!("{V0}/host/10.0.0.1/creds")).await;
    gateway.send_as(&reader, "GET", &format!("{V0}/hosts")).await;
    // Whoever is not known has no line.
    gateway.send_as("", "PUT", &format!("{V0}/host/10.0.0.1")).await;
    gateway.delete("/host/10.0.0.1").await;
    let lines = gateway.audit();
    let expected = [
        ("admin", "PUT", "/host/10.0.0.1", 201),
        ("admin", "GET", "/host/10.0.0.1/creds", 200),
        ("admin", "GET", "/host/10.0.0.2/creds", 404),
        ("admin", "PUT", "/cluster/c1", 400),
        ("reader", "DELETE", "/host/10.0.0.1", 403),
        ("reader", "GET", "/host/10.0.0.1/creds", 403),
        ("admin", "DELETE", "/host/10.0.0.1", 200),
    ]
    .map(|(who, method, path, status)| {
        (who.to_owned(), method.to_owned(), format!("{V0}{path}"), json!(status))
    });
    assert_eq!(lines.iter().map(told).collect::<Vec<_>>(), expected);
    let first = &lines[0];
    assert_eq!((&first["request_id"], &first["role"]), (&json!("abc-1"), &json!("admin")));
    assert_eq!(first["source"], "127.0.0.1");
    assert!(model::stamp::is_stamp(first["time"].as_str().unwrap()));
    let text = json!(lines).to_string();
    assert!(!text.contains("Y2FuYXJ5") && !text.contains("canary"), "{text}");
}

#[tokio::test]
async fn the_source_is_the_client_behind_trusted_proxies() {
    let trusted_proxies = vec!["127.0.0.0/8".to_owned()];
    let gateway = Setup { trusted_proxies, ..Setup::default() }.start().await;
    let header = ("x-forwarded-for", "10.0.0.6, 10.0.0.7");
    let answer = gateway.send_with(header, "PUT", &format!("{V0}/host"), "").await;
    assert_eq!((answer.status, &answer.json()["address"]), (201, &json!("10.0.0.7")));
    // The proxy itself is no host.
    gateway.put("/host", json!({})).await.refused(400, "`address`");
    let sources: Vec<_> = gateway.audit().iter().map(|line| line["source"].clone()).collect();
    assert_eq!(sources, ["10.0.0.7", "127.0.0.1"]);
    // Failures are counted for the client, and others behind the same proxy are not held up.
    let wrong = basic("admin:wrong");
    let target = ("GET", "/api/v0/hosts");
    let from = |source| [("authorization", wrong.as_str()), ("x-forwarded-for", source)];
    for _ in 0..=60 {
        gateway.send_plain(&from("10.0.0.8"), target, "").await.refused(403, "user name");
    }
    gateway.send_plain(&from("10.0.0.8"), target, "").await.refused(429, "too many");
    gateway.send_plain(&from("10.0.0.9"), target, "").await.refused(403, "user name");
}

#[tokio::test]
async fn without_an_audit_log_nothing_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("audit.log");
    std::os::unix::fs::symlink("/dev/full", &link).unwrap();
    let gateway = Setup { audit_log: Some(link), ..Setup::default() }.start().await;
    // That the disk is full shows at the first line.
    gateway.put("/cluster/c1", json!({})).await.refused(503, "may be done");
    let before = gateway.records().await;
    gateway.put("/cluster/c2", json!({})).await.refused(503, "nothing was done");
    gateway.delete("/cluster/c1").await.refused(503, "nothing was done");
    gateway.get("/host/10.0.0.1/creds").await.refused(503, "nothing was done");
    assert_eq!(gateway.records().await, before);
    gateway.get("/clusters").await.is(200, &json!(["c1"]));
}
