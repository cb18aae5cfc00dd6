//! OpenShift, with responses that the tests choose.

use std::time::Duration;

use identity_providers::openshift::OpenShift;
use runtime::{Clock, Files};
use secrecy::SecretString;
use serde_json::json;
use wiremock::matchers::{header, method};
use wiremock::{Mock, MockServer, ResponseTemplate};

#[tokio::test]
async fn accepted_token_is_remembered_for_300_s() {
    let server = MockServer::start().await;
    let user = json!({"kind": "User", "metadata": {"name": "ann"}, "groups": ["ops"]});
    let get = Mock::given(method("GET")).and(header("Authorization", "Bearer canary"));
    get.respond_with(ResponseTemplate::new(200).set_body_json(user)).mount(&server).await;
    let options = serde_json::from_value(json!({"openshift_endpoint": server.uri()})).unwrap();
    let clock = Clock::simulated("2026-11-21T12:00:00Z".parse().unwrap());
    let plugin = OpenShift::new(options, &Files::default(), clock).await.unwrap();
    let token = SecretString::from("canary");
    assert_eq!(plugin.remembered(&token), None);
    let ann = plugin.identify(&token).await.unwrap();
    for (seconds, requests) in [(290, 1), (10, 2)] {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(seconds)).await;
        tokio::time::resume();
        assert_eq!(plugin.remembered(&token).is_some(), requests == 1);
        assert_eq!(plugin.identify(&token).await, Ok(ann.clone()));
        assert_eq!(server.received_requests().await.unwrap().len(), requests);
    }
    assert!(plugin.identify(&SecretString::from("other")).await.is_err());
    assert_eq!(plugin.remembered(&SecretString::from("other")), None);
}
