//! A real OpenID provider, which `tools/testbed/oidc up` starts: `COMMISSAIRE_TEST_OIDC` is what that prints. Tests that stop
//! it or rotate its keys start one of their own.

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use identity_providers::oidc::Oidc;
use identity_providers::{Identity, ProviderError};
use runtime::{Clock, Files, Lifecycle};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use testbed::oidc::OpenIdProvider as Provider;

/// A verifier of a provider's tokens, with other options than the usual ones.
async fn verifier(provider: &Provider, others: Value) -> Oidc {
    let mut options = json!({
        "issuer": provider.issuer, "audience": "commissaire", "prefix": "corp",
        "certificate-authority-path": provider.authority,
    });
    for (name, value) in others.as_object().unwrap() {
        options[name] = value.clone();
    }
    let options = serde_json::from_value(options).unwrap();
    Oidc::new(options, &Files::System, Clock::System, &Lifecycle::new()).await.unwrap()
}

async fn identify(oidc: &Oidc, token: &str) -> Result<Identity, ProviderError> {
    oidc.identify(&token.into()).await
}

/// Why the token is rejected.
async fn rejection(oidc: &Oidc, token: &str) -> String {
    match identify(oidc, token).await {
        Err(ProviderError::Rejected(why)) => why,
        other => panic!("not rejected: {other:?}"),
    }
}

/// The same token with a key that there is not.
fn with_unknown_key(token: &str, number: usize) -> String {
    let (header, rest) = token.split_once('.').unwrap();
    let header = BASE64_URL_SAFE_NO_PAD.decode(header).unwrap();
    let mut header: Value = serde_json::from_slice(&header).unwrap();
    header["kid"] = json!(format!("unknown-{number}"));
    format!("{}.{rest}", BASE64_URL_SAFE_NO_PAD.encode(header.to_string()))
}

#[tokio::test]
async fn tokens_of_the_client_credentials_flow_are_accepted_with_their_roles() {
    let Some(provider) = Provider::shared("oidc client credentials") else { return };
    let options = json!({"groups-claim": "roles", "scopes": ["fleet.operate"]});
    let oidc = verifier(&provider, options).await;
    for algorithm in ["RS256", "ES256", "EdDSA"] {
        let token = provider.token(&["--algorithm", algorithm]).await;
        assert!(oidc.is_for(&token.as_str().into()));
        let identity = identify(&oidc, &token).await.unwrap();
        assert_eq!(identity.name, "corp:ci");
        assert_eq!(identity.groups, ["corp:fleet-operator", "corp:scope:fleet.operate"]);
        assert!(identity.expires.is_some());
        assert_eq!(oidc.remembered(&token.as_str().into()), Some(identity));
    }
}

#[tokio::test]
async fn tokens_for_another_audience_are_rejected() {
    let Some(provider) = Provider::shared("oidc audience") else { return };
    let oidc = verifier(&provider, json!({})).await;
    let token = provider.token(&["--audience", "other"]).await;
    assert!(rejection(&oidc, &token).await.contains("audience"));
    let other = verifier(&provider, json!({"audience": "other"})).await;
    assert_eq!(identify(&other, &token).await.unwrap().name, "corp:ci");
}

#[tokio::test]
async fn tokens_that_have_expired_are_rejected() {
    let Some(provider) = Provider::shared("oidc expiry") else { return };
    let oidc = verifier(&provider, json!({})).await;
    let token = provider.token(&["--client", "short"]).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(rejection(&oidc, &token).await, "the token has expired");
    assert!(identify(&oidc, &provider.token(&[]).await).await.is_ok());
}

