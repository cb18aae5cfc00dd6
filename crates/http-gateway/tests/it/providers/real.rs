//! A real Keystone and a real OpenID provider, each over the gateway.

use http_gateway::Service;
use serde_json::{Value, json};
use testbed::keystone::{self, Keystone};
use testbed::log::Log;
use testbed::oidc::OpenIdProvider;

use super::{config, is, send, send_with};
use crate::support::{Gateway, basic};

/// The domain of the users of the testbed.
const DOMAIN: &str = "corp";

/// The project on which they have roles.
const PROJECT: &str = "fleet";

async fn name_and_role(service: &Service, header: (&str, &str)) -> (u16, Value, Value) {
    let (status, body, _) = send_with(service, "GET", "/whoami", &[header]).await;
    (status, body["name"].clone(), body["role"].clone())
}

#[tokio::test]
async fn passwords_and_tokens_of_keystone_have_the_roles_that_keystone_gives() {
    let Some(keystone) = Keystone::shared("gateway keystone") else { return };
    let gateway = Gateway::start().await;
    let log = Log::capture();
    let options = json!({"url": keystone.url(), "domain": DOMAIN, "project": PROJECT,
                         "roles": {"operator": "operator"}});
    let plugins = ["keystonepasswordauth", "commissaire_http.authentication.keystonetokenauth"];
    let plugins = plugins.map(|name| {
        let mut options = options.clone();
        options["name"] = json!(name);
        options
    });
    let service = gateway.service_with(&config(json!(plugins))).await.unwrap();
    let password = keystone::password("ann");
    let right = basic(format!("ann:{password}"));
    // Twice: the second time from memory.
    for _ in 0..2 {
        let found = name_and_role(&service, ("authorization", &right)).await;
        assert_eq!(found, (200, json!("keystone:ann"), json!("operator")));
    }
    is(&service, &basic("ann:wrong"), 403, "user name and password").await;
    is(&service, &basic("unknown:wrong"), 403, "user name and password").await;
    let token = keystone.token("ann", DOMAIN, PROJECT);
    let found = name_and_role(&service, ("x-auth-token", &token)).await;
    assert_eq!(found, (200, json!("keystone-token:ann"), json!("operator")));
    let wrong = name_and_role(&service, ("x-auth-token", "gAAAAABwrong")).await;
    assert_eq!(wrong.0, 403);
    let text = log.text();
    assert!(!text.contains(&password) && !text.contains(&token), "{text}");
    // The original's options, which give no user a role.
    let original = json!([
        {"name": plugins[0]["name"], "url": format!("{}/v3/auth/tokens", keystone.url()), "domain": DOMAIN},
        {"name": plugins[1]["name"], "url": format!("{}/v3", keystone.url())},
    ]);
    let service = gateway.service_with(&config(original)).await.unwrap();
    is(&service, &right, 403, "you are keystone:ann with no groups, and have no role here").await;
    let (status, body, _) =
        send_with(&service, "GET", "/whoami", &[("x-auth-token", &token)]).await;
    let detail = "you are keystone-token:ann@corp with the groups keystone-token:operator@fleet@corp, and have no role here";
    assert_eq!(status, 403, "{body}");
    assert!(body["detail"].as_str().unwrap().contains(detail), "{body}");
}

#[tokio::test]
async fn tokens_of_openid_connect_have_the_roles_of_their_groups_and_scopes() {
    let Some(provider) = OpenIdProvider::shared("gateway oidc") else { return };
    let gateway = Gateway::start().await;
    let log = Log::capture();
    let plugins = json!([{
        "name": "oidc", "issuer": provider.issuer, "audience": "commissaire", "prefix": "corp",
        "groups_claim": "roles", "certificate_authority_path": provider.authority,
        "roles": {"corp:fleet-operator": "operator"},
    }]);
    let service = gateway.service_with(&config(plugins)).await.unwrap();
    let token = provider.token(&["--algorithm", "ES256"]).await;
    let bearer = format!("Bearer {token}");
    for _ in 0..2 {
        let (status, body, _) = send(&service, "GET", "/whoami", &bearer).await;
        assert_eq!(
            (status, &body["name"], &body["role"]),
            (200, &json!("corp:ci"), &json!("operator"))
        );
        assert_eq!(body["groups"], json!(["corp:fleet-operator"]));
        assert!(body["until"].is_string(), "{body}");
    }
    let reader = provider.token(&["--client", "monitoring"]).await;
    let without =
        "you are corp:monitoring with the groups corp:fleet-reader, and have no role here";
    is(&service, &format!("Bearer {reader}"), 403, without).await;
    let other = provider.token(&["--audience", "other"]).await;
    is(&service, &format!("Bearer {other}"), 401, "token").await;
    is(&service, &format!("{bearer}x"), 401, "token").await;
    let text = log.text();
    assert!([&token, &reader, &other].iter().all(|token| !text.contains(token.as_str())), "{text}");
}
