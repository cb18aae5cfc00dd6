//! Who may ask, and what everybody else is told.

use axum::extract::ConnectInfo;
use axum::http::Request;
use http_gateway::peer::{ClientCertificate, Peer};
use http_gateway::{Config, Service};
use serde_json::{Value, json};

use crate::support::{Gateway, PASSWORD, ROUTES, Setup, USER, V0, basic};

const HOSTS: &str = "/api/v0/hosts";

#[tokio::test]
async fn authentication_comes_before_everything_else() {
    // A gateway for each method: too many failures are another refusal.
    for method in ["GET", "PUT", "DELETE"] {
        let gateway = Gateway::start().await.with_everything().await;
        let before = gateway.records().await;
        let is_public = |path| ["/api/v0/openapi.json", "/api/v0/login"].contains(&path);
        let all = ROUTES.iter().filter(|(path, _)| path.starts_with("/api/") && !is_public(path));
        for (path, _) in all {
            gateway.send_as("", method, path).await.refused(403, "user name and password");
        }
        assert_eq!(gateway.records().await, before);
    }
    let gateway = Gateway::start().await.with_everything().await;
    let before = gateway.records().await;
    for path in [
        "/",
        "//",
        "/nothing",
        "/api/v1/hosts",
        "/api/v0/nothing",
        "//healthz",
        "/healthz//",
        "/Healthz",
    ] {
        gateway.raw_as(b"", "GET", path.as_bytes(), b"").await.refused(403, "user name");
    }
    let large = vec![b' '; 1024 * 1024 + 1];
    for (method, path, body) in [
        ("BREW", "/api/v0/hosts", &b""[..]),
        ("PUT", "/api/v0/cluster/c9", b"{"),
        ("PUT", "/api/v0/cluster/a.b", b""),
        ("PUT", "/api/v0/cluster/c9", &large),
    ] {
        gateway.raw_as(b"", method, path.as_bytes(), body).await.refused(403, "user name");
    }
    assert_eq!(gateway.records().await, before);
}

#[tokio::test]
async fn the_password_opens_and_the_scheme_has_no_case() {
    let gateway = Gateway::start().await;
    let right = basic(format!("{USER}:{PASSWORD}"));
    let (_, encoded) = right.split_once(' ').unwrap();
    for value in [&right, &format!("basic {encoded}"), &format!("BASIC  {encoded}")] {
        gateway.send_as(value, "GET", HOSTS).await.is(200, &json!([]));
    }
}

#[tokio::test]
async fn malformed_and_wrong_credentials_are_403() {
    let gateway = Gateway::start().await;
    let right = basic(format!("{USER}:{PASSWORD}"));
    let (_, encoded) = right.split_once(' ').unwrap();
    let no_utf8 = basic(b"admin:\xff");
    for value in [
        "Basic",
        "Basic ",
        "Basic !!",
        "Basic YWRtaW4",
        encoded,
        &format!("Negotiate {encoded}"),
        &format!("Basic\t{encoded}"),
        &format!("{right} x"),
        &format!("{right}, {right}"),
        &format!("Basic {}", encoded.trim_end_matches('=')),
        &no_utf8,
        &basic(""),
        &basic("admin"),
        &basic(":"),
        &basic(format!(":{PASSWORD}")),
        &basic("admin:"),
        &basic("admin:wrong"),
        &basic(format!("admin:{PASSWORD}\0")),
        &basic(format!("admin:{}", "x".repeat(73))),
        &basic(format!("Admin:{PASSWORD}")),
        &basic(format!(" admin:{PASSWORD}")),
        &basic(format!("nobody:{PASSWORD}")),
    ] {
        let answer = gateway.raw_as(value.as_bytes(), "GET", HOSTS.as_bytes(), b"").await;
        answer.refused(403, "user name and password");
    }
    for value in [&b"Basic \xff\xfe"[..], b"\xc3\xa4"] {
        gateway.raw_as(value, "GET", HOSTS.as_bytes(), b"").await.refused(403, "user name");
    }
}

