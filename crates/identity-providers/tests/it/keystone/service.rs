//! The gateway's own token.

use std::time::Duration;

use futures_util::future::join_all;
use runtime::files::MemoryFiles;
use serde_json::json;
use wiremock::matchers::body_json;
use wiremock::{MockServer, ResponseTemplate};

use super::support::*;

const RENEWED: &str = "canary-own-token-renewed";

/// Rejects [`OWN_TOKEN`], which it issues first, and accepts [`RENEWED`], which it issues then.
async fn with_revoked_own_token() -> MockServer {
    let server = MockServer::start().await;
    on_issue().respond_with(issued(OWN_TOKEN)).up_to_n_times(1).mount(&server).await;
    on_issue().respond_with(issued(RENEWED)).mount(&server).await;
    on_validation(OWN_TOKEN).respond_with(ResponseTemplate::new(401)).mount(&server).await;
    on_validation(RENEWED).respond_with(validated()).mount(&server).await;
    server
}

#[tokio::test]
async fn start_sends_no_request_and_the_first_token_fetches_ours() {
    let server = MockServer::start().await;
    let user =
        json!({"name": "commissaire", "domain": {"name": "ops"}, "password": SERVICE_PASSWORD});
    let identity = json!({"methods": ["password"], "password": {"user": user}});
    let scope = json!({"project": {"name": "services", "domain": {"name": "ops"}}});
    let login = json!({"auth": {"identity": identity, "scope": scope}});
    on_issue().and(body_json(login)).respond_with(issued(OWN_TOKEN)).mount(&server).await;
    on_validation(OWN_TOKEN).respond_with(validated()).mount(&server).await;
    let mut options = with_service();
    options["service-domain"] = json!("ops");
    options["service-project"] = json!("services");
    let plugin = token_plugin(&server.uri(), options).await;
    assert_eq!(server.received_requests().await.unwrap().len(), 0);
    assert_eq!(plugin.identify(&secret(TOKEN)).await, Ok(ann()));
}

#[tokio::test]
async fn fifty_concurrent_requests_fetch_one_token() {
    let server = MockServer::start().await;
    let slow = issued(OWN_TOKEN).set_delay(Duration::from_millis(200));
    on_issue().respond_with(slow).mount(&server).await;
    on_validation(OWN_TOKEN).respond_with(validated()).mount(&server).await;
    let plugin = token_plugin(&server.uri(), with_service()).await;
    let token = secret(TOKEN);
    let results = join_all((0..50).map(|_| plugin.identify(&token))).await;
    assert!(results.iter().all(|result| *result == Ok(ann())), "{results:?}");
    assert_eq!(count(&server, "POST").await, 1);
}

#[tokio::test]
async fn fifty_concurrent_requests_renew_a_rejected_token_once() {
    let server = with_revoked_own_token().await;
    let plugin = token_plugin(&server.uri(), with_service()).await;
    let token = secret(TOKEN);
    let results = join_all((0..50).map(|_| plugin.identify(&token))).await;
    assert!(results.iter().all(|result| *result == Ok(ann())), "{results:?}");
    assert_eq!(count(&server, "POST").await, 2);
}

#[tokio::test]
async fn failed_fetch_is_the_result_of_all_that_wait_for_it_and_is_not_remembered() {
    let server = MockServer::start().await;
    let broken = ResponseTemplate::new(503).set_delay(Duration::from_millis(200));
    on_issue().respond_with(broken).up_to_n_times(1).mount(&server).await;
    on_issue().respond_with(issued(OWN_TOKEN)).mount(&server).await;
    on_validation(OWN_TOKEN).respond_with(validated()).mount(&server).await;
    let plugin = token_plugin(&server.uri(), with_service()).await;
    let token = secret(TOKEN);
    for result in join_all((0..50).map(|_| plugin.identify(&token))).await {
        assert_unavailable(&result);
    }
    assert_eq!(count(&server, "POST").await, 1);
    assert_eq!(plugin.identify(&token).await, Ok(ann()));
    assert_eq!(count(&server, "POST").await, 2);
}

