use std::time::Duration;

use serde_json::json;
use wiremock::{MockServer, ResponseTemplate};

use super::support::*;

async fn validates(authority: &str, response: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    on_issue().respond_with(issued(OWN_TOKEN)).mount(&server).await;
    on_validation(authority).respond_with(response).mount(&server).await;
    server
}

#[tokio::test]
async fn valid_token_gives_its_user_with_the_roles_and_is_remembered_for_300_s() {
    let server = healthy().await;
    let plugin = token_plugin(&server.uri(), with_service()).await;
    let token = secret(TOKEN);
    assert_eq!(plugin.remembered(&token), None);
    assert_eq!(plugin.identify(&token).await, Ok(ann()));
    pass(Duration::from_secs(290)).await;
    assert_eq!(plugin.remembered(&token), Some(ann()));
    assert_eq!(plugin.remembered(&secret("other")), None);
    assert_eq!(plugin.identify(&token).await, Ok(ann()));
    assert_eq!(count(&server, "GET").await, 1);
    pass(Duration::from_secs(10)).await;
    assert_eq!(plugin.remembered(&token), None);
    assert_eq!(plugin.identify(&token).await, Ok(ann()));
    assert_eq!(count(&server, "GET").await, 2);
}

#[tokio::test]
async fn token_is_not_remembered_after_it_has_expired() {
    let mut answer = description();
    answer["token"]["expires_at"] = json!("2026-11-21T12:01:00.000000Z");
    let server = validates(OWN_TOKEN, validated().set_body_json(answer)).await;
    let plugin = token_plugin(&server.uri(), with_service()).await;
    let token = secret(TOKEN);
    plugin.identify(&token).await.unwrap();
    assert!(plugin.remembered(&token).is_some());
    pass(Duration::from_mins(1)).await;
    assert_eq!(plugin.remembered(&token), None);
    assert_rejected(&plugin.identify(&token).await);
    assert_eq!(count(&server, "GET").await, 2);
}

#[tokio::test]
async fn unknown_token_is_rejected_and_not_remembered() {
    let server = validates(OWN_TOKEN, ResponseTemplate::new(404)).await;
    let plugin = token_plugin(&server.uri(), with_service()).await;
    for requests in 1..=2 {
        assert_rejected(&plugin.identify(&secret(TOKEN)).await);
        assert_eq!(plugin.remembered(&secret(TOKEN)), None);
        assert_eq!(count(&server, "GET").await, requests);
    }
}

#[tokio::test]
async fn token_of_another_domain_or_scope_or_time_is_rejected_and_not_remembered() {
    for (pointer, value) in [
        ("/token/user/domain/name", "corp"),
        ("/token/project/name", "sandbox"),
        ("/token/project/domain/name", "corp"),
        ("/token/expires_at", "2026-11-21T11:59:59.000000Z"),
    ] {
        let mut answer = description();
        *answer.pointer_mut(pointer).unwrap() = json!(value);
        let server = validates(OWN_TOKEN, validated().set_body_json(answer)).await;
        let plugin = token_plugin(&server.uri(), with_service()).await;
        assert_rejected(&plugin.identify(&secret(TOKEN)).await);
        assert_eq!(plugin.remembered(&secret(TOKEN)), None, "{pointer}");
    }
}

#[tokio::test]
async fn without_a_service_user_the_token_validates_itself() {
    let server = validates(TOKEN, validated()).await;
    let url = format!("{}/v3/auth/tokens", server.uri());
    let plugin = token_plugin(&url, json!({})).await;
    let identity = plugin.identify(&secret(TOKEN)).await.unwrap();
    assert_eq!(identity.name, "ann@Default");
    assert_eq!(identity.groups, ["operator@fleet@Default", "reader@fleet@Default"]);
    assert_eq!(identity.expires, ann().expires);
    assert_eq!(count(&server, "POST").await, 0);
}

#[tokio::test]
async fn without_a_service_user_401_is_a_rejection_and_404_a_wrong_url() {
    let rejecting = validates(TOKEN, ResponseTemplate::new(401)).await;
    let plugin = token_plugin(&rejecting.uri(), json!({})).await;
    assert_rejected(&plugin.identify(&secret(TOKEN)).await);
    assert_eq!(count(&rejecting, "GET").await, 1, "there is nothing to renew");
    let other_server = MockServer::start().await;
    let plugin = token_plugin(&other_server.uri(), json!({})).await;
    let result = plugin.identify(&secret(TOKEN)).await;
    let message = assert_unavailable(&result);
    assert!(message.contains("404 Not Found at /v3/auth/tokens"), "{message}");
}

#[tokio::test]
async fn tokens_that_cannot_be_valid_are_rejected_without_a_request() {
    let server = healthy().await;
    let plugin = token_plugin(&server.uri(), with_service()).await;
    for invalid in ["", "a\nX-Auth-Token: b", "a\0", &"x".repeat(4097)] {
        assert_rejected(&plugin.identify(&secret(invalid)).await);
    }
    assert_eq!(server.received_requests().await.unwrap().len(), 0);
}