#[tokio::test]
async fn bearer_token_that_is_not_accepted_is_401_with_a_challenge() {
    let gateway = Gateway::start().await;
    for value in ["Bearer x", "bearer a.b.c", "BEARER  YWRtaW46c2VjcmV0"] {
        let answer = gateway.raw_as(value.as_bytes(), "GET", HOSTS.as_bytes(), b"").await;
        answer.refused(401, "token");
        assert_eq!(answer.header("www-authenticate"), "Bearer error=\"invalid_token\"");
    }
    gateway.send_as("Bearer", "GET", HOSTS).await.refused(403, "user name and password");
}

#[tokio::test]
async fn more_than_60_failures_are_429_for_that_user_alone() {
    let gateway = Gateway::start().await;
    let wrong = basic(format!("{USER}:wrong"));
    for _ in 0..=60 {
        gateway.send_as(&wrong, "GET", HOSTS).await.refused(403, "user name and password");
    }
    let right = basic(format!("{USER}:{PASSWORD}"));
    for value in [wrong, right] {
        let answer = gateway.send_as(&value, "GET", HOSTS).await;
        answer.refused(429, "too many failed log-ins");
        assert_eq!(answer.header("retry-after"), "60");
    }
    let other = basic(format!("other:{PASSWORD}"));
    gateway.send_as(&other, "GET", HOSTS).await.is(200, &json!([]));
    gateway.send_as("", "GET", "/healthz").await.is(200, &json!({"status": "ok"}));
}

#[tokio::test]
async fn remembered_credentials_are_not_throttled_by_failures_of_others() {
    let gateway = Gateway::start().await;
    let right = basic(format!("{USER}:{PASSWORD}"));
    gateway.send_as(&right, "GET", HOSTS).await.is(200, &json!([]));
    for _ in 0..=60 {
        let wrong = basic(format!("{USER}:wrong"));
        gateway.send_as(&wrong, "GET", HOSTS).await.refused(403, "user name and password");
    }
    let wrong = gateway.send_as(&basic(format!("{USER}:wrong")), "GET", HOSTS).await;
    wrong.refused(429, "too many failed log-ins");
    gateway.send_as(&right, "GET", HOSTS).await.is(200, &json!([]));
}

#[tokio::test]
async fn cross_site_requests_are_rejected_with_403() {
    let allowed_origins = vec!["https://ops.example.com".parse().unwrap()];
    let config = Config { allowed_origins, ..Config::default() };
    let trusted_proxies = vec!["127.0.0.1".to_owned()];
    let gateway = Setup { trusted_proxies, config, ..Setup::default() }.start().await;
    let authorization = basic(format!("{USER}:{PASSWORD}"));
    let asked = async |path: &str, lines: &str| {
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: fleet:8000\r\nConnection: close\r\n\
             Authorization: {authorization}\r\n{lines}\r\n"
        );
        gateway.bytes(head.as_bytes()).await
    };
    for lines in [
        "Sec-Fetch-Site: cross-site\r\n",
        "Origin: https://example.com\r\n",
        "Origin: null\r\n",
        "Origin: https://fleet:8000\r\nSec-Fetch-Site: cross-site\r\n",
    ] {
        asked(HOSTS, lines).await.refused(403, "cross-site request");
        asked("/nothing", lines).await.refused(403, "cross-site request");
        // Paths without authentication are exempt.
        assert_eq!(asked("/healthz", lines).await.status, 200);
    }
    for lines in [
        "",
        "Sec-Fetch-Site: none\r\n",
        "Origin: https://fleet:8000\r\nSec-Fetch-Site: same-origin\r\n",
        "Origin: https://ops.example.com\r\nSec-Fetch-Site: cross-site\r\n",
        "Origin: https://outside\r\nX-Forwarded-Host: outside\r\n",
    ] {
        asked(HOSTS, lines).await.is(200, &json!([]));
    }
}

