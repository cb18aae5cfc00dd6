//! Claims: issuer, audience, times, names and required ones.

use serde_json::{Value, json};

use super::cases::Case;
use super::signatures::remove;
use crate::oidc::tests::support::{ISSUER, NOW};

const WRONG_ISSUER: &str = "the issuer of the token is not";
const WRONG_AUDIENCE: &str = "not for an audience";
const NOT_A_TIME: &str = "is not a time in whole seconds";
const EXPIRED: &str = "has expired";
const NAME: &str = "no text in its claim `sub`";
const GROUPS: &str = "is not a list of texts";

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (claim, reason) in
        [("iss", WRONG_ISSUER), ("aud", WRONG_AUDIENCE), ("exp", "no claim `exp`"), ("sub", NAME)]
    {
        let name = format!("{claim} is missing");
        cases.push(Case::signed(&name, reason, |_, claims| remove(claims, claim)));
    }
    let with = |claim: &'static str, reason, values: &[(&str, Value)]| -> Vec<Case> {
        let case = |(name, value): &(&str, Value)| {
            let name = format!("{claim} {name}");
            Case::signed(&name, reason, |_, claims| claims[claim] = value.clone())
        };
        values.iter().map(case).collect()
    };
    cases.extend(with("iss", WRONG_ISSUER, &issuers()));
    cases.extend(with("aud", WRONG_AUDIENCE, &audiences()));
    for claim in ["exp", "nbf", "iat"] {
        cases.extend(with(claim, NOT_A_TIME, &no_times()));
    }
    for (claim, reason, name, value) in [
        ("exp", EXPIRED, "is zero", json!(0)),
        ("exp", EXPIRED, "was one second ago", json!(NOW - 1)),
        ("exp", EXPIRED, "is now", json!(NOW)),
        ("nbf", "not valid yet", "is in more than five minutes", json!(NOW + 301)),
        ("iat", "issued in the future", "is in more than five minutes", json!(NOW + 301)),
        ("sub", "claim `sub` of the token is empty", "is empty", json!("")),
        ("sub", NAME, "is a number", json!(1000)),
        ("sub", NAME, "is null", Value::Null),
        ("sub", NAME, "is a list", json!(["ann"])),
        ("sub", "not printable", "with a line break", json!("ann\nroot")),
        ("sub", "not printable", "with a terminal sequence", json!("ann\u{1b}[2J")),
        ("sub", "not printable", "with NUL", json!("ann\0")),
        ("sub", "too long", "is too long", json!("a".repeat(252))),
        ("groups", GROUPS, "are a number", json!(1)),
        ("groups", GROUPS, "are an object", json!({"admins": true})),
        ("groups", GROUPS, "with a number", json!(["admins", 1])),
        ("groups", GROUPS, "with a list", json!([["admins"]])),
        ("groups", "more than 1000 groups", "are too many", json!(vec!["g"; 1001])),
        ("scope", "`scope` of the token is neither", "is an object", json!({"a": 1})),
        ("scp", "`scp` of the token is neither", "is a number", json!(1)),
    ] {
        cases.extend(with(claim, reason, &[(name, value)]));
    }
    cases.extend(required());
    cases.extend(ages());
    cases.extend(emails());
    cases
}

