//! Secrets: what reaches Custodia, what comes back, and who is asked who they are.

use axum::body::Bytes;
use axum::http::{HeaderMap, Method, StatusCode};
use runtime::Lifecycle;
use serde_json::json;
use tokio::time::Instant;

use crate::support::{CUSTODIA_KEY, Custodia, Gateway, PASSWORD, Setup, V0, basic};

/// With Custodia, which does all the authentication there is below `/secrets`.
async fn by_itself(custodia: &Custodia) -> Gateway {
    let self_auths = vec![format!("{V0}/secrets")];
    Setup { custodia: Some(custodia.clone()), self_auths, ..Setup::default() }.start().await
}

async fn open() -> (Custodia, Gateway) {
    let custodia = Custodia::open();
    let setup = Setup { custodia: Some(custodia.clone()), ..Setup::default() };
    (custodia, setup.start().await)
}

#[tokio::test]
async fn secrets_are_kept_shown_listed_and_removed() {
    let (custodia, gateway) = open().await;
    let secret = json!({"type": "simple", "value": "canary"});
    assert_eq!(gateway.post("/secrets/web/").await.status, 201);
    let kept = gateway.put("/secrets/web/db", secret.clone()).await;
    assert_eq!((kept.status, kept.body.len()), (201, 0));
    gateway.put("/secrets/web/db", secret.clone()).await.refused(409, "delete that first");
    let shown = gateway.get("/secrets/web/db?type=simple").await;
    shown.is(200, &secret);
    assert_eq!((shown.header("cache-control"), shown.header("server")), ("no-store", ""));
    let head = gateway.send("HEAD", &format!("{V0}/secrets/web/db"), "").await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    gateway.get("/secrets/web/").await.is(200, &json!(["db"]));
    for root in ["/secrets", "/secrets/"] {
        gateway.get(root).await.is(200, &json!(["web/", "web/db"]));
    }
    let removed = gateway.delete("/secrets/web/db").await;
    assert_eq!((removed.status, removed.body.len()), (204, 0));
    gateway.get("/secrets/web/db").await.refused(404, "no such secret");
    gateway.delete("/secrets/web/db").await.refused(404, "no such secret");
    let seen: Vec<_> = custodia.seen().into_iter().map(|(what, _)| what).collect();
    assert_eq!(
        seen[..6],
        [
            "POST /secrets/web/",
            "PUT /secrets/web/db",
            "PUT /secrets/web/db",
            "GET /secrets/web/db?type=simple",
            "GET /secrets/web/db",
            "GET /secrets/web/",
        ]
    );
    let text = json!(gateway.audit()).to_string();
    assert!(text.contains("/secrets/web/db") && !text.contains("canary"), "{text}");
}

#[tokio::test]
async fn custodia_sees_its_own_headers_and_never_those_that_make_somebody_of_the_caller() {
    let (custodia, gateway) = open().await;
    let authorization = basic("admin:se:cret");
    let headers = [
        ("authorization", authorization.as_str()),
        ("accept", "application/octet-stream"),
        ("content-type", "application/octet-stream"),
        ("custodia_auth_id", "app"),
        ("custodia_auth_key", CUSTODIA_KEY),
        ("remote_user", "commissaire"),
        ("remote-user", "commissaire"),
        ("gssapi_name", "commissaire"),
        ("cookie", "a=b"),
        ("connection", "keep-alive, x-hop"),
        ("keep-alive", "timeout=5"),
        ("x-hop", "1"),
        ("te", "trailers"),
        ("proxy-authorization", "Basic eDp5"),
        ("x-auth-token", "token"),
        ("x-forwarded-for", "10.0.0.9"),
        ("forwarded", "for=10.0.0.9"),
    ];
    let path = format!("{V0}/secrets/a");
    assert_eq!(gateway.send_plain(&headers, ("PUT", &path), "x").await.status, 201);
    let (_, seen) = custodia.seen().remove(0);
    let mut names: Vec<_> = seen.keys().map(reqwest::header::HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "accept",
            "content-length",
            "content-type",
            "custodia_auth_id",
            "custodia_auth_key",
            "host"
        ]
    );
    assert_eq!(seen["host"], "localhost");
}