#[tokio::test]
async fn request_needs_exactly_one_host() {
    let gateway = Gateway::start().await;
    let authorization = basic(format!("{USER}:{PASSWORD}"));
    for lines in ["", "Host: a\r\nHost: a\r\n", "Host: a\r\nHost: b\r\n"] {
        let asked = async |path: &str| {
            let head = format!(
                "GET {path} HTTP/1.1\r\n{lines}Connection: close\r\n\
                 Authorization: {authorization}\r\n\r\n"
            );
            gateway.bytes(head.as_bytes()).await
        };
        for path in [HOSTS, "/docs", "/metrics", "/nothing"] {
            asked(path).await.refused(400, "exactly one Host header");
        }
        for path in ["/healthz", "/readyz"] {
            assert_eq!(asked(path).await.status, 200, "{path}");
        }
    }
}

#[tokio::test]
async fn paths_that_authenticate_by_themselves_are_exact() {
    let open = "/api/v0/secrets/open".to_owned();
    let gateway = Setup { self_auths: vec![open], ..Setup::default() }.start().await;
    for path in ["/api/v0/secrets/open", "/api/v0/secrets/open/", "/api/v0/secrets/open?x=y"] {
        gateway.send_as("", "GET", path).await.refused(404, "path");
    }
    for path in [
        "/api/v0/secrets/open//",
        "/api/v0/secrets/open/x",
        "/api/v0/secrets/Open",
        "/api/v0/secrets/%6fpen",
        "/api/v0/secrets",
        "//api/v0/secrets/open",
    ] {
        gateway.raw_as(b"", "GET", path.as_bytes(), b"").await.refused(403, "user name");
    }
}

#[tokio::test]
async fn who_asks_and_the_request_id_travel_with_the_message() {
    let gateway = Gateway::with_executor(Ok(json!({}))).await;
    let restart = "/api/v0/cluster/c1/restart";
    let answer = gateway.send_with(("x-request-id", "abc-1"), "PUT", restart, "").await;
    assert_eq!(answer.header("x-request-id"), "abc-1");
    for unfit in ["", "a b", &"x".repeat(65)] {
        let answer = gateway.send_with(("x-request-id", unfit), "PUT", restart, "").await;
        assert_eq!(answer.header("x-request-id").len(), 36, "{unfit}");
    }
    let contexts: Vec<_> = gateway.restarts().into_iter().map(|call| call.context).collect();
    assert_eq!(contexts.len(), 4);
    assert!(contexts.iter().all(|context| context.principal == USER));
    assert_eq!(contexts[0].request_id, "abc-1");
    let refused = gateway.send_as("", "GET", HOSTS).await;
    assert_eq!(refused.header("x-request-id").len(), 36);
}

fn config(plugins: Value) -> Config {
    let authentication_plugins = serde_json::from_value(plugins).unwrap();
    Config { authentication_plugins, ..Config::default() }
}

