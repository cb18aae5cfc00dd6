//! Principals that an identity provider knows, with the API server of the stand-in over TLS.

mod login;
mod real;
mod tokens;

use std::path::PathBuf;

use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Request};
use http_gateway::peer::Peer;
use http_gateway::{Config, Service};
use serde_json::{Value, json};
use simulated_kubernetes::{Fault, FaultAction, MASTERS, Pki, Settings, SimulatedKubernetes};
use tempfile::TempDir;
use testbed::log::Log;
use tokio::net::TcpListener;

use crate::support::{Gateway, PASSWORD, USER, V0, basic};

/// The token of the service's account in the stand-in.
const ACCOUNT: &str = "canary-of-the-account";

/// The token of a user in the stand-in.
const ANN: &str = "canary-of-ann";

/// The audience of tokens that the stand-in knows.
const AUDIENCE: &str = "https://kubernetes.default.svc.cluster.local";

/// The paths of the reviews that both ways request.
const REVIEWS: &str = "/apis/authentication.k8s.io/v1/";

/// An OpenShift over TLS.
struct OpenShift {
    api: SimulatedKubernetes,
    endpoint: String,
    folder: TempDir,
}

impl OpenShift {
    async fn start(gateway: &Gateway) -> Self {
        let start = "2026-11-28T12:00:00Z".parse().unwrap();
        let api = SimulatedKubernetes::new(Settings { seed: 1, start });
        api.add_user(ACCOUNT, "system:serviceaccount:ops:commissaire", &[MASTERS]);
        api.add_user(ANN, "ann", &["web-team", "all"]);
        let (pki, folder) = (Pki::new().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(folder.path().join("ca.pem"), pki.authority_pem()).unwrap();
        std::fs::write(folder.path().join("token"), format!("{ACCOUNT}\n")).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("https://{}", listener.local_addr().unwrap());
        let serving = api.clone();
        gateway.life.spawn("API server", async move {
            serving.serve(listener, &pki).await.unwrap();
        });
        Self { api, endpoint, folder }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The options of the plugin: by TokenReviews, or with the caller's own token.
    fn options(&self, has_account: bool) -> Value {
        let mut options = json!({
            "name": "commissaire_http.authentication.openshiftbearertokenauth",
            "openshift_endpoint": format!("{}/version", self.endpoint),
            "certificate_authority_path": self.file("ca.pem"),
            "roles": {"web-team": "operator"},
        });
        if has_account {
            options["token_path"] = json!(self.file("token"));
        }
        options
    }
}

fn config(plugins: Value) -> Config {
    let authentication_plugins = serde_json::from_value(plugins).unwrap();
    Config { authentication_plugins, ..Config::default() }
}

/// The response to a request with this `Authorization`.
async fn send(
    service: &Service,
    method: &str,
    path: &str,
    authorization: &str,
) -> (u16, Value, HeaderMap) {
    send_with(service, method, path, &[("authorization", authorization)]).await
}

/// The answer to a request with these headers.
async fn send_with(
    service: &Service,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> (u16, Value, HeaderMap) {
    request(service, method, path, headers, String::new()).await
}

async fn request(
    service: &Service,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: String,
) -> (u16, Value, HeaderMap) {
    let peer = Peer { address: "10.0.0.7:4711".parse().unwrap(), certificate: None };
    let request = Request::builder().method(method).uri(format!("{V0}{path}"));
    let request = request.extension(ConnectInfo(peer)).header("host", "a");
    let request =
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let response = service.answer(request.body(axum::body::Body::from(body)).unwrap()).await;
    let (head, body) = response.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    (head.status.as_u16(), serde_json::from_slice(&body).unwrap(), head.headers)
}

/// The answer to a request with a body.
async fn send_with_body(
    service: &Service,
    method: &str,
    path: &str,
    authorization: &str,
    body: &Value,
) -> (u16, Value, HeaderMap) {
    request(service, method, path, &[("authorization", authorization)], body.to_string()).await
}

async fn is(service: &Service, authorization: &str, status: u16, words: &str) {
    let (got, body, headers) = send(service, "DELETE", "/network/n1", authorization).await;
    let detail = body["detail"].as_str().unwrap_or_default();
    assert_eq!(got, status, "{authorization}: {detail}");
    assert!(detail.contains(words), "{authorization}: {detail}");
    let challenge = headers.get("www-authenticate").map(|value| value.to_str().unwrap());
    let expected = (status == 401).then_some("Bearer error=\"invalid_token\"");
    assert_eq!(challenge, expected, "{authorization}: {detail}");
}

#[tokio::test]
async fn tokens_of_openshift_are_accepted_in_both_ways_and_their_groups_give_roles() {
    let gateway = Gateway::start().await;
    let openshift = OpenShift::start(&gateway).await;
    openshift.api.add_user("of-bob", "bob", &["dba"]);
    let log = Log::capture();
    for has_account in [true, false] {
        let plugins = json!([openshift.options(has_account)]);
        let service = gateway.service_with(&config(plugins)).await.unwrap();
        // The role operator does not suffice to delete a network: who asks is known.
        let known = "openshift:ann has the role operator";
        is(&service, &format!("Bearer {ANN}"), 403, known).await;
        is(&service, &format!("bearer  {ANN}"), 403, known).await;
        is(&service, "Bearer wrong", 401, "token").await;
        is(&service, "Bearer two words", 401, "token").await;
        is(&service, "Bearer \u{20}", 403, "user name and password").await;
        is(&service, ANN, 403, "user name and password").await;
        is(&service, &basic(format!("ann:{ANN}")), 403, "user name and password").await;
        let without = "you are openshift:bob with the groups openshift:dba, openshift:system:authenticated, and have no role here";
        is(&service, "Bearer of-bob", 403, without).await;
    }
    let text = log.text();
    assert!(!text.contains(ANN) && !text.contains(ACCOUNT) && !text.contains("of-bob"), "{text}");
    assert!(text.contains("refused: no role"), "{text}");
}

#[tokio::test]
async fn other_plugins_have_their_turn_beside_a_provider() {
    let gateway = Gateway::start().await;
    let openshift = OpenShift::start(&gateway).await;
    let users = json!({USER: {"hash": bcrypt::hash(PASSWORD, 4).unwrap()}});
    let plugins = json!([openshift.options(true), {"name": "httpbasicauth", "users": users}]);
    let service = gateway.service_with(&config(plugins)).await.unwrap();
    let right = basic(format!("{USER}:{PASSWORD}"));
    openshift.api.set_api_unavailable(true);
    is(&service, &right, 404, "there is no network").await;
    is(&service, &basic(format!("{USER}:wrong")), 403, "user name and password").await;
    is(&service, &format!("Bearer {ANN}"), 503, "an identity provider does not answer").await;
    openshift.api.set_api_unavailable(false);
    is(&service, &format!("Bearer {ANN}"), 403, "has the role operator").await;
}

#[tokio::test]
async fn provider_that_does_not_say_is_503_and_never_lets_anybody_in() {
    let gateway = Gateway::start().await;
    let openshift = OpenShift::start(&gateway).await;
    let other = OpenShift::start(&gateway).await;
    let foreign = json!({"certificate_authority_path": other.file("ca.pem")});
    let unknown = json!({"token_path": other.file("nothing")});
    for (has_account, changed) in [(true, &foreign), (false, &foreign), (true, &unknown)] {
        let mut options = openshift.options(has_account);
        options.as_object_mut().unwrap().extend(changed.as_object().unwrap().clone());
        options["default_role"] = json!("admin");
        let service = gateway.service_with(&config(json!([options]))).await.unwrap();
        is(&service, &format!("Bearer {ANN}"), 503, "an identity provider does not answer").await;
    }
    for (path, has_account) in [("/version", false), (REVIEWS, false), (REVIEWS, true)] {
        let mut options = openshift.options(has_account);
        options["default_role"] = json!("admin");
        let service = gateway.service_with(&config(json!([options]))).await.unwrap();
        for (status, body) in [
            (200, "<html>"),
            (201, r#"{"status": "ok"}"#),
            (302, ""),
            (404, "{}"),
            (429, "{}"),
            (500, "{}"),
        ] {
            if (path, status) == ("/version", 200) {
                // Any body will do: who it is, the next request says.
                continue;
            }
            let (headers, body) = (Vec::new(), body.to_owned());
            openshift
                .api
                .fault(Fault::new(FaultAction::Answer { status, headers, body }).on_path(path));
            let detail = "an identity provider does not answer";
            is(&service, &format!("Bearer {ANN}"), 503, detail).await;
            openshift.api.clear_faults();
        }
        is(&service, &format!("Bearer {ANN}"), 403, "has the role operator").await;
    }
}

#[tokio::test]
async fn token_for_another_audience_is_not_accepted() {
    let gateway = Gateway::start().await;
    let openshift = OpenShift::start(&gateway).await;
    let token = format!("Bearer {ANN}");
    for (audiences, status, words) in [
        (json!([]), 403, "has the role operator"),
        (json!(["other", AUDIENCE]), 403, "has the role operator"),
        (json!(["other"]), 401, "a token"),
    ] {
        let mut options = openshift.options(true);
        options["audiences"] = audiences;
        let service = gateway.service_with(&config(json!([options]))).await.unwrap();
        is(&service, &token, status, words).await;
    }
    let mut options = openshift.options(false);
    options["audiences"] = json!(["other"]);
    let error = gateway.service_with(&config(json!([options]))).await.unwrap_err();
    assert!(bus::error::chain(&error).contains("`token_path`"), "{error:?}");
}

#[tokio::test]
async fn everybody_learns_who_they_are() {
    let gateway = Gateway::start().await;
    let openshift = OpenShift::start(&gateway).await;
    let users = json!({USER: {"hash": bcrypt::hash(PASSWORD, 4).unwrap(), "role": "reader"}});
    let plugins = json!([openshift.options(true), {"name": "httpbasicauth", "users": users}]);
    let service = gateway.service_with(&config(plugins)).await.unwrap();
    let groups = ["openshift:web-team", "openshift:all", "openshift:system:authenticated"];
    let everywhere = |role: &str| json!([{"role": role, "clusters": ["*"], "run_commands": false}]);
    for (authorization, expected) in [
        (
            format!("Bearer {ANN}"),
            json!({"name": "openshift:ann", "role": "operator", "rights": everywhere("operator"), "authenticator": "provider",
                   "groups": groups, "until": null}),
        ),
        (
            basic(format!("{USER}:{PASSWORD}")),
            json!({"name": USER, "role": "reader", "rights": everywhere("reader"), "authenticator": "password", "groups": [],
                   "until": null}),
        ),
    ] {
        let (status, body, _) = send(&service, "GET", "/whoami", &authorization).await;
        assert_eq!((status, body), (200, expected));
    }
}

#[tokio::test]
async fn configurations_of_the_original_start_without_their_providers() {
    let gateway = Gateway::start().await;
    let log = Log::capture();
    let prefix = "commissaire_http.authentication";
    let nowhere = "https://127.0.0.1:1";
    let plugins = json!([
        {"name": format!("{prefix}.keystonepasswordauth"), "url": format!("{nowhere}/v3/auth/tokens"),
         "domain": "Default"},
        {"name": format!("{prefix}.keystonetokenauth"), "url": format!("{nowhere}/v3/auth/tokens")},
        {"name": format!("{prefix}.openshiftbearertokenauth"), "openshift_endpoint": nowhere},
    ]);
    let service = gateway.service_with(&config(plugins)).await.unwrap();
    let warnings = log.lines().iter().filter(|line| line.contains("no user has a role")).count();
    assert_eq!(warnings, 3, "{}", log.text());
    for authorization in [basic("ann:password"), "Bearer x".to_owned()] {
        is(&service, &authorization, 503, "an identity provider does not answer").await;
    }
}

#[tokio::test]
async fn two_issuers_need_different_prefixes() {
    let gateway = Gateway::start().await;
    let issuer = |number: u8, prefix: &str| {
        json!({"name": "oidc", "issuer": format!("https://id{number}.example.com"),
               "audience": "commissaire", "prefix": prefix})
    };
    let plugins = |second: &str| config(json!([issuer(1, "corp"), issuer(2, second)]));
    gateway.service_with(&plugins("partner")).await.unwrap();
    for taken in ["corp", "openshift", "enroll"] {
        let error = gateway.service_with(&plugins(taken)).await.unwrap_err();
        let error = bus::error::chain(&error);
        assert!(error.contains("prefix") && error.contains(taken), "{error}");
    }
}

#[tokio::test]
async fn wrong_passwords_count_while_a_provider_does_not_answer() {
    let gateway = Gateway::start().await;
    let users = json!({USER: {"hash": bcrypt::hash(PASSWORD, 4).unwrap()}});
    let keystone = json!({"name": "keystonepasswordauth", "url": "https://127.0.0.1:1"});
    let plugins = json!([keystone, {"name": "httpbasicauth", "users": users}]);
    let service = gateway.service_with(&config(plugins)).await.unwrap();
    let wrong = basic(format!("{USER}:wrong"));
    for _ in 0..=60 {
        is(&service, &wrong, 503, "an identity provider does not answer").await;
    }
    is(&service, &wrong, 429, "too many failed log-ins").await;
}
