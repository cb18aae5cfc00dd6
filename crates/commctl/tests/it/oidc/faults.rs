//! Issuers that answer with something else.

use serde_json::json;
use wiremock::matchers::path;
use wiremock::{Mock, ResponseTemplate};

use super::failed;
use crate::support::issuer::{CANARY, World, refusal};

/// Answers of an issuer to one of its paths, before any other.
async fn answers(world: &World, at: &str, response: ResponseTemplate) {
    Mock::given(path(at)).respond_with(response).with_priority(1).mount(&world.issuer).await;
}

const DISCOVERY: &str = "/.well-known/openid-configuration";

#[tokio::test]
async fn discovery_documents_that_are_not_the_issuers_are_rejected() {
    for (fields, says) in [
        (
            json!({"issuer": "https://other.example.com"}),
            "of another issuer: https://other.example.com",
        ),
        (
            json!({"issuer": "http://127.0.0.1:1/\u{1b}"}),
            "of another issuer: http://127.0.0.1:1/\\u{1b}",
        ),
        (json!({"issuer": 7}), "is not a discovery document"),
        (json!({"token_endpoint": null}), "is not a discovery document"),
        (json!({"token_endpoint": "http://id.example.com/token"}), "does not begin with https://"),
        (json!({"authorization_endpoint": "file:///etc/passwd"}), "does not begin with https://"),
        (json!({"authorization_endpoint": "javascript:alert(1)"}), "does not begin with https://"),
        (json!({"authorization_endpoint": null}), "no authorization endpoint"),
    ] {
        let world = World::new().await;
        world.set(|state| state.discovery = fields);
        failed(&world.login(&[]).ends().await, &world, 1, &[&world.issuer.uri(), says]);
    }
    // The issuer is compared to the byte.
    let world = World::new().await;
    world.set(|state| state.discovery = json!({"issuer": format!("{}/", world.issuer.uri())}));
    failed(&world.login(&[]).ends().await, &world, 1, &["of another issuer"]);
    for (fields, says) in [
        (json!({"device_authorization_endpoint": null}), "log in without --device"),
        (
            json!({"device_authorization_endpoint": "http://id.example.com/device"}),
            "does not begin with https://",
        ),
    ] {
        let world = World::new().await;
        world.set(|state| state.discovery = fields);
        failed(&world.login(&["--device"]).ends().await, &world, 1, &[says]);
    }
}

#[tokio::test]
async fn documents_are_fetched_without_redirects_and_within_limits() {
    let redirect =
        ResponseTemplate::new(302).insert_header("location", "https://other.example.com/");
    let huge = ResponseTemplate::new(200).set_body_string("x".repeat(1024 * 1024));
    for (response, status, says) in [
        (redirect, 3, "a redirect, which is not followed"),
        (huge, 3, "more than 262144 bytes"),
        (ResponseTemplate::new(503).set_body_string(CANARY), 3, "it answers 503"),
        (ResponseTemplate::new(404).set_body_string(CANARY), 1, "answers 404"),
        (ResponseTemplate::new(200).set_body_string(CANARY), 1, "is not a discovery document"),
    ] {
        let world = World::new().await;
        answers(&world, DISCOVERY, response).await;
        failed(&world.login(&[]).ends().await, &world, status, &[&world.issuer.uri(), says]);
    }
    let world = World::new().await;
    let mut provider = world.provider();
    provider["issuer"] = json!("http://127.0.0.1:1");
    world.offers(json!({"password": false, "providers": [provider]}));
    failed(
        &world.login(&[]).ends().await,
        &world,
        3,
        &["cannot reach the identity provider http://127.0.0.1:1"],
    );
    for issuer in ["http://id.example.com", "ftp://127.0.0.1", "id"] {
        let world = World::new().await;
        let mut provider = world.provider();
        provider["issuer"] = json!(issuer);
        world.offers(json!({"password": false, "providers": [provider]}));
        failed(&world.login(&[]).ends().await, &world, 1, &[issuer]);
    }
}

#[tokio::test]
async fn answers_that_are_no_tokens_are_rejected_without_showing_them() {
    let redirect =
        ResponseTemplate::new(307).insert_header("location", "https://other.example.com/");
    for (response, status, says) in [
        (refusal("invalid_grant", "no\u{1b}[31m"), 1, "no\\u{1b}[31m (invalid_grant)"),
        (redirect, 3, "a redirect, which is not followed"),
        (
            ResponseTemplate::new(200).set_body_string("canary".repeat(100_000)),
            3,
            "more than 262144 bytes",
        ),
        (ResponseTemplate::new(500).set_body_string(CANARY), 3, "it answers 500"),
        (ResponseTemplate::new(200).set_body_string(CANARY), 1, "neither tokens nor an error"),
        (ResponseTemplate::new(400).set_body_string(CANARY), 1, "neither tokens nor an error"),
        (
            ResponseTemplate::new(200)
                .set_body_json(json!({"access_token": "canary canary", "token_type": "Bearer"})),
            1,
            "a token that no header can carry",
        ),
    ] {
        let world = World::new().await;
        world.set(|state| state.next = vec![response]);
        failed(&world.logs_in(&[]).await, &world, status, &[&world.issuer.uri(), says]);
    }
}

#[tokio::test]
async fn files_that_cannot_be_written_are_found_before_the_log_in() {
    let world = World::new().await;
    // The directory of the tokens is a file.
    world.home().write(".commissaire-tokens", "");
    let run = world.login(&[]).ends().await;
    assert_eq!(run.status, 1, "{run:?}");
    assert!(!run.stderr.contains("to log in, open"), "{run:?}");
    assert!(run.stderr.contains(".commissaire-tokens is not a directory"), "{run:?}");
    assert_eq!(world.issuer.received_requests().await.unwrap().len(), 0);
}

#[tokio::test]
async fn tokens_that_cannot_be_saved_are_revoked() {
    let world = World::new().await;
    let mut browser = world.login(&[]);
    let callback = world.agrees(&browser.address().await);
    // In the meantime, the file cannot be replaced any more.
    std::fs::create_dir(world.token_file()).unwrap();
    crate::support::issuer::get(&callback).await;
    let run = browser.ends().await;
    assert!(run.status == 1 && run.stderr.contains("cannot write to "), "{run:?}");
    let form = world.set(|state| state.forms.pop().unwrap());
    assert_eq!(form["token"], "canary-refresh-1");
}

#[tokio::test]
async fn new_token_that_has_expired_points_to_the_clock() {
    let world = World::new().await;
    let mut provider = world.provider();
    provider["token"] = json!("id");
    world.offers(json!({"password": false, "providers": [provider]}));
    world.set(|state| state.claims = json!({"exp": 1_700_000_000}));
    let says =
        ["expired at 2023-11-14T22:13:20Z, but this machine's clock says ", "check the clock"];
    failed(&world.logs_in(&[]).await, &world, 1, &says);
}
