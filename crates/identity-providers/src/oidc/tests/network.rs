//! Documents over the network.

use std::time::Duration;

use serde_json::json;
use wiremock::matchers::{header, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::support::{RSA, options};
use crate::oidc::*;

const DISCOVERY: &str = "/.well-known/openid-configuration";

/// The verifier of an issuer at this URL.
async fn verifier(url: &str) -> Oidc {
    let options = serde_json::from_value(options(&json!({"issuer": url}))).unwrap();
    Oidc::new(options, &Files::System, Clock::System, &Lifecycle::new()).await.unwrap()
}

/// A token of that issuer.
fn token(url: &str) -> SecretString {
    let token = RSA.token(|_, claims| {
        claims["iss"] = json!(url);
        claims["exp"] = json!(10_000_000_000_u64);
        claims["iat"] = json!(0);
    });
    token.into()
}

async fn serve(server: &MockServer, at: &str, response: ResponseTemplate) {
    let mock = Mock::given(method("GET")).and(path(at)).and(header("accept", "application/json"));
    mock.respond_with(response).mount(server).await;
}

fn discovery(server: &MockServer) -> ResponseTemplate {
    let keys = format!("{}/keys", server.uri());
    ResponseTemplate::new(200).set_body_json(json!({"issuer": server.uri(), "jwks_uri": keys}))
}

fn keys() -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(json!({"keys": [RSA.jwk()]}))
}

/// Why a token is neither accepted nor rejected.
async fn unavailable(url: &str) -> String {
    match verifier(url).await.identify(&token(url)).await {
        Err(ProviderError::Unavailable(why)) => why,
        other => panic!("not unavailable: {other:?}"),
    }
}

#[tokio::test]
async fn documents_are_fetched_once_at_the_first_token() {
    let server = MockServer::start().await;
    serve(&server, DISCOVERY, discovery(&server)).await;
    serve(&server, "/keys", keys()).await;
    let verifier = verifier(&server.uri()).await;
    assert!(server.received_requests().await.unwrap().is_empty());
    for _ in 0..3 {
        assert_eq!(verifier.identify(&token(&server.uri())).await.unwrap().name, "corp:ann");
    }
    assert_eq!(server.received_requests().await.unwrap().len(), 2);
}

#[tokio::test]
async fn responses_other_than_a_document_are_named() {
    let large = "a".repeat(1024 * 1024);
    for (response, reason) in [
        (ResponseTemplate::new(500), "500 Internal Server Error"),
        (ResponseTemplate::new(204), "204 No Content"),
        (ResponseTemplate::new(302).insert_header("location", "/keys"), "302 Found"),
        (ResponseTemplate::new(200).set_body_string("<html>"), "is not a JSON object"),
        (ResponseTemplate::new(200).set_body_json(json!({"a": large})), "more than 1048576 bytes"),
    ] {
        let server = MockServer::start().await;
        serve(&server, DISCOVERY, response).await;
        serve(&server, "/keys", keys()).await;
        let why = unavailable(&server.uri()).await;
        assert!(why.contains(reason) && why.contains(&server.uri()), "{why}");
    }
}

#[tokio::test]
async fn an_issuer_that_does_not_listen_is_unavailable() {
    let server = MockServer::start().await;
    let url = server.uri();
    drop(server);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for url in [url, format!("http://127.0.0.1:{port}")] {
        let why = unavailable(&url).await;
        assert!(why.contains("does not answer"), "{why}");
    }
}

#[tokio::test]
async fn a_fetch_goes_on_when_its_request_is_cancelled() {
    let server = MockServer::start().await;
    serve(&server, DISCOVERY, discovery(&server).set_delay(Duration::from_millis(300))).await;
    serve(&server, "/keys", keys()).await;
    let (verifier, token) = (verifier(&server.uri()).await, token(&server.uri()));
    let cancelled = tokio::time::timeout(Duration::from_millis(30), verifier.identify(&token));
    assert!(cancelled.await.is_err());
    assert_eq!(verifier.identify(&token).await.unwrap().name, "corp:ann");
    assert_eq!(server.received_requests().await.unwrap().len(), 2);
}
