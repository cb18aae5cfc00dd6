//! The rights of a token: those of its owner at present, as far as the token goes.

use http_gateway::peer::ClientCertificate;
use serde_json::{Value, json};

use super::{Client, Ground, user};

const ROLES: [&str; 3] = ["reader", "operator", "admin"];

async fn bind(client: &Client, role: &str, clusters: &[&str]) {
    let binding = json!({"kind": "user", "subject": "ann", "role": role, "clusters": clusters});
    let answer = client.call(&user("root"), ("PUT", "/binding/ann"), binding).await;
    assert!(matches!(answer.status, 200 | 201), "{}", answer.text());
}

/// The highest role that a caller has now.
async fn role(client: &Client, authorization: &str) -> Value {
    client.get(authorization, "/whoami").await.json()["role"].clone()
}

#[tokio::test]
async fn token_has_the_lower_of_its_role_and_the_role_of_its_owner() {
    let (ground, client) = Ground::with("admin").await;
    let mut tokens = Vec::new();
    for role in ROLES {
        tokens.push(client.token(role, &["*"]).await.1);
    }
    for (bound, owner) in ROLES.iter().enumerate() {
        bind(&client, owner, &["*"]).await;
        for (limit, token) in tokens.iter().enumerate() {
            assert_eq!(role(&client, token).await, ROLES[bound.min(limit)], "{owner} {limit}");
            let changed = client.call(token, ("DELETE", "/cluster/none"), json!({})).await;
            assert_eq!(changed.status == 403, bound.min(limit) == 0, "{}", changed.text());
            let administered = client.call(token, ("DELETE", "/network/none"), json!({})).await;
            assert_eq!(administered.status == 403, bound.min(limit) < 2, "{}", administered.text());
        }
    }
    // The same by the configuration, which counts without a binding.
    client.call(&user("root"), ("DELETE", "/binding/ann"), json!({})).await.is(200, &json!([]));
    for (configured, owner) in ROLES.iter().enumerate() {
        ground.users(json!({"ann": {"hash": "another", "role": owner}}));
        let client = ground.another_gateway().await;
        for (limit, token) in tokens.iter().enumerate() {
            assert_eq!(role(&client, token).await, ROLES[configured.min(limit)], "{owner} {limit}");
        }
    }
}

#[tokio::test]
async fn token_is_refused_once_its_owner_is_gone_or_has_no_role() {
    let (ground, client) = Ground::with("operator").await;
    let (_, bearer) = client.token("reader", &["web"]).await;
    bind(&client, "operator", &["web"]).await;
    // Neither a binding nor the role enroll makes up for it.
    for users in [json!({}), json!({"Ann": {"hash": "x"}})] {
        ground.users(users);
        let client = ground.another_gateway().await;
        client
            .get(&bearer, "/whoami")
            .await
            .refused(403, "the owner of this API token, ann, is not known");
    }
    client.call(&user("root"), ("DELETE", "/binding/ann"), json!({})).await.is(200, &json!([]));
    ground.users(json!({"ann": {"hash": "x", "role": "enroll"}}));
    let client = ground.another_gateway().await;
    client.get(&bearer, "/whoami").await.refused(403, "has no role here");
    client
        .call(&bearer, ("PUT", "/host/10.0.0.1"), json!({}))
        .await
        .refused(403, "has no role here");
    let line: Value = serde_json::from_str(&ground.audit.lines().pop().unwrap()).unwrap();
    assert_eq!((&line["principal"], &line["status"]), (&json!("token:reader/ann"), &json!(403)));
}

#[tokio::test]
async fn smaller_binding_of_the_owner_is_a_smaller_token_at_every_gateway() {
    let (ground, client) = Ground::with("operator").await;
    let other = ground.another_gateway().await;
    let (_, bearer) = client.token("operator", &["web", "db"]).await;
    for (bound, db) in [(&["*"][..], 200), (&["web"], 404), (&["db"], 200)] {
        bind(&client, "reader", bound).await;
        assert_eq!(client.get(&bearer, "/cluster/db").await.status, db, "{bound:?}");
        other.until(db, &bearer, "/cluster/db").await;
        let changed = client.call(&bearer, ("DELETE", "/cluster/db"), json!({})).await;
        changed.refused(403, "token:operator/ann has the role reader");
    }
}

#[tokio::test]
async fn role_beyond_that_of_the_owner_is_refused_at_the_creation() {
    let (_ground, client) = Ground::with("operator").await;
    let asked =
        |role: &str, clusters: &[&str]| json!({"name": "a", "role": role, "clusters": clusters});
    let beyond = client.call(&user("ann"), ("POST", "/tokens"), asked("admin", &["web"])).await;
    beyond.refused(403, "ann does not have the role admin on the clusters \"web\"");
    bind(&client, "operator", &["web-*", "db"]).await;
    for (role, cluster) in [
        ("operator", "web"),
        ("operator", "web-a*"),
        ("operator", "*"),
        ("operator", "d*"),
        ("admin", "db"),
    ] {
        let beyond =
            client.call(&user("ann"), ("POST", "/tokens"), asked(role, &["db", cluster])).await;
        beyond.refused(403, &format!("the role {role} on the clusters {cluster:?}"));
    }
    client.made(&user("ann"), asked("operator", &["web-*", "web-eu", "db"])).await;
}

#[tokio::test]
async fn owner_of_a_certificate_has_tokens_too() {
    let (ground, client) = Ground::with("operator").await;
    let certificate = |name: &str| {
        Some(ClientCertificate { common_name: Some(name.to_owned()), issuer: "CA".to_owned() })
    };
    let owner = Client { certificate: certificate("backup"), ..ground.another_gateway().await };
    let asked = json!({"name": "nightly", "role": "reader", "clusters": ["*"]});
    let (_, bearer) = owner.made("", asked).await;
    let whoami = client.until(200, &bearer, "/whoami").await.json();
    assert_eq!(whoami["name"], "token:nightly/certificate:CA/backup");
    // With a certificate that is accepted, a rejected token is rejected all the same.
    owner.get(&format!("{bearer}x"), "/whoami").await.refused(401, "damaged");
}
