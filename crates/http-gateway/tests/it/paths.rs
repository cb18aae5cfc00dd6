//! Which paths there are, and what can stand in them.

use model::{Cluster, Host, Status};
use serde_json::{Value, json};

use crate::support::{Gateway, ROUTES};

#[tokio::test]
async fn one_trailing_slash_is_optional() {
    let gateway = Gateway::start().await.with_everything().await;
    // Metrics and backups are others each time.
    let changing = ["/metrics", "/api/v0/backup"];
    for (path, methods) in ROUTES.into_iter().filter(|(path, _)| !changing.contains(path)) {
        let method = if methods.contains(&"GET") { "GET" } else { "OPTIONS" };
        let without = gateway.send(method, path, "").await;
        let with = gateway.send(method, &format!("{path}/"), "").await;
        assert_eq!((with.status, with.text()), (without.status, without.text()), "{path}");
        gateway.raw(method, format!("{path}//").as_bytes(), b"").await.refused(404, "path");
    }
    gateway.send("PUT", "/api/v0/cluster/c2/?a=/", "").await.is(
        201,
        &json!({"name": "c2", "status": "", "network": "default", "container_manager": ""}),
    );
}

#[tokio::test]
async fn doubled_slashes_other_cases_and_other_versions_lead_nowhere() {
    let gateway = Gateway::start().await.with_everything().await;
    for target in [
        "//api/v0/hosts",
        "/api//v0/hosts",
        "/api/v0//hosts",
        "/api/v0/host//10.0.0.1",
        "/api/v0/host/10.0.0.1//status",
        "/api/v0/cluster/c1//hosts",
        "/api/v0/Hosts",
        "/API/v0/hosts",
        "/api/V0/hosts",
        "/api/v0/cluster/c1/Hosts",
        "/api/v0/cluster/C1",
        "/Healthz",
        "/api/v1/hosts",
        "/api/v/hosts",
        "/v0/hosts",
        "/hosts",
        "/api/v0",
        "/api/v0/",
        "/api",
        "/",
        "//",
        "/api/v0/cluster/c1/hosts/10.0.0.1/x",
        "/api/v0/%68osts",
        "/api/v0/secrets/x",
    ] {
        gateway.raw("GET", target.as_bytes(), b"").await.refused(404, "there is no");
    }
}

#[tokio::test]
async fn what_is_no_name_or_address_leads_nowhere_and_nothing_is_stored() {
    let gateway = Gateway::start().await.with_everything().await;
    let before = gateway.records().await;
    let long = "a".repeat(254);
    let neither: [&[u8]; 14] = [
        b"%2e%2e",
        b"..",
        b".",
        b"a%2fb",
        b"a%20b",
        b"a%00",
        b"%ff",
        b"%0a",
        b"a%0a",
        b"a@b",
        b"a:b",
        b"%C3%A4",
        b"[::1]",
        b"fe80::1%25eth0",
    ];
    let addresses: [&[u8]; 5] = [b"-oProxyCommand=x", b"-x", b".x", b"_x", long.as_bytes()];
    let names: [&[u8]; 3] = [b"a.b", b"10.0.0.1", b"::1"];
    let check = async |prefix: &str, text: &[u8], suffix: &str| {
        let target = [prefix.as_bytes(), text, suffix.as_bytes()].concat();
        let put = if suffix == "/hosts" { &br#"{"old": [], "new": []}"#[..] } else { b"{}" };
        gateway.raw("GET", &target, b"").await.refused(404, "path");
        if !matches!(suffix, "/creds" | "/status") {
            gateway.raw("PUT", &target, put).await.refused(404, "path");
        }
    };
    for text in neither.iter().chain(&addresses) {
        check("/api/v0/host/", text, "").await;
        check("/api/v0/host/", text, "/creds").await;
        check("/api/v0/host/", text, "/status").await;
        check("/api/v0/cluster/c1/hosts/", text, "").await;
    }
    for text in neither.iter().chain(&names) {
        check("/api/v0/cluster/", text, "").await;
        check("/api/v0/cluster/", text, "/hosts").await;
        check("/api/v0/cluster/", text, "/restart").await;
        check("/api/v0/network/", text, "").await;
    }
    assert_eq!(gateway.records().await, before);
}

#[tokio::test]
async fn ipv6_literals_are_addresses() {
    let gateway = Gateway::start().await;
    gateway.cluster("c1", &[]).await;
    gateway.host("2001:db8::7", Status::Disassociated).await;
    gateway.put("/cluster/c1/hosts/2001:db8::7", json!({})).await.is(200, &json!(["2001:db8::7"]));
    gateway.get("/cluster/c1/hosts").await.is(200, &json!(["2001:db8::7"]));
    assert_eq!(gateway.get("/host/2001:db8::7").await.status, 200);
    gateway.delete("/host/2001:db8::7").await.is(200, &json!([]));
    gateway.get("/cluster/c1/hosts").await.is(200, &json!([]));
}

#[tokio::test]
async fn every_form_of_an_address_is_the_same_host() {
    let gateway = Gateway::start().await;
    gateway.cluster("c1", &[]).await;
    for (canonical, forms) in [
        ("web1.example.com", ["Web1.Example.COM", "WEB1.EXAMPLE.COM"]),
        ("2001:db8::1", ["2001:DB8:0:0::1", "2001:db8:0:0:0:0:0:1"]),
        ("10.0.0.1", ["::ffff:10.0.0.1", "::FFFF:a00:1"]),
    ] {
        for form in forms {
            let created = gateway.put(&format!("/host/{form}"), json!({"address": form})).await;
            assert_eq!((created.status, created_address(&created.body)), (201, canonical.into()));
            let in_body = gateway.put("/host", json!({"address": form})).await;
            assert_eq!((in_body.status, created_address(&in_body.body)), (201, canonical.into()));
            assert_eq!(gateway.get(&format!("/host/{form}/status")).await.status, 200);
        }
        assert_eq!(gateway.storage.list::<Host>().await.unwrap().len(), 1);
        gateway.host(canonical, Status::Disassociated).await;

        let [form, other] = forms;
        let member = format!("/cluster/c1/hosts/{form}");
        gateway.put(&member, json!({})).await.is(200, &json!([canonical]));
        gateway.get(&member).await.is(200, &json!([canonical]));
        let replaced = gateway.put("/cluster/c1/hosts", json!({"old": [form], "new": [other]}));
        assert_eq!(replaced.await.status, 200);
        let cluster: Cluster = gateway.stored("c1").await.unwrap();
        assert_eq!(cluster.hostset, [canonical]);
        gateway.delete(&member).await.is(200, &json!([]));
        gateway.delete(&format!("/host/{form}")).await.is(200, &json!([]));
        gateway.get(&format!("/host/{other}")).await.refused(404, canonical);
    }
}

fn created_address(body: &[u8]) -> String {
    let host: Value = serde_json::from_slice(body).unwrap();
    host["address"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_absolute_target_is_routed_by_its_path() {
    let gateway = Gateway::start().await;
    for target in
        ["http://test/api/v0/hosts", "http://test/api/v0/hosts/", "http://x:1/api/v0/hosts?a"]
    {
        gateway.raw("GET", target.as_bytes(), b"").await.is(200, &json!([]));
    }
    gateway.raw("OPTIONS", b"*", b"").await.refused(404, "path");
}
