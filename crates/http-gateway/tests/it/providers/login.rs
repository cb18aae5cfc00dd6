//! `GET /login`: what clients get to know before a log-in.

use serde_json::{Value, json};

use super::{config, send_with};
use crate::support::Gateway;

async fn logins(gateway: &Gateway, plugins: Value) -> Value {
    let service = gateway.service_with(&config(plugins)).await.unwrap();
    let (status, body, _) = send_with(&service, "GET", "/login", &[]).await;
    assert_eq!(status, 200, "{body}");
    body
}

#[tokio::test]
async fn providers_with_a_client_are_named_without_credentials() {
    let gateway = Gateway::start().await;
    let corp = json!({
        "name": "oidc", "issuer": "https://id.example.com/realms/ops", "audience": "canary-audience",
        "prefix": "corp", "client-id": "commctl", "required-claims": {"department": "canary-claim"},
        "roles": {"corp:canary-group": "operator"}, "resource": "urn:commissaire",
    });
    let other = json!({
        "name": "oidc", "issuer": "https://other.example.com", "audience": "a", "prefix": "other",
    });
    let hash = bcrypt::hash("canary-password", 4).unwrap();
    let users = json!({"name": "httpbasicauth", "users": {"canary-user": {"hash": hash}}});
    let body = logins(&gateway, json!([corp, other, users])).await;
    let provider = json!({
        "name": "corp", "issuer": "https://id.example.com/realms/ops", "client_id": "commctl",
        "scopes": ["openid", "offline_access"], "token": "access", "resource": "urn:commissaire",
    });
    assert_eq!(body, json!({"password": true, "providers": [provider]}));
    let text = body.to_string();
    assert!(!text.contains("canary") && !text.contains("$2b$"), "{text}");
}

#[tokio::test]
async fn passwords_are_possible_only_with_a_plugin_that_checks_them() {
    let gateway = Gateway::start().await;
    let without = json!([{"name": "httpauthclientcert", "cn": "backup"}]);
    assert_eq!(logins(&gateway, without).await, json!({"password": false, "providers": []}));
    let keystone =
        json!([{"name": "keystonepasswordauth", "url": "https://keystone.example.com:5000"}]);
    assert_eq!(logins(&gateway, keystone).await["password"], true);
}
