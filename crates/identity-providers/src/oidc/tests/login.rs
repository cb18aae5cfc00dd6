//! What clients get to know that log users in.

use serde_json::{Value, json};

use super::support::options;
use crate::oidc::{Clock, Files, Kind, Lifecycle, Login, Oidc};

const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nMIIBCA==\n-----END CERTIFICATE-----\n";

/// The instructions for a log-in with these options, or why they are rejected.
async fn login(others: &Value) -> Result<Option<Login>, String> {
    let options = serde_json::from_value(options(others)).unwrap();
    Login::new(&options, &Files::System).await.map_err(|error| error.to_string())
}

#[tokio::test]
async fn without_a_client_there_is_no_login() {
    assert_eq!(login(&json!({})).await, Ok(None));
    for others in [json!({"resource": "urn:a"}), json!({"login_scopes": ["openid"]})] {
        assert!(login(&others).await.unwrap_err().contains("client-id"), "{others}");
    }
}

#[tokio::test]
async fn scopes_that_give_roles_or_names_are_requested_by_default() {
    for (others, scopes) in [
        (json!({"client_id": "commctl"}), "openid offline_access"),
        (
            json!({"client-id": "commctl", "scopes": ["fleet.operate", "openid"], "username_claim": "email"}),
            "openid offline_access email fleet.operate",
        ),
        (json!({"client-id": "commctl", "login-scopes": ["openid", "groups"]}), "openid groups"),
    ] {
        let login = login(&others).await.unwrap().unwrap();
        assert_eq!(login.scopes.join(" "), scopes, "{others}");
        assert_eq!((login.client_id.as_str(), login.token), ("commctl", Kind::Access));
    }
}

#[tokio::test]
async fn invalid_options_of_a_login_are_rejected() {
    for (others, reason) in [
        (json!({"client_id": ""}), "client-id"),
        (json!({"client_id": "a\nb"}), "client-id"),
        (json!({"client_id": "c", "login_scopes": ["a b"]}), "\"a b\" is not a scope"),
        (json!({"client_id": "c", "login_scopes": [""]}), "\"\" is not a scope"),
        (json!({"client_id": "c", "login_scopes": ["email"], "token": "id"}), "`openid`"),
        (json!({"client_id": "c", "resource": "fleet"}), "resource: \"fleet\""),
        (json!({"client_id": "c", "resource": "urn:a#b"}), "without a fragment"),
    ] {
        let found = login(&others).await.unwrap_err();
        assert!(found.contains(reason), "{others}: {found}");
    }
}

#[tokio::test]
async fn only_certificates_of_the_authority_file_are_handed_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    let others = json!({"client_id": "c", "certificate_authority_path": path});
    let key = "-----BEGIN PRIVATE KEY-----\ncanary\n-----END PRIVATE KEY-----\n";
    std::fs::write(&path, format!("comment\n{key}{CERTIFICATE}{key}{CERTIFICATE}")).unwrap();
    let found = login(&others).await.unwrap().unwrap().certificate_authority;
    assert_eq!(found, Some(CERTIFICATE.repeat(2)));
    for text in [key.to_owned(), CERTIFICATE.repeat(2048)] {
        std::fs::write(&path, text).unwrap();
        let found = login(&others).await.unwrap_err();
        assert!(found.contains("name the authority of the issuer alone"), "{found}");
    }
    std::fs::remove_file(&path).unwrap();
    assert!(login(&others).await.unwrap_err().contains("cannot read"));
}

#[tokio::test]
async fn an_issuer_has_the_login_of_its_options() {
    let options = serde_json::from_value(options(&json!({"client-id": "commctl"}))).unwrap();
    let oidc = Oidc::new(options, &Files::System, Clock::System, &Lifecycle::new()).await.unwrap();
    assert_eq!(oidc.login().unwrap().client_id, "commctl");
    assert_eq!(oidc.login().unwrap().issuer, oidc.issuer());
}
