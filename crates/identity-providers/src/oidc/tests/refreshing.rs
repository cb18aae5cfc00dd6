//! When the keys of an issuer are fetched, and what happens while they cannot be.

mod outages;
mod rotation;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, advance, sleep, timeout};

use super::support::{DISCOVERY, EC, ED, RSA, Signer, World};
use crate::{Identity, Result};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

/// A token that is valid for days, so that only its key matters.
fn lasting(signer: &Signer) -> String {
    signer.token(|_, claims| claims["exp"] = json!(super::support::NOW + 864_000))
}

/// Another one by a key with this identifier, which no issuer publishes.
fn unknown(signer: &Signer, id: usize) -> String {
    signer.token(|header, _| header["kid"] = json!(format!("unknown-{id}")))
}

/// Sends all of these tokens at the same time.
async fn at_once(world: &Arc<World>, tokens: Vec<String>) -> Vec<Result<Identity>> {
    let mut requests = JoinSet::new();
    for token in tokens {
        let world = Arc::clone(world);
        requests.spawn(async move { world.identify(&token).await });
    }
    requests.join_all().await
}

#[tokio::test(start_paused = true)]
async fn nothing_is_fetched_before_the_first_token_and_once_for_all_that_wait() {
    let world = Arc::new(World::new(&json!({})));
    sleep(HOUR).await;
    assert_eq!((world.documents.requests(DISCOVERY), world.fetches()), (0, 0));
    world.documents.set_delay(SECOND);
    let results = at_once(
        &world,
        (0..1000)
            .map(|_| {
                ED.token(|_, claims| {
                    claims["exp"] = json!(super::support::NOW + 86_400);
                })
            })
            .collect(),
    )
    .await;
    assert!(results.iter().all(Result::is_ok));
    assert_eq!((world.documents.requests(DISCOVERY), world.fetches()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_thousand_tokens_with_unknown_keys_at_once_cost_one_fetch() {
    let world = Arc::new(World::new(&json!({})));
    world.name(&lasting(&RSA)).await;
    sleep(31 * SECOND).await;
    world.documents.set_delay(SECOND);
    let results = at_once(&world, (0..1000).map(|id| unknown(&ED, id)).collect()).await;
    assert!(results.iter().all(Result::is_err));
    assert_eq!(world.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_tokens_with_unknown_keys_one_after_another_cost_a_fetch_every_30_s() {
    let world = World::new(&json!({}));
    world.name(&lasting(&RSA)).await;
    for id in 0..1000 {
        let why = world.rejection(&unknown(&ED, id)).await;
        assert!(why.contains("no key that fits"), "{why}");
        advance(SECOND / 10).await;
    }
    // At 0, 30, 60 and 90 s.
    assert_eq!(world.fetches(), 4);
}

#[tokio::test(start_paused = true)]
async fn tokens_that_are_invalid_by_their_claims_cost_no_fetch() {
    let world = World::new(&json!({}));
    for change in [
        |claims: &mut Value| claims["exp"] = json!(0),
        |claims: &mut Value| claims["aud"] = json!("grafana"),
        |claims: &mut Value| claims["iss"] = json!("https://evil.example.com"),
    ] {
        world.rejection(&RSA.token(|_, claims| change(claims))).await;
    }
    assert_eq!(world.documents.requests(DISCOVERY), 0);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_cancelled_does_not_cancel_the_fetch() {
    let world = World::new(&json!({}));
    world.documents.set_delay(4 * SECOND);
    let token = lasting(&RSA);
    assert!(timeout(SECOND, world.identify(&token)).await.is_err());
    sleep(8 * SECOND).await;
    let before = Instant::now();
    world.name(&token).await;
    assert_eq!((before.elapsed(), world.fetches()), (Duration::ZERO, 1));
}

#[tokio::test(start_paused = true)]
async fn a_busy_issuer_is_asked_again_in_the_background_after_10_min() {
    let world = World::new(&json!({}));
    world.name(&lasting(&RSA)).await;
    world.documents.set_delay(SECOND);
    advance(599 * SECOND).await;
    world.name(&lasting(&RSA)).await;
    sleep(3 * SECOND).await;
    assert_eq!(world.fetches(), 1);
    let before = Instant::now();
    world.name(&lasting(&EC)).await;
    assert_eq!((before.elapsed(), world.fetches()), (Duration::ZERO, 1), "it does not wait");
    sleep(3 * SECOND).await;
    assert_eq!(world.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn remembered_tokens_have_keys_fetched_in_the_background_too() {
    let world = World::new(&json!({}));
    world.name(&lasting(&RSA)).await;
    advance(9 * MINUTE).await;
    let token = lasting(&RSA);
    world.name(&token).await;
    advance(2 * MINUTE).await;
    assert!(world.oidc.remembered(&token.as_str().into()).is_some());
    sleep(SECOND).await;
    assert_eq!(world.fetches(), 2);
}
