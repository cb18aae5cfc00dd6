use std::time::Duration;

use serde_json::{Value, json};
use wiremock::matchers::{body_json, query_param};
use wiremock::{MockServer, ResponseTemplate};

use super::support::*;

fn login(scope: Option<Value>) -> Value {
    let user = json!({"name": "ann", "domain": {"name": "Default"}, "password": PASSWORD});
    let identity = json!({"methods": ["password"], "password": {"user": user}});
    match scope {
        Some(scope) => json!({"auth": {"identity": identity, "scope": scope}}),
        None => json!({"auth": {"identity": identity}}),
    }
}

async fn responds(response: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    on_issue().respond_with(response).mount(&server).await;
    server
}

#[tokio::test]
async fn right_password_gives_the_user_with_the_roles_on_the_project() {
    let server = MockServer::start().await;
    let scope = json!({"project": {"name": "fleet", "domain": {"name": "Default"}}});
    let request = on_issue().and(query_param("nocatalog", ""));
    let request = request.and(body_json(login(Some(scope))));
    request.respond_with(issued(OWN_TOKEN)).mount(&server).await;
    let plugin = password_plugin(&server.uri(), json!({"project": "fleet"})).await;
    assert_eq!(plugin.identify("ann", &secret(PASSWORD)).await, Ok(ann()));
}

#[tokio::test]
async fn roles_on_a_domain_are_asked_for() {
    let server = MockServer::start().await;
    let scope = json!({"domain": {"name": "corp"}});
    let mut answer = description();
    answer["token"].as_object_mut().unwrap().remove("project");
    answer["token"]["domain"] = json!({"id": "1", "name": "corp"});
    let response = issued(OWN_TOKEN).set_body_json(answer);
    on_issue().and(body_json(login(Some(scope)))).respond_with(response).mount(&server).await;
    let plugin = password_plugin(&server.uri(), json!({"scope-domain": "corp"})).await;
    assert_eq!(plugin.identify("ann", &secret(PASSWORD)).await, Ok(ann()));
}

#[tokio::test]
async fn configuration_of_the_original_gives_qualified_roles_of_the_default_project() {
    let server = MockServer::start().await;
    on_issue().and(body_json(login(None))).respond_with(issued(OWN_TOKEN)).mount(&server).await;
    let url = format!("{}/v3/auth/tokens", server.uri());
    let plugin = password_plugin(&url, json!({"domain": "Default"})).await;
    let identity = plugin.identify("ann", &secret(PASSWORD)).await.unwrap();
    assert_eq!(identity.name, "ann");
    assert_eq!(identity.groups, ["operator@fleet@Default", "reader@fleet@Default"]);
}

#[tokio::test]
async fn accepted_password_is_remembered_for_300_s() {
    let server = responds(issued(OWN_TOKEN)).await;
    let plugin = password_plugin(&server.uri(), json!({"project": "fleet"})).await;
    let password = secret(PASSWORD);
    assert_eq!(plugin.remembered("ann", &password), None);
    plugin.identify("ann", &password).await.unwrap();
    pass(Duration::from_secs(290)).await;
    assert_eq!(plugin.remembered("ann", &password), Some(ann()));
    assert_eq!(plugin.remembered("ann", &secret("other")), None);
    assert_eq!(plugin.remembered("bob", &password), None);
    plugin.identify("ann", &password).await.unwrap();
    assert_eq!(count(&server, "POST").await, 1);
    pass(Duration::from_secs(10)).await;
    assert_eq!(plugin.remembered("ann", &password), None);
    plugin.identify("ann", &password).await.unwrap();
    assert_eq!(count(&server, "POST").await, 2);
}

#[tokio::test]
async fn wrong_password_is_rejected_and_not_remembered() {
    let server = responds(ResponseTemplate::new(401)).await;
    let plugin = password_plugin(&server.uri(), json!({})).await;
    for requests in 1..=2 {
        assert_rejected(&plugin.identify("ann", &secret(PASSWORD)).await);
        assert_eq!(plugin.remembered("ann", &secret(PASSWORD)), None);
        assert_eq!(count(&server, "POST").await, requests);
    }
}

#[tokio::test]
async fn response_about_another_user_domain_scope_or_time_is_rejected_and_not_remembered() {
    for (pointer, value) in [
        ("/token/user/name", "bob"),
        ("/token/user/name", "Ann"),
        ("/token/user/domain/name", "corp"),
        ("/token/project/name", "sandbox"),
        ("/token/project/domain/name", "corp"),
        ("/token/expires_at", "2026-11-21T11:59:59.000000Z"),
    ] {
        let mut answer = description();
        *answer.pointer_mut(pointer).unwrap() = json!(value);
        let server = responds(issued(OWN_TOKEN).set_body_json(answer)).await;
        let plugin = password_plugin(&server.uri(), json!({"project": "fleet"})).await;
        assert_rejected(&plugin.identify("ann", &secret(PASSWORD)).await);
        assert_eq!(plugin.remembered("ann", &secret(PASSWORD)), None, "{pointer}");
    }
}

#[tokio::test]
async fn empty_and_too_long_credentials_are_rejected_without_a_request() {
    let server = responds(issued(OWN_TOKEN)).await;
    let plugin = password_plugin(&server.uri(), json!({"project": "fleet"})).await;
    let long = "x".repeat(4097);
    for (user, password) in [("", PASSWORD), (&long[..257], PASSWORD), ("ann", ""), ("ann", &long)]
    {
        assert_rejected(&plugin.identify(user, &secret(password)).await);
    }
    assert_eq!(count(&server, "POST").await, 0);
    plugin.identify("ann", &secret(&long[1..])).await.unwrap();
    assert_eq!(count(&server, "POST").await, 1);
}