#[tokio::test]
async fn custodia_authenticates_by_itself_where_it_is_told_so() {
    let custodia = Custodia::default();
    let gateway = by_itself(&custodia).await;
    let own = [("custodia_auth_id", "app"), ("custodia_auth_key", CUSTODIA_KEY)];
    let wrong = [("custodia_auth_id", "app"), ("custodia_auth_key", "guess")];
    let (path, other) = (format!("{V0}/secrets/web/"), format!("{V0}/secrets"));
    assert_eq!(gateway.send_plain(&own, ("POST", &path), "").await.status, 201);
    gateway.send_plain(&own, ("GET", &other), "").await.is(200, &json!(["web/"]));
    gateway.send_plain(&wrong, ("GET", &other), "").await.refused(403, "Custodia");
    gateway.send_plain(&[], ("DELETE", &path), "").await.refused(403, "Custodia");
    // Nothing else is open, and what leads out of the secrets is nowhere.
    let raw = async |path| gateway.raw_as(b"", "GET", format!("{V0}{path}").as_bytes(), b"").await;
    for path in ["/clusters", "/secretsx", "/Secrets/a", "/secret"] {
        raw(path).await.refused(403, "password");
    }
    raw("/secrets/../clusters").await.refused(404, "path");
    // Strangers have no line, or they could fill the disk.
    let lines: Vec<_> = gateway
        .audit()
        .iter()
        .map(|line| (line["method"].clone(), line["principal"].clone(), line["status"].clone()))
        .collect();
    assert_eq!(
        lines,
        [(json!("POST"), json!(null), json!(201)), (json!("GET"), json!(null), json!(200))]
    );
}

#[tokio::test]
async fn without_being_told_so_it_is_the_administrators() {
    let (custodia, gateway) = open().await;
    for path in ["/secrets", "/secrets/", "/secrets/a", "/secrets/a/"] {
        let target = format!("{V0}{path}");
        for method in ["GET", "PUT", "POST", "DELETE", "PATCH"] {
            for role in ["operator", "reader", "enroll"] {
                let authorization = basic(format!("{role}:{PASSWORD}"));
                gateway.send_as(&authorization, method, &target).await.refused(403, "the role ");
            }
            gateway.send_as("", method, &target).await.refused(403, "password");
        }
        gateway.send("PATCH", &target, "").await.refused(405, "method");
    }
    assert!(custodia.seen().is_empty());
}

#[tokio::test]
async fn no_path_leads_out_of_the_secrets() {
    let (custodia, gateway) = open().await;
    for path in [
        "/..",
        "/../x",
        "/a/../../x",
        "/./a",
        "//a",
        "/a//",
        "/%2e%2e/x",
        "/%2E%2E%2Fx",
        "/a%00",
        "/..%2f",
        "/%252e%252e/x",
        "/a\\..\\x",
        "/a%0d%0ax:y",
        "/%zz",
        "//",
    ] {
        let target = format!("{V0}/secrets{path}");
        gateway.raw("GET", target.as_bytes(), b"").await.refused(404, "path");
    }
    assert!(custodia.seen().is_empty());
}

#[tokio::test]
async fn what_custodia_gets_wrong_is_no_more_than_a_status() {
    let (_, gateway) = open().await;
    for (path, status, says) in [
        ("status/302", 502, "fails"),
        ("status/500", 502, "fails"),
        ("large", 502, "fails"),
        ("status/406", 406, "does not understand"),
    ] {
        gateway.get(&format!("/secrets/{path}")).await.refused(status, says);
    }
    assert_eq!(gateway.get("/secrets/largest").await.body.len(), 1024 * 1024);
    gateway.put("/secrets/a/", json!({})).await.refused(405, "ends with a slash");
    let (path, body) = (format!("{V0}/secrets/a"), vec![b'x'; 1024 * 1024 + 1]);
    gateway.send("PUT", &path, body).await.refused(413, "larger than 1048576 bytes");
    assert_eq!(gateway.send("PUT", &path, vec![0; 1024 * 1024]).await.status, 201);
}

#[tokio::test(start_paused = true)]
async fn custodia_has_its_time_and_is_not_waited_for_any_longer() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("custodia.sock");
    Custodia::open().serve(&socket, &Lifecycle::new());
    let client = http_gateway::custodia::Custodia::new(&socket).unwrap();
    let begun = Instant::now();
    for path in ["/secrets/silent/head", "/secrets/silent/body"] {
        let answer = client.ask(Method::GET, path, &HeaderMap::new(), Bytes::new()).await;
        let error = answer.unwrap_err();
        assert_eq!(error.status(), StatusCode::GATEWAY_TIMEOUT);
        assert!(error.detail().contains("no answer in time"), "{}", error.detail());
    }
    assert_eq!(begun.elapsed().as_secs(), 10);
}

#[tokio::test]
async fn where_nobody_listens_it_is_503() {
    let folder = tempfile::tempdir().unwrap();
    let custodia_socket_path = Some(folder.path().join("custodia.sock"));
    let config = http_gateway::Config { custodia_socket_path, ..Default::default() };
    let gateway = Setup { config, ..Setup::default() }.start().await;
    gateway.get("/secrets/a").await.refused(503, "does not answer");
    assert_eq!(gateway.get("/clusters").await.status, 200);
}

#[tokio::test]
async fn without_custodia_there_are_none() {
    let self_auths = vec![format!("{V0}/secrets")];
    let gateway = Setup { self_auths, ..Setup::default() }.start().await;
    for path in ["/secrets", "/secrets/", "/secrets/a", "/secrets/a/"] {
        for method in ["GET", "PUT", "PATCH"] {
            gateway.send(method, &format!("{V0}{path}"), "").await.refused(404, "path");
        }
    }
}
