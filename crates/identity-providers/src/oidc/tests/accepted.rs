//! Valid tokens, as issuers write them, and what is read from them.

use serde_json::{Value, json};

use super::support::{EC, ED, ISSUER, NOW, RSA, Signer, World};

/// The user and the groups of a token with these options.
async fn owner(
    options: Value,
    change: impl FnOnce(&mut Value, &mut Value),
) -> (String, Vec<String>) {
    let identity = World::new(&options).identify(&RSA.token(change)).await.unwrap();
    (identity.name, identity.groups)
}

async fn name(options: Value, change: impl FnOnce(&mut Value, &mut Value)) -> String {
    owner(options, change).await.0
}

async fn groups(options: Value, change: impl FnOnce(&mut Value, &mut Value)) -> Vec<String> {
    owner(options, change).await.1
}

#[tokio::test(start_paused = true)]
async fn tokens_of_all_three_algorithms_are_accepted() {
    let world = World::new(&json!({}));
    for signer in [&*RSA, &*EC, &*ED] {
        assert_eq!(world.name(&signer.token(|_, _| {})).await, "corp:ann");
    }
}

#[tokio::test(start_paused = true)]
async fn keys_may_lack_what_is_optional_and_other_keys_may_stand_beside_them() {
    let world = World::new(&json!({}));
    let bare = |signer: &Signer| {
        let mut jwk = signer.jwk();
        for field in ["use", "alg", "kid"] {
            jwk.as_object_mut().unwrap().remove(field);
        }
        jwk
    };
    let others = [json!({"kty": "oct", "k": "AAAA"}), json!(1), json!({}), json!({"kty": "AKP"})];
    world.publish(&[&others[..], &[bare(&RSA), bare(&EC), bare(&ED)]].concat());
    for signer in [&*RSA, &*EC, &*ED] {
        let token = signer.token(|header, _| {
            header.as_object_mut().unwrap().remove("kid");
        });
        world.name(&token).await;
    }
}

#[tokio::test(start_paused = true)]
async fn times_at_their_limits_are_accepted() {
    for (claim, value) in [
        ("exp", NOW + 1),
        ("nbf", NOW + 300),
        ("nbf", 0),
        ("iat", NOW + 300),
        ("iat", 0),
        ("exp", 253_000_000_000),
    ] {
        assert_eq!(name(json!({}), |_, claims| claims[claim] = json!(value)).await, "corp:ann");
    }
    let age = json!({"max-token-age": 600});
    assert_eq!(name(age, |_, claims| claims["iat"] = json!(NOW - 599)).await, "corp:ann");
    let longest = json!({"max-token-age": u32::MAX});
    assert_eq!(name(longest, |_, claims| claims["iat"] = json!(NOW)).await, "corp:ann");
}

