//! Issuers that do not answer, or not as they should.

use super::super::support::{ISSUER, JWKS};
use super::*;
use crate::ProviderError;

/// Why it is unknown whether the token is valid.
async fn unavailable(world: &World, token: &str) -> String {
    match world.identify(token).await {
        Err(ProviderError::Unavailable(why)) => why,
        other => panic!("not unavailable: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_is_down_at_the_first_token_is_asked_again_after_30_s() {
    let world = World::new(&json!({}));
    world.documents.set_down(true);
    assert!(unavailable(&world, &lasting(&RSA)).await.contains("connection refused"));
    world.documents.set_down(false);
    sleep(29 * SECOND).await;
    unavailable(&world, &lasting(&RSA)).await;
    assert_eq!(world.documents.requests(DISCOVERY), 1, "failed attempts count");
    sleep(SECOND).await;
    world.name(&lasting(&RSA)).await;
    assert_eq!(world.documents.requests(DISCOVERY), 2);
}

#[tokio::test(start_paused = true)]
async fn old_keys_are_used_for_24_h_while_the_issuer_is_down() {
    let world = World::new(&json!({}));
    world.name(&lasting(&RSA)).await;
    world.documents.set_down(true);
    for _ in 0..24 * 60 - 1 {
        sleep(MINUTE).await;
        world.name(&lasting(&EC)).await;
    }
    let fetches = world.documents.requests(DISCOVERY);
    assert!((1000..=24 * 60).contains(&fetches), "{fetches}");
    sleep(59 * SECOND).await;
    let last = lasting(&EC);
    world.name(&last).await;
    sleep(SECOND).await;
    unavailable(&world, &last).await;
    unavailable(&world, &lasting(&EC)).await;
    world.documents.set_down(false);
    sleep(31 * SECOND).await;
    world.name(&last).await;
}

#[tokio::test(start_paused = true)]
async fn tokens_do_not_wait_for_an_issuer_that_has_not_answered_before() {
    let world = World::new(&json!({}));
    world.name(&lasting(&RSA)).await;
    world.documents.set_delay(HOUR);
    advance(30 * MINUTE).await;
    let before = Instant::now();
    world.name(&lasting(&RSA)).await;
    assert_eq!(before.elapsed(), 10 * SECOND, "the first one does");
    for _ in 0..100 {
        sleep(7 * SECOND).await;
        let before = Instant::now();
        world.name(&lasting(&RSA)).await;
        assert_eq!(before.elapsed(), Duration::ZERO);
    }
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_is_slow_is_waited_for_10_s() {
    let world = World::new(&json!({}));
    world.documents.set_delay(6 * SECOND);
    let before = Instant::now();
    assert!(unavailable(&world, &lasting(&RSA)).await.contains("no keys within 10 s"));
    assert_eq!(before.elapsed(), 10 * SECOND);
    world.documents.set_delay(4 * SECOND);
    sleep(20 * SECOND).await;
    world.name(&lasting(&RSA)).await;
}

#[tokio::test(start_paused = true)]
async fn whether_a_token_with_an_unknown_key_is_valid_is_unknown_while_the_issuer_is_down() {
    let world = World::new(&json!({}));
    world.name(&lasting(&RSA)).await;
    world.documents.set_down(true);
    sleep(31 * SECOND).await;
    unavailable(&world, &unknown(&ED, 1)).await;
    world.name(&lasting(&RSA)).await;
}

#[tokio::test(start_paused = true)]
async fn a_discovery_document_of_another_issuer_is_not_used() {
    for issuer in [
        json!(format!("{ISSUER}/")),
        json!(&ISSUER[..ISSUER.len() - 1]),
        json!(ISSUER.to_uppercase()),
        json!([ISSUER]),
        Value::Null,
        json!("x".repeat(100_000)),
    ] {
        let world = World::new(&json!({}));
        world.documents.publish(DISCOVERY, json!({"issuer": issuer, "jwks_uri": JWKS}).to_string());
        let why = unavailable(&world, &lasting(&RSA)).await;
        assert!(why.contains("its `issuer` is") && why.len() < 500, "{why}");
        assert_eq!(world.fetches(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn keys_are_not_fetched_in_plaintext() {
    for url in [
        json!("http://id.example.com/realms/fleet/keys"),
        json!("http://127.0.0.1/keys"),
        json!("file:///etc/passwd"),
        json!("/keys"),
        json!(1),
        Value::Null,
    ] {
        let world = World::new(&json!({}));
        world.documents.publish(DISCOVERY, json!({"issuer": ISSUER, "jwks_uri": url}).to_string());
        assert!(unavailable(&world, &lasting(&RSA)).await.contains("its `jwks_uri`"), "{url}");
    }
}

#[tokio::test(start_paused = true)]
async fn documents_that_are_invalid_replace_no_keys() {
    let keys = vec![json!({}); 101];
    let duplicate = format!(r#"{{"keys": [], "keys": [{}]}}"#, EC.jwk());
    for (document, reason) in [
        (String::new(), "is not a JSON object"),
        ("<html>".to_owned(), "is not a JSON object"),
        ("[]".to_owned(), "is not a JSON object"),
        ("{}".to_owned(), "is not a JSON Web Key Set"),
        (json!({"keys": {}}).to_string(), "is not a JSON Web Key Set"),
        (json!({"keys": keys}).to_string(), "more than 100 keys"),
        (duplicate, "is not a JSON object"),
    ] {
        let world = World::new(&json!({}));
        world.name(&lasting(&RSA)).await;
        world.documents.publish(JWKS, document);
        sleep(31 * SECOND).await;
        let why = unavailable(&world, &unknown(&ED, 1)).await;
        assert!(why.contains(reason), "{why}");
        world.name(&lasting(&RSA)).await;
    }
    let world = World::new(&json!({}));
    let keys = [&vec![json!({}); 99][..], &[RSA.jwk()]].concat();
    world.publish(&keys);
    world.name(&lasting(&RSA)).await;
}
