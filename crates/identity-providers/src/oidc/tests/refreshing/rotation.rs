//! Keys that come and go.

use super::*;

#[tokio::test(start_paused = true)]
async fn keys_that_are_published_35_s_before_their_use_refuse_no_valid_token() {
    let world = Arc::new(World::new(&json!({})));
    world.documents.set_delay(2 * SECOND);
    let mut requests = JoinSet::new();
    let mut signer = Signer::ed("key-0");
    world.publish(&[signer.jwk()]);
    for rotation in 1..=20 {
        let next = Signer::ed(&format!("key-{rotation}"));
        // Other moments within the 30 s in each round.
        for second in 0..60 + rotation {
            if second == 20 {
                world.publish(&[signer.jwk(), next.jwk()]);
            }
            if second == 55 {
                signer = next.copy();
            }
            let (world, valid) = (Arc::clone(&world), lasting(&signer));
            let invalid = unknown(&ED, rotation * 1000 + second);
            requests.spawn(async move {
                let rejected = world.identify(&invalid).await;
                assert!(rejected.is_err());
                world.identify(&valid).await
            });
            sleep(SECOND).await;
        }
        world.publish(&[signer.jwk()]);
    }
    let begun = 20 * 70;
    let results = requests.join_all().await;
    let refused: Vec<_> = results.iter().filter_map(|result| result.as_ref().err()).collect();
    assert!(refused.is_empty(), "{} of {}: {:?}", refused.len(), results.len(), refused[0]);
    assert!(
        results.len() > 1000 && (40..=begun / 30 + 1).contains(&world.fetches()),
        "{}",
        world.fetches()
    );
}

#[tokio::test(start_paused = true)]
async fn a_key_that_left_is_rejected_once_the_keys_were_fetched_again() {
    let world = World::new(&json!({}));
    world.name(&lasting(&RSA)).await;
    world.publish(&[EC.jwk()]);
    advance(11 * MINUTE).await;
    world.name(&lasting(&RSA)).await;
    sleep(SECOND).await;
    assert!(world.rejection(&lasting(&RSA)).await.contains("no key that fits"));
    world.name(&lasting(&EC)).await;
}

#[tokio::test(start_paused = true)]
async fn a_key_that_left_is_rejected_at_once_by_a_server_that_was_idle_for_20_min() {
    let world = World::new(&json!({}));
    world.name(&lasting(&RSA)).await;
    world.publish(&[EC.jwk()]);
    advance(20 * MINUTE).await;
    assert!(world.rejection(&lasting(&RSA)).await.contains("no key that fits"));
}

#[tokio::test(start_paused = true)]
async fn all_keys_may_leave() {
    let world = World::new(&json!({}));
    world.name(&lasting(&RSA)).await;
    world.publish(&[]);
    advance(20 * MINUTE).await;
    assert!(world.rejection(&lasting(&RSA)).await.contains("no key that fits"));
}

#[tokio::test(start_paused = true)]
async fn another_key_with_the_same_identifier_replaces_it() {
    let world = World::new(&json!({}));
    let (first, second) = (Signer::ed("same"), Signer::ed("same"));
    world.publish(&[first.jwk()]);
    world.name(&lasting(&first)).await;
    world.publish(&[second.jwk()]);
    advance(20 * MINUTE).await;
    world.name(&lasting(&second)).await;
    assert!(world.rejection(&lasting(&first)).await.contains("not valid"));
}

#[tokio::test(start_paused = true)]
async fn a_new_key_of_an_issuer_that_names_none_is_found() {
    let world = World::new(&json!({}));
    let unnamed = |signer: &Signer| {
        signer.token(|header, _| {
            header.as_object_mut().unwrap().remove("kid");
        })
    };
    let (first, second) = (Signer::ed("same"), Signer::ed("same"));
    world.publish(&[first.jwk()]);
    world.name(&unnamed(&first)).await;
    world.publish(&[second.jwk()]);
    sleep(31 * SECOND).await;
    world.name(&unnamed(&second)).await;
}