#[tokio::test(start_paused = true)]
async fn an_identity_expires_with_its_token_or_with_its_age() {
    let token = RSA.token(|_, _| {});
    for (options, expires) in [
        (json!({}), NOW + 3600),
        (json!({"max-token-age": 600}), NOW - 60 + 600),
        (json!({"max-token-age": 86_400}), NOW + 3600),
    ] {
        let identity = World::new(&options).identify(&token).await.unwrap();
        assert_eq!(identity.expires.unwrap().as_second(), expires, "{options}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_of_several_audiences_is_enough() {
    let two = || json!({"audience": ["commissaire", "commctl"]});
    name(json!({}), |_, claims| claims["aud"] = json!(["grafana", "commissaire"])).await;
    name(two(), |_, claims| claims["aud"] = json!("commctl")).await;
    name(two(), |_, claims| claims["aud"] = json!(["commctl"])).await;
}

#[tokio::test(start_paused = true)]
async fn access_tokens_may_have_each_of_the_types_that_issuers_write() {
    for media_type in ["at+jwt", "AT+JWT", "application/at+jwt", "JWT", "jwt", "application/jwt"] {
        name(json!({}), |header, _| header["typ"] = json!(media_type)).await;
    }
    name(json!({}), |header, _| *header = json!({"alg": "RS256", "kid": "rsa-1"})).await;
    // The client that sends an access token is another one.
    name(json!({}), |_, claims| claims["azp"] = json!("commctl")).await;
}

#[tokio::test(start_paused = true)]
async fn id_tokens_are_accepted_where_the_option_says_so() {
    let options = || json!({"token": "id", "audience": "commctl"});
    let id = |header: &mut Value, claims: &mut Value| {
        header["typ"] = json!("JWT");
        claims["aud"] = json!("commctl");
        claims["at_hash"] = json!("MTIzNDU2Nzg5MDEyMzQ1Ng");
        claims["nonce"] = json!("n-0S6_WzA2Mj");
    };
    name(options(), id).await;
    name(options(), |header, claims| {
        id(header, claims);
        claims["aud"] = json!(["commctl", "grafana"]);
        claims["azp"] = json!("commctl");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn user_names_are_taken_from_the_claim_that_is_configured() {
    let user = || json!({"username-claim": "preferred_username"});
    assert_eq!(
        name(user(), |_, claims| claims["preferred_username"] = json!("Ann B.")).await,
        "corp:Ann B."
    );
    let url = || json!({"username-claim": "https://example.com/name"});
    assert_eq!(
        name(url(), |_, claims| claims["https://example.com/name"] = json!("a")).await,
        "corp:a"
    );
    let email = || json!({"username-claim": "email"});
    let verified = |_: &mut Value, claims: &mut Value| {
        claims["email"] = json!("ann@example.com");
        claims["email_verified"] = json!(true);
    };
    assert_eq!(name(email(), verified).await, "corp:ann@example.com");
    let within = || json!({"username-claim": "/a~1b/c"});
    assert_eq!(name(within(), |_, claims| claims["a/b"] = json!({"c": "ann"})).await, "corp:ann");
    // The name of another kind of principal stays one of this issuer.
    assert_eq!(
        name(json!({}), |_, claims| claims["sub"] = json!("certificate:x")).await,
        "corp:certificate:x"
    );
}

#[tokio::test(start_paused = true)]
async fn groups_are_a_list_or_one_text_and_have_the_prefix() {
    let none: [&str; 0] = [];
    assert_eq!(groups(json!({}), |_, _| {}).await, none);
    assert_eq!(groups(json!({}), |_, claims| claims["groups"] = Value::Null).await, none);
    assert_eq!(groups(json!({}), |_, claims| claims["groups"] = json!("ops")).await, ["corp:ops"]);
    let listed =
        groups(json!({}), |_, claims| claims["groups"] = json!(["ops", "", "a\nb", "dev"]));
    assert_eq!(listed.await, ["corp:ops", "corp:dev"]);
    let roles = json!({"groups-claim": "roles"});
    assert_eq!(groups(roles, |_, claims| claims["roles"] = json!(["fleet"])).await, ["corp:fleet"]);
    let keycloak = json!({"groups-claim": "/realm_access/roles"});
    let nested = groups(keycloak, |_, claims| claims["realm_access"] = json!({"roles": ["ops"]}));
    assert_eq!(nested.await, ["corp:ops"]);
    let unverified = json!({"groups-claim": "email"});
    assert_eq!(groups(unverified, |_, claims| claims["email"] = json!("admins")).await, none);
}

#[tokio::test(start_paused = true)]
async fn scopes_that_are_configured_count_as_groups() {
    let options = || json!({"scopes": ["fleet.admin", "fleet.read"]});
    for (claim, value) in [
        ("scope", json!("openid fleet.read other")),
        ("scp", json!("fleet.read")),
        ("scp", json!(["other", "fleet.read"])),
    ] {
        let found = groups(options(), |_, claims| claims[claim] = value.clone()).await;
        assert_eq!(found, ["corp:scope:fleet.read"], "{claim} {value}");
    }
    let unlisted = groups(json!({}), |_, claims| claims["scope"] = json!("fleet.read"));
    assert!(unlisted.await.is_empty());
    let part = groups(options(), |_, claims| claims["scope"] = json!("fleet.reader xfleet.read"));
    assert!(part.await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_group_that_is_named_like_a_scope_is_left_out() {
    for options in [json!({}), json!({"scopes": ["fleet.admin"]})] {
        let named = json!(["ops", "scope:fleet.admin"]);
        let found = groups(options, |_, claims| claims["groups"] = named).await;
        assert_eq!(found, ["corp:ops"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_of_the_client_credentials_flow_has_its_roles() {
    let options = json!({"groups-claim": "roles", "username-claim": "client_id"});
    let (name, groups) = owner(options, |_, claims| {
        claims["client_id"] = json!("ci");
        claims["sub"] = json!("ci");
        claims["roles"] = json!(["fleet-operator"]);
    })
    .await;
    assert_eq!((name.as_str(), &groups[..]), ("corp:ci", &["corp:fleet-operator".to_owned()][..]));
}

#[tokio::test(start_paused = true)]
async fn a_header_may_have_fields_that_are_not_used() {
    name(json!({}), |header, _| {
        header["x5t"] = json!("dGVzdA");
        header["x5c"] = json!(["MIIB"]);
        header["cty"] = json!("json");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_token_is_for_the_issuer_that_it_names_to_the_byte() {
    let world = World::new(&json!({}));
    let is_for = |token: &str| world.oidc.is_for(&token.into());
    assert!(is_for(&RSA.token(|_, _| {})));
    assert!(is_for(&RSA.token(|_, claims| claims["exp"] = json!(0))), "nothing is verified");
    for other in
        [format!("{ISSUER}/"), ISSUER.to_uppercase(), ISSUER[1..].to_owned(), String::new()]
    {
        assert!(!is_for(&RSA.token(|_, claims| claims["iss"] = json!(other))), "{other}");
    }
    for text in ["", ".", "..", "a.b.c", "a.e30.c", "\u{e4}.\u{e4}.\u{e4}"] {
        assert!(!is_for(text), "{text}");
    }
    assert!(!is_for(&"\u{e4}".repeat(16 * 1024)));
    assert_eq!((world.oidc.issuer(), world.oidc.prefix()), (ISSUER, "corp"));
    assert_eq!(world.fetches(), 0);
}
