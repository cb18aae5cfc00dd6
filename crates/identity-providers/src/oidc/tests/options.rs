//! Options that are valid, and those that are not.

use serde_json::{Value, json};

use super::support::{ISSUER, RSA, World, options};
use crate::oidc::{Clock, Lifecycle, MemoryDocuments, Oidc, Options};

/// Why options are rejected.
fn rejection(others: &Value) -> Option<String> {
    let options: Options = match serde_json::from_value(options(others)) {
        Ok(options) => options,
        Err(error) => return Some(error.to_string()),
    };
    let documents = MemoryDocuments::default();
    let oidc = Oidc::in_memory(options, documents, Clock::System, &Lifecycle::new());
    oidc.err().map(|error| error.to_string())
}

#[test]
fn invalid_options_are_rejected_with_a_reason() {
    for (others, reason) in [
        (json!({"issuer": "http://id.example.com"}), "needs https://"),
        (json!({"issuer": "ftp://localhost"}), "needs https://"),
        (json!({"issuer": "id.example.com"}), "issuer: \"id.example.com\""),
        (json!({"issuer": "https://id.example.com?a=b"}), "without a query"),
        (json!({"issuer": "https://id.example.com#a"}), "without a query"),
        (json!({"issuer": null}), "invalid type"),
        (json!({"audience": ""}), "audience: it is"),
        (json!({"audience": []}), "audience: it is"),
        (json!({"audience": ["a", ""]}), "audience: it is"),
        (json!({"audience": 1}), "a text or a list of texts"),
        (json!({"prefix": ""}), "prefix: \"\" is not"),
        (json!({"prefix": "Corp"}), "is not a lower-case letter"),
        (json!({"prefix": "1corp"}), "is not a lower-case letter"),
        (json!({"prefix": "-corp"}), "is not a lower-case letter"),
        (json!({"prefix": "corp:"}), "is not a lower-case letter"),
        (json!({"prefix": "c\u{f6}rp"}), "is not a lower-case letter"),
        (json!({"prefix": "c".repeat(33)}), "is not a lower-case letter"),
        (json!({"prefix": "certificate"}), "names of other principals"),
        (json!({"prefix": "enroll"}), "names of other principals"),
        (json!({"prefix": "token"}), "names of other principals"),
        (json!({"username-claim": ""}), "username-claim: \"\" is not"),
        (json!({"username-claim": "/email"}), "username-claim: \"/email\" is not"),
        (json!({"groups-claim": "/"}), "groups-claim: \"/\" is not"),
        (json!({"required-claims": {"": 1}}), "required-claims: \"\" is not"),
        (json!({"scopes": [""]}), "scopes: a scope is not empty"),
        (json!({"scopes": ["a b"]}), "scopes: a scope is not empty"),
        (json!({"token": "id", "scopes": ["a"]}), "ID tokens have none"),
        (json!({"token": "refresh"}), "unknown variant"),
        (json!({"max-token-age": 0}), "at least 1 second"),
        (json!({"max-token-age": -1}), "invalid value"),
        (json!({"audiences": "a"}), "unknown field `audiences`"),
        (json!({"max-token-age": 1, "max_token_age": 1}), "duplicate field"),
    ] {
        let found = rejection(&others);
        assert!(found.as_ref().is_some_and(|found| found.contains(reason)), "{others}: {found:?}");
    }
}

#[test]
fn mandatory_options_are_named_when_they_are_missing() {
    for name in ["issuer", "audience", "prefix"] {
        let mut options = options(&json!({}));
        options.as_object_mut().unwrap().remove(name);
        let error = serde_json::from_value::<Options>(options).unwrap_err().to_string();
        assert!(error.contains(&format!("missing field `{name}`")), "{error}");
    }
}

#[test]
fn valid_options_are_accepted_with_dashes_and_with_underscores() {
    for others in [
        json!({}),
        json!({"issuer": "http://127.0.0.1:8080/realms/a"}),
        json!({"issuer": "http://localhost:8080"}),
        json!({"issuer": "http://[::1]:8080"}),
        json!({"audience": ["a", "b"], "prefix": "a"}),
        json!({"prefix": "c".repeat(32), "token": "access", "scopes": ["a"]}),
        json!({"username-claim": "sub", "groups-claim": "/a/b", "required-claims": {"a": [1]},
            "max-token-age": 60, "certificate-authority-path": "/etc/ca.pem"}),
        json!({"username_claim": "sub", "groups_claim": "a", "required_claims": {"a": 1},
            "max_token_age": 60, "certificate_authority_path": "/etc/ca.pem", "token": "id"}),
    ] {
        assert_eq!(rejection(&others), None, "{others}");
    }
}

/// Each indented block with the name of the plugin.
#[test]
fn the_examples_of_the_documentation_are_valid() {
    let page = include_str!("../../../../../docs/access.md");
    let blocks = page.split("\n\n").filter(|block| block.contains(r#"{"name": "oidc""#));
    let mut count = 0;
    for block in blocks {
        let mut options: Value = serde_json::from_str(block).unwrap();
        options.as_object_mut().unwrap().remove("name");
        assert_eq!(rejection(&options), None, "{block}");
        count += 1;
    }
    assert_eq!(count, 8);
}

#[tokio::test(start_paused = true)]
async fn a_final_slash_of_the_issuer_is_left_out_in_the_url_of_its_discovery_document_only() {
    let issuer = format!("{ISSUER}/");
    let world = World::without_documents(&json!({"issuer": issuer}));
    world.publish(&[RSA.jwk()]);
    let token = RSA.token(|_, claims| claims["iss"] = json!(issuer));
    assert!(world.identify(&token).await.unwrap_err().to_string().contains("instead of"));
    let world = World::without_documents(&json!({"issuer": issuer}));
    world.publish(&[RSA.jwk()]);
    let document = json!({"issuer": issuer, "jwks_uri": super::support::JWKS});
    world.documents.publish(super::support::DISCOVERY, document.to_string());
    assert_eq!(world.name(&token).await, "corp:ann");
}