fn issuers() -> [(&'static str, Value); 13] {
    [
        ("is another one", json!("https://evil.example.com")),
        ("is a prefix of ours", json!(&ISSUER[..ISSUER.len() - 1])),
        ("begins with ours", json!(format!("{ISSUER}.evil.example.com"))),
        ("with a final slash", json!(format!("{ISSUER}/"))),
        ("in another case", json!(ISSUER.replace("fleet", "Fleet"))),
        ("with the host in another case", json!(ISSUER.replace("id.", "ID."))),
        ("with the default port", json!(ISSUER.replace(".com", ".com:443"))),
        ("with dots in the path", json!(ISSUER.replace("/fleet", "/x/../fleet"))),
        ("with http", json!(ISSUER.replace("https", "http"))),
        ("with a space", json!(format!("{ISSUER} "))),
        ("is a list", json!([ISSUER])),
        ("is empty", json!("")),
        ("is null", Value::Null),
    ]
}

fn audiences() -> [(&'static str, Value); 14] {
    [
        ("is another one", json!("grafana")),
        ("is a list without ours", json!(["grafana", "account"])),
        ("is an empty list", json!([])),
        ("contains ours", json!("not-commissaire-at-all")),
        ("begins with ours", json!("commissaire-staging")),
        ("is a part of ours", json!("commis")),
        ("in another case", json!("Commissaire")),
        ("separated by spaces", json!("grafana commissaire")),
        ("is empty", json!("")),
        ("is a number", json!(1)),
        ("is null", Value::Null),
        ("is an object", json!({"commissaire": true})),
        ("is a list with a number", json!(["commissaire", 1])),
        ("is a list in a list", json!([["commissaire"]])),
    ]
}

fn no_times() -> [(&'static str, Value); 9] {
    [
        ("is text", json!((NOW + 100).to_string())),
        ("is huge", json!(u64::MAX)),
        ("is beyond the calendar", json!(1_000_000_000_000_000_i64)),
        ("is negative", json!(-1)),
        ("is the most negative", json!(i64::MIN)),
        ("is a fraction", json!(1_795_262_500.5)),
        ("is a float", json!(1_795_262_500.0)),
        ("is null", Value::Null),
        ("is a list", json!([NOW + 100])),
    ]
}

fn required() -> Vec<Case> {
    let case = |name, forge: fn(&mut Value)| {
        Case::prepared(
            name,
            "required claim",
            json!({"required-claims": {"repository": "corp/fleet", "/realm/level": 3}}),
            |_, claims| {
                claims["repository"] = json!("corp/fleet");
                claims["realm"] = json!({"level": 3});
            },
            |_, claims| forge(claims),
        )
    };
    vec![
        case("required claim is missing", |claims| remove(claims, "repository")),
        case("required claim is null", |claims| claims["repository"] = Value::Null),
        case("required claim differs", |claims| claims["repository"] = json!("corp/fleet-fork")),
        case("required claim in another case", |claims| claims["repository"] = json!("Corp/Fleet")),
        case("required claim in a list", |claims| claims["repository"] = json!(["corp/fleet"])),
        case("required claim is another number", |claims| claims["realm"]["level"] = json!(2)),
        case("required claim is text", |claims| claims["realm"]["level"] = json!("3")),
        case("required claim within a missing one", |claims| remove(claims, "realm")),
    ]
}

fn ages() -> Vec<Case> {
    let case = |name, reason, forge: fn(&mut Value)| {
        let options = json!({"max-token-age": 600});
        Case::prepared(name, reason, options, |_, _| {}, |_, claims| forge(claims))
    };
    vec![
        case("too old", EXPIRED, |claims| claims["iat"] = json!(NOW - 600)),
        case("issued in 1970", EXPIRED, |claims| claims["iat"] = json!(0)),
        case("no age", "no claim `iat`", |claims| remove(claims, "iat")),
    ]
}

fn emails() -> Vec<Case> {
    let case = |name, forge: fn(&mut Value)| {
        Case::prepared(
            name,
            "no text in its claim `email` with `email_verified: true`",
            json!({"username-claim": "email"}),
            |_, claims| {
                claims["email"] = json!("ann@example.com");
                claims["email_verified"] = json!(true);
            },
            |_, claims| forge(claims),
        )
    };
    vec![
        case("email is not verified", |claims| claims["email_verified"] = json!(false)),
        case("email without email_verified", |claims| remove(claims, "email_verified")),
        case("email_verified is text", |claims| claims["email_verified"] = json!("true")),
        case("email_verified is a number", |claims| claims["email_verified"] = json!(1)),
        case("email_verified is null", |claims| claims["email_verified"] = Value::Null),
        case("email is missing", |claims| remove(claims, "email")),
    ]
}