#[tokio::test]
async fn fetch_that_is_cancelled_is_begun_by_the_next_request() {
    let server = MockServer::start().await;
    let silent = issued(OWN_TOKEN).set_delay(Duration::from_mins(1));
    on_issue().respond_with(silent).up_to_n_times(1).mount(&server).await;
    on_issue().respond_with(issued(OWN_TOKEN)).mount(&server).await;
    on_validation(OWN_TOKEN).respond_with(validated()).mount(&server).await;
    let plugin = token_plugin(&server.uri(), with_service()).await;
    let token = secret(TOKEN);
    tokio::select! {
        biased;
        _ = plugin.identify(&token) => panic!("it has no token yet"),
        () = async { while count(&server, "POST").await == 0 { tokio::task::yield_now().await } } => {}
    }
    assert_eq!(plugin.identify(&token).await, Ok(ann()));
}

#[tokio::test]
async fn rejected_token_is_renewed_once_and_the_request_repeated_once() {
    let server = with_revoked_own_token().await;
    let plugin = token_plugin(&server.uri(), with_service()).await;
    assert_eq!(plugin.identify(&secret(TOKEN)).await, Ok(ann()));
    assert_eq!((count(&server, "POST").await, count(&server, "GET").await), (2, 2));
}

#[tokio::test]
async fn token_that_is_rejected_again_makes_the_provider_unavailable_until_the_next_one() {
    let server = MockServer::start().await;
    on_issue().respond_with(issued(OWN_TOKEN)).up_to_n_times(2).mount(&server).await;
    on_issue().respond_with(issued(RENEWED)).mount(&server).await;
    on_validation(OWN_TOKEN).respond_with(ResponseTemplate::new(401)).mount(&server).await;
    on_validation(RENEWED).respond_with(validated()).mount(&server).await;
    let plugin = token_plugin(&server.uri(), with_service()).await;
    let result = plugin.identify(&secret(TOKEN)).await;
    assert!(assert_unavailable(&result).contains("`service-user`"), "{result:?}");
    assert_eq!((count(&server, "POST").await, count(&server, "GET").await), (2, 2));
    assert_eq!(plugin.identify(&secret(TOKEN)).await, Ok(ann()));
}

#[tokio::test]
async fn token_is_renewed_before_it_expires() {
    let server = healthy().await;
    let plugin = token_plugin(&server.uri(), with_service()).await;
    let token = secret(TOKEN);
    // It is valid for an hour from the start of the clock.
    for (minutes, fetched) in [(0, 1), (48, 1), (7, 2)] {
        pass(Duration::from_mins(minutes)).await;
        assert_eq!(plugin.identify(&token).await, Ok(ann()));
        assert_eq!(count(&server, "POST").await, fetched, "after {minutes} further minutes");
    }
}

#[tokio::test]
async fn wrong_password_of_the_service_user_is_named_and_a_corrected_file_is_read() {
    let server = MockServer::start().await;
    let rejected = ResponseTemplate::new(401);
    on_issue().respond_with(rejected).up_to_n_times(1).mount(&server).await;
    on_issue().respond_with(issued(OWN_TOKEN)).mount(&server).await;
    on_validation(OWN_TOKEN).respond_with(validated()).mount(&server).await;
    let files = MemoryFiles::default();
    let plugin = token_plugin_with(&server.uri(), with_service(), files.clone()).await;
    let result = plugin.identify(&secret(TOKEN)).await;
    let message = assert_unavailable(&result);
    assert!(message.contains(&format!("cannot read {PASSWORD_FILE}")), "{message}");
    files.write(PASSWORD_FILE, "wrong");
    let result = plugin.identify(&secret(TOKEN)).await;
    let message = assert_unavailable(&result);
    assert!(message.contains(&format!("commissaire with the password in {PASSWORD_FILE}")));
    files.write(PASSWORD_FILE, SERVICE_PASSWORD);
    assert_eq!(plugin.identify(&secret(TOKEN)).await, Ok(ann()));
    let last = server.received_requests().await.unwrap().remove(1);
    assert!(String::from_utf8_lossy(&last.body).contains(SERVICE_PASSWORD));
}

#[tokio::test]
async fn missing_right_of_the_service_user_is_named() {
    let server = MockServer::start().await;
    on_issue().respond_with(issued(OWN_TOKEN)).mount(&server).await;
    on_validation(OWN_TOKEN).respond_with(ResponseTemplate::new(403)).mount(&server).await;
    let plugin = token_plugin(&server.uri(), with_service()).await;
    let result = plugin.identify(&secret(TOKEN)).await;
    assert!(assert_unavailable(&result).contains("needs the role `service`"), "{result:?}");
}
