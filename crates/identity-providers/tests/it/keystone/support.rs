use std::time::Duration;

use identity_providers::keystone::{KeystonePassword, KeystoneToken};
use identity_providers::{Identity, ProviderError, Result};
use runtime::files::MemoryFiles;
use runtime::{Clock, Files};
use secrecy::SecretString;
use serde_json::{Value, json};
use wiremock::matchers::{header, method, path};
use wiremock::{Mock, MockBuilder, MockServer, ResponseTemplate};

pub(super) const PASSWORD: &str = "canary-password";
pub(super) const TOKEN: &str = "canary-token";
pub(super) const SERVICE_PASSWORD: &str = "canary-service-password";
pub(super) const OWN_TOKEN: &str = "canary-own-token";
pub(super) const CANARY: &str = "canary";

/// The file that has the password of the service user.
pub(super) const PASSWORD_FILE: &str = "/etc/commissaire/keystone-password";

const NOW: &str = "2026-11-21T12:00:00Z";

/// Of all tokens here: an hour later.
pub(super) const EXPIRES: &str = "2026-11-21T13:00:00.000000Z";

pub(super) fn clock() -> Clock {
    Clock::simulated(NOW.parse().unwrap())
}

pub(super) fn secret(text: &str) -> SecretString {
    SecretString::from(text)
}

pub(super) fn files() -> MemoryFiles {
    let files = MemoryFiles::default();
    files.write(PASSWORD_FILE, format!("{SERVICE_PASSWORD}\n"));
    files
}

fn with_url(url: &str, options: Value) -> Value {
    let Value::Object(mut options) = options else { panic!("options are an object") };
    options.insert("url".to_owned(), json!(url));
    Value::Object(options)
}

pub(super) async fn password_plugin(url: &str, options: Value) -> KeystonePassword {
    let options = serde_json::from_value(with_url(url, options)).unwrap();
    KeystonePassword::new(options, &Files::Memory(files()), clock()).await.unwrap()
}

pub(super) async fn token_plugin(url: &str, options: Value) -> KeystoneToken {
    token_plugin_with(url, options, files()).await
}

pub(super) async fn token_plugin_with(
    url: &str,
    options: Value,
    files: MemoryFiles,
) -> KeystoneToken {
    let options = serde_json::from_value(with_url(url, options)).unwrap();
    KeystoneToken::new(options, &Files::Memory(files), clock()).await.unwrap()
}

/// Options of a token plugin with a service user.
pub(super) fn with_service() -> Value {
    json!({"domain": "Default", "project": "fleet", "service-user": "commissaire",
        "service-password-file": PASSWORD_FILE})
}

/// The description of a token of `ann` for the project `fleet`.
pub(super) fn description() -> Value {
    json!({"token": {
        "methods": ["password"],
        "user": {"id": "7b7b", "name": "ann", "domain": {"id": "default", "name": "Default"}},
        "project": {"id": "4611", "name": "fleet", "domain": {"id": "default", "name": "Default"}},
        "roles": [{"id": "1", "name": "operator"}, {"id": "2", "name": "reader"}],
        "issued_at": "2026-11-21T12:00:00.000000Z",
        "expires_at": EXPIRES,
    }})
}

/// What both plugins make of it, with the domain and the project configured.
pub(super) fn ann() -> Identity {
    let groups = vec!["operator".to_owned(), "reader".to_owned()];
    Identity::new("ann", groups, Some(EXPIRES.parse().unwrap())).unwrap()
}

pub(super) fn issued(token: &str) -> ResponseTemplate {
    ResponseTemplate::new(201).insert_header("X-Subject-Token", token).set_body_json(description())
}

pub(super) fn validated() -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(description())
}

pub(super) fn on_issue() -> MockBuilder {
    Mock::given(method("POST")).and(path("/v3/auth/tokens"))
}

/// A validation of [`TOKEN`] that `authority` authorizes.
pub(super) fn on_validation(authority: &str) -> MockBuilder {
    let request = Mock::given(method("GET")).and(path("/v3/auth/tokens"));
    request.and(header("X-Subject-Token", TOKEN)).and(header("X-Auth-Token", authority))
}

/// A Keystone that issues [`OWN_TOKEN`] to the service user, and validates [`TOKEN`] with it.
pub(super) async fn healthy() -> MockServer {
    let server = MockServer::start().await;
    on_issue().respond_with(issued(OWN_TOKEN)).mount(&server).await;
    on_validation(OWN_TOKEN).respond_with(validated()).mount(&server).await;
    server
}

/// The number of requests with this method.
pub(super) async fn count(server: &MockServer, method: &str) -> usize {
    let requests = server.received_requests().await.unwrap();
    requests.iter().filter(|request| request.method.as_str() == method).count()
}

/// Has time pass without waiting for it.
pub(super) async fn pass(duration: Duration) {
    tokio::time::pause();
    tokio::time::advance(duration).await;
    tokio::time::resume();
}

#[track_caller]
pub(super) fn assert_rejected(result: &Result<Identity>) {
    assert!(matches!(result, Err(ProviderError::Rejected(_))), "{result:?}");
}

#[track_caller]
pub(super) fn assert_unavailable(result: &Result<Identity>) -> &str {
    match result {
        Err(ProviderError::Unavailable(message)) => message,
        _ => panic!("{result:?}"),
    }
}
