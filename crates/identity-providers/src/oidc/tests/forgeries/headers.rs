//! Fields of the header.

use serde_json::{Value, json};

use super::cases::Case;
use super::signatures::remove;
use crate::oidc::tests::support::{EC, JWKS, OTHER_RSA, RSA, Signer, claims};

const UNKNOWN: &str = "no key that fits";
const FORM: &str = "compact form";
const KEY_ID: &str = "`kid` in the header of the token";
const TYPE: &str = "`typ` in its header";

pub(super) fn cases() -> Vec<Case> {
    let mut cases = keys();
    for (name, field, reason, value) in [
        ("URL of keys", "jku", "`jku`", json!("https://evil.example.com/keys")),
        ("URL of the issuer's own keys", "jku", "`jku`", json!(JWKS)),
        ("URL of certificates", "x5u", "`x5u`", json!("https://evil.example.com/chain")),
        ("critical fields", "crit", "`crit`", json!(["exp"])),
        ("no critical fields", "crit", "`crit`", json!([])),
        ("claims that are not encoded", "b64", "`b64`", json!(false)),
        ("kid is a path", "kid", UNKNOWN, json!("../../../../../../dev/null")),
        ("kid is a URL", "kid", UNKNOWN, json!("https://evil.example.com/keys#rsa-1")),
        ("kid is SQL", "kid", UNKNOWN, json!("x' UNION SELECT 'secret' --")),
        ("kid has a line break", "kid", UNKNOWN, json!("rsa-1\n")),
        ("kid is a prefix of the issuer's", "kid", UNKNOWN, json!("rsa")),
        ("kid in upper case", "kid", UNKNOWN, json!("RSA-1")),
        ("kid is empty", "kid", KEY_ID, json!("")),
        ("kid is too long", "kid", KEY_ID, json!("k".repeat(257))),
        ("kid is a number", "kid", KEY_ID, json!(1)),
        ("kid is null", "kid", KEY_ID, Value::Null),
        ("kid is a list", "kid", KEY_ID, json!(["rsa-1"])),
        ("typ of a logout token", "typ", TYPE, json!("logout+jwt")),
        ("typ of a security event", "typ", TYPE, json!("secevent+jwt")),
        ("typ of a DPoP proof", "typ", TYPE, json!("dpop+jwt")),
        ("typ of another syntax", "typ", TYPE, json!("JOSE+JSON")),
        ("typ is empty", "typ", TYPE, json!("")),
        ("typ is a number", "typ", "`typ` in the header of the token is not text", json!(1)),
    ] {
        cases.push(Case::signed(name, reason, |header, _| header[field] = value));
    }
    let text = |header: &str| RSA.signed(header, claims().to_string());
    for (name, header) in [
        ("duplicate alg", r#"{"alg":"none","kid":"rsa-1","alg":"RS256"}"#.to_owned()),
        ("duplicate kid", r#"{"alg":"RS256","kid":"rsa-1","kid":"rsa-1"}"#.to_owned()),
        (
            "duplicate kid with an escape",
            r#"{"alg":"RS256","kid":"rsa-1","\u006bid":"x"}"#.to_owned(),
        ),
        ("duplicate unknown field", r#"{"alg":"RS256","kid":"rsa-1","a":1,"a":1}"#.to_owned()),
        ("header is a list", r#"["RS256"]"#.to_owned()),
        ("header is null", "null".to_owned()),
        ("header is empty", String::new()),
        ("header with a byte order mark", format!("\u{feff}{}", RSA.header())),
        ("header with a second object behind it", format!("{}{{}}", RSA.header())),
        ("header in single quotes", RSA.header().to_string().replace('"', "'")),
    ] {
        cases.push(Case::text(name, FORM, |_| text(&header)));
    }
    cases
}

/// Keys that the header brings along, or does not name.
fn keys() -> Vec<Case> {
    vec![
        Case::text("embedded key with the issuer's identifier", "`jwk`", |_| {
            OTHER_RSA.token(|header, _| header["jwk"] = OTHER_RSA.jwk())
        }),
        Case::text("embedded key without an identifier", "`jwk`", |_| {
            OTHER_RSA.token(|header, _| {
                header["jwk"] = OTHER_RSA.jwk();
                remove(header, "kid");
            })
        }),
        Case::signed("embedded key that is the issuer's", "`jwk`", |header, _| {
            header["jwk"] = RSA.jwk();
        }),
        Case::text("embedded chain of certificates", "signature of the token", |_| {
            OTHER_RSA.token(|header, _| header["x5c"] = json!(["MIIB"]))
        }),
        Case::text("no kid, and the only key is another one", UNKNOWN, |_| {
            OTHER_RSA.token(|header, _| remove(header, "kid"))
        }),
        Case::signed("no kid, and two keys fit", "several keys", |header, _| remove(header, "kid"))
            .with_keys(vec![RSA.jwk(), Signer::rsa("rsa-2").jwk()]),
        Case::of(
            "two keys with the same identifier",
            "several keys",
            EC.token(|_, _| {}),
            RSA.token(|_, _| {}),
        )
        .with_keys(vec![EC.jwk(), RSA.jwk(), OTHER_RSA.jwk()]),
    ]
}