#[tokio::test]
async fn users_log_in_with_id_tokens_or_with_access_tokens() {
    let Some(provider) = Provider::shared("oidc logins") else { return };
    let [ann, bob] = [provider.login("ann").await, provider.login("bob").await];
    let text = |value: &Value, field: &str| value[field].as_str().unwrap().to_owned();
    let by_access = verifier(&provider, json!({})).await;
    let options = json!({"token": "id", "audience": "commctl", "username-claim": "email"});
    let by_id = verifier(&provider, options).await;
    let identity = identify(&by_access, &text(&ann, "access_token")).await.unwrap();
    assert_eq!(
        (identity.name.as_str(), &identity.groups[..]),
        ("corp:ann", &["corp:operators".to_owned()][..])
    );
    let identity = identify(&by_id, &text(&ann, "id_token")).await.unwrap();
    assert_eq!(identity.name, "corp:ann@example.com");
    // Neither in place of the other, also where the audience is the same.
    rejection(&by_access, &text(&ann, "id_token")).await;
    let both = json!({"token": "id", "audience": ["commctl", "commissaire"]});
    let why = rejection(&verifier(&provider, both).await, &text(&ann, "access_token")).await;
    assert!(why.contains("is not an ID token"), "{why}");
    assert!(rejection(&by_id, &text(&bob, "id_token")).await.contains("email_verified"));
}

#[tokio::test]
async fn a_provider_whose_certificate_is_not_trusted_is_unavailable() {
    let Some(provider) = Provider::shared("oidc certificate") else { return };
    let other = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, other.cert.pem()).unwrap();
    let oidc = verifier(&provider, json!({"certificate-authority-path": path})).await;
    match identify(&oidc, &provider.token(&[]).await).await {
        Err(ProviderError::Unavailable(why)) => assert!(why.contains("certificate"), "{why}"),
        other => panic!("not unavailable: {other:?}"),
    }
}

#[tokio::test]
async fn keys_that_are_rotated_under_load_refuse_no_valid_token() {
    let Some(provider) = Provider::start("oidc rotation").await else { return };
    let oidc = verifier(&provider, json!({})).await;
    let before = provider.token(&[]).await;
    assert!(identify(&oidc, &before).await.is_ok());
    let begun = Instant::now();
    provider.run(&["rotate", "--after", "35", "--retire", "1"]).await;
    let mut unknown = 0;
    let mut headers = BTreeSet::new();
    while headers.len() < 2 || unknown < 1000 {
        for _ in 0..20 {
            rejection(&oidc, &with_unknown_key(&before, unknown)).await;
            unknown += 1;
        }
        let token = provider.token(&[]).await;
        headers.insert(token.split_once('.').unwrap().0.to_owned());
        identify(&oidc, &token).await.unwrap();
        sleep(Duration::from_millis(100)).await;
    }
    // At most one at the beginning and one for each 30 s.
    let seconds = begun.elapsed().as_secs();
    let fetches = provider.key_fetches().await;
    assert!((2..=2 + seconds / 30).contains(&fetches), "{fetches} in {seconds} s");
    // The old key has left: once the keys are fetched again, its tokens are rejected.
    while identify(&oidc, &before).await.is_ok() {
        let _ = identify(&oidc, &with_unknown_key(&before, 0)).await;
        sleep(Duration::from_secs(1)).await;
    }
    assert!(rejection(&oidc, &before).await.contains("no key that fits"));
    provider.down().await;
}

#[tokio::test]
async fn a_provider_that_stops_and_starts_again_is_found() {
    let Some(provider) = Provider::start("oidc outage").await else { return };
    let oidc = verifier(&provider, json!({})).await;
    let [before, again] = [provider.token(&[]).await, provider.token(&[]).await];
    identify(&oidc, &before).await.unwrap();
    provider.run(&["stop"]).await;
    identify(&oidc, &again).await.expect("its keys are known");
    let unaware = verifier(&provider, json!({})).await;
    let begun = Instant::now();
    assert!(matches!(identify(&unaware, &before).await, Err(ProviderError::Unavailable(_))));
    provider.run(&["start"]).await;
    let after = provider.token(&[]).await;
    let found = loop {
        match identify(&unaware, &after).await {
            Ok(identity) => break identity,
            Err(ProviderError::Unavailable(_)) => sleep(Duration::from_secs(1)).await,
            Err(error) => panic!("{error}"),
        }
    };
    assert!(begun.elapsed() >= Duration::from_secs(30), "not asked all the time");
    assert_eq!(found.name, "corp:ci");
    identify(&oidc, &after).await.expect("the new keys are fetched for it");
    provider.down().await;
}
