//! Verified tokens that are remembered, and what ends that.

use std::time::Duration;

use jiff::SignedDuration;
use serde_json::json;
use tokio::time::{advance, sleep};

use super::support::{EC, NOW, RSA, Signer, World};

const SECOND: Duration = Duration::from_secs(1);

fn is_remembered(world: &World, token: &str) -> bool {
    world.oidc.remembered(&token.into()).is_some()
}

#[tokio::test(start_paused = true)]
async fn a_verified_token_is_remembered_for_five_minutes() {
    let world = World::new(&json!({}));
    let token = RSA.token(|_, claims| claims["groups"] = json!(["ops"]));
    assert!(!is_remembered(&world, &token));
    let identity = world.identify(&token).await.unwrap();
    assert_eq!(world.oidc.remembered(&token.as_str().into()), Some(identity));
    advance(299 * SECOND).await;
    assert!(is_remembered(&world, &token));
    advance(SECOND).await;
    assert!(!is_remembered(&world, &token));
    world.name(&token).await;
}

#[tokio::test(start_paused = true)]
async fn a_token_is_not_remembered_beyond_its_expiry() {
    for (options, claim, value) in
        [(json!({}), "exp", NOW + 60), (json!({"max-token-age": 100}), "iat", NOW - 40)]
    {
        let world = World::new(&options);
        let token = RSA.token(|_, claims| claims[claim] = json!(value));
        world.name(&token).await;
        advance(59 * SECOND).await;
        assert!(is_remembered(&world, &token), "{options}");
        advance(SECOND).await;
        assert!(!is_remembered(&world, &token), "{options}");
        assert_eq!(world.rejection(&token).await, "the token has expired");
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_expires_by_the_wall_clock_however_that_is_set() {
    let world = World::new(&json!({}));
    let token = RSA.token(|_, _| {});
    world.name(&token).await;
    world.clock.advance(SignedDuration::from_hours(2));
    assert!(!is_remembered(&world, &token));
    assert_eq!(world.rejection(&token).await, "the token has expired");
    world.clock.advance(SignedDuration::from_hours(-2));
    world.name(&token).await;
}

#[tokio::test(start_paused = true)]
async fn tokens_are_forgotten_with_their_key() {
    let world = World::new(&json!({}));
    let (left, kept) = (RSA.token(|_, _| {}), EC.token(|_, _| {}));
    world.name(&left).await;
    world.name(&kept).await;
    world.publish(&[EC.jwk(), Signer::rsa("rsa-1").jwk()]);
    sleep(31 * SECOND).await;
    assert!(is_remembered(&world, &left) && is_remembered(&world, &kept));
    // An unknown key has the keys fetched.
    world.rejection(&Signer::ed("unknown").token(|_, _| {})).await;
    assert!(!is_remembered(&world, &left) && is_remembered(&world, &kept));
    assert!(world.rejection(&left).await.contains("signature"), "the identifier is another key's");
}

#[tokio::test(start_paused = true)]
async fn rejected_tokens_and_other_tokens_are_not_remembered() {
    let world = World::new(&json!({}));
    let token = RSA.token(|_, _| {});
    world.name(&token).await;
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let forged = format!("{signed}.{}", signature.chars().rev().collect::<String>());
    for other in [forged, RSA.token(|_, claims| claims["exp"] = json!(NOW)), RSA.token(|_, _| {})] {
        assert!(!is_remembered(&world, &other));
    }
    let rejected = RSA.token(|_, claims| claims["aud"] = json!("grafana"));
    world.rejection(&rejected).await;
    assert!(!is_remembered(&world, &rejected));
}

#[tokio::test(start_paused = true)]
async fn neither_tokens_nor_keys_are_shown_by_debug() {
    let world = World::new(&json!({}));
    let token = RSA.token(|_, _| {});
    world.name(&token).await;
    let shown = format!("{:?}", world.oidc);
    for part in token.split('.') {
        assert!(!shown.contains(part), "{shown}");
    }
}