/// The status and the detail of an answer to somebody with that certificate and those credentials.
async fn asked(
    service: &Service,
    certificate: Option<&str>,
    authorization: &str,
    (method, path): (&str, &str),
) -> (u16, String) {
    let certificate = certificate.map(|name| ClientCertificate {
        common_name: Some(name.to_owned()),
        issuer: "CA".to_owned(),
    });
    let peer = Peer { address: "10.0.0.7:4711".parse().unwrap(), certificate };
    let request = Request::builder().method(method).uri(format!("{V0}{path}"));
    let request = request.extension(ConnectInfo(peer)).header("host", "a");
    let request = request.header("authorization", authorization);
    let request = request.body(axum::body::Body::empty()).unwrap();
    let response = service.answer(request).await;
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    (status, body["detail"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn plugins_are_tried_in_their_order_each_with_its_role() {
    let gateway = Gateway::start().await;
    let users = json!({"ann": {"hash": bcrypt::hash(PASSWORD, 4).unwrap()}});
    let plugins = json!([
        {"name": "commissaire_http.authentication.httpauthclientcert", "cn": "web", "role": "reader"},
        {"name": "httpbasicauth", "users": users},
        {"name": "httpauthclientcert", "cn": "ops", "role": "operator"},
    ]);
    let service = gateway.service_with(&config(plugins)).await.unwrap();
    let (ann, wrong) = (basic(format!("ann:{PASSWORD}")), basic("ann:wrong"));
    // Twice: what is remembered changes no order.
    for _ in 0..2 {
        for (certificate, authorization, status, words) in [
            (None, "", 403, "user name and password"),
            (None, ann.as_str(), 404, "there is no network"),
            (Some("web"), "", 403, "web has the role reader"),
            (Some("web"), ann.as_str(), 403, "web has the role reader"),
            (Some("ops"), "", 403, "ops has the role operator"),
            (Some("ops"), ann.as_str(), 404, "there is no network"),
            (Some("other"), "", 403, "user name and password"),
            (Some("other"), ann.as_str(), 404, "there is no network"),
        ] {
            let call = ("DELETE", "/network/n1");
            let (got, detail) = asked(&service, certificate, authorization, call).await;
            assert_eq!(got, status, "{certificate:?} {authorization} {detail}");
            assert!(detail.contains(words), "{certificate:?} {authorization} {detail}");
        }
    }
    // A certificate is no way round the limit for passwords.
    for _ in 0..=60 {
        assert_eq!(asked(&service, Some("ops"), &wrong, ("GET", "/hosts")).await.0, 200);
    }
    assert_eq!(asked(&service, None, &wrong, ("GET", "/hosts")).await.0, 429);
    assert_eq!(asked(&service, Some("ops"), &wrong, ("GET", "/hosts")).await.0, 200);
}

#[tokio::test]
async fn a_certificate_without_a_role_is_refused_and_told_what_to_configure() {
    let gateway = Gateway::start().await;
    let users = json!({"ann": {"hash": bcrypt::hash(PASSWORD, 4).unwrap()}});
    let plugins = json!([
        {"name": "httpauthclientcert"}, {"name": "httpbasicauth", "users": users},
    ]);
    let service = gateway.service_with(&config(plugins)).await.unwrap();
    let ann = basic(format!("ann:{PASSWORD}"));
    for (certificate, authorization, status, words) in [
        (Some("web"), "", 403, "configure `role` of the authentication plugin httpauthclientcert"),
        (Some("web"), ann.as_str(), 404, "there is no network"),
        (None, "", 403, "user name and password"),
    ] {
        let (got, detail) =
            asked(&service, certificate, authorization, ("GET", "/network/n1")).await;
        assert_eq!(got, status, "{certificate:?} {detail}");
        assert!(detail.contains(words), "{detail}");
    }
    // A certificate without a role is no way round the limit for passwords.
    let wrong = basic("ann:wrong");
    for _ in 0..=60 {
        assert_eq!(asked(&service, Some("web"), &wrong, ("GET", "/hosts")).await.0, 403);
    }
    assert_eq!(asked(&service, Some("web"), &wrong, ("GET", "/hosts")).await.0, 429);
}

#[tokio::test]
async fn plugin_without_its_options_or_that_nobody_knows_is_refused() {
    let gateway = Gateway::start().await;
    for (name, says) in [
        ("commissaire_http.authentication.keystonepasswordauth", "missing field `url`"),
        ("keystonetokenauth", "missing field `url`"),
        ("openshiftbearertokenauth", "missing field `openshift_endpoint`"),
        ("oidc", "missing field `issuer`"),
        ("htpasswd", "there is no authentication plugin"),
    ] {
        let config = config(json!([{"name": name}]));
        let error = gateway.service_with(&config).await.unwrap_err();
        let error = bus::error::chain(&error);
        assert!(error.contains(says), "{error}");
    }
}
