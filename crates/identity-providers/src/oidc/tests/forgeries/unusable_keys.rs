//! Tokens that are signed by a key which the issuer publishes, but not for that.

use serde_json::{Value, json};

use super::cases::Case;
use crate::oidc::tests::support::{EC, ED, RSA, Signer};

const UNKNOWN: &str = "no key that fits";

/// A key of 1024 bits, and a token by it, made by `openssl genrsa 1024` and `openssl dgst -sha256 -sign`.
const SHORT_MODULUS: &str = "llGS9ECyBOoIqTVgGsK45vK8X5gsJhgK__HKul0QyUGGkyXUJj4qNypIK_ynkBhnH8mCfsbWI6AQbaMdecY0FDopPmJTj783EjDs5bFOgh2nhWDaVCdcawkW61bovJkWdMy_qdPTZvpm9ZMzPd6vJW7TSlqFzxnj3ppN6KuOlDM";
const SHORT_TOKEN: &str = "eyJhbGciOiJSUzI1NiIsImtpZCI6InNob3J0IiwidHlwIjoiYXQrand0In0.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUuY29tL3JlYWxtcy9mbGVldCIsImF1ZCI6ImNvbW1pc3NhaXJlIiwic3ViIjoiYW5uIiwiZXhwIjoxNzk1MjY2MDAwLCJpYXQiOjE3OTUyNjIzNDB9.SY0h7f9JMdFwaRePNQBQd-sVa1BncGKE-BdW16fv6ZG0W7nPiORLDy2qTYNtoJiHkXANkJRgf1GFnZhhgsQ6aYaNouAgF4y3CKPZZwi45CBtywgCVUW470LQqQ3Fl4ddSIkL9VXUU3na7O-jMapQjUp-gtoxyN4oYUAIZxfHi9o";

pub(super) fn cases() -> Vec<Case> {
    let short = json!({"kty": "RSA", "kid": "short", "n": SHORT_MODULUS, "e": "AQAB"});
    vec![
        Case::of("RSA key of 1024 bits", UNKNOWN, RSA.token(|_, _| {}), SHORT_TOKEN.to_owned())
            .with_keys(vec![RSA.jwk(), short]),
        published("key for encryption", &RSA, |jwk| jwk["use"] = json!("enc")),
        published("key whose use is null", &RSA, |jwk| jwk["use"] = Value::Null),
        published("key for other operations", &RSA, |jwk| jwk["key_ops"] = json!(["encrypt"])),
        published("operations are not a list", &RSA, |jwk| jwk["key_ops"] = json!("verify")),
        published("key for PS256", &RSA, |jwk| jwk["alg"] = json!("PS256")),
        published("key for RSA-OAEP", &RSA, |jwk| jwk["alg"] = json!("RSA-OAEP")),
        published("P-256 key for RS256", &EC, |jwk| jwk["alg"] = json!("RS256")),
        published("key with its private part", &EC, |jwk| jwk["d"] = json!("AAAA")),
        published("key of an unknown type", &ED, |jwk| jwk["kty"] = json!("AKP")),
        published("symmetric key", &ED, |jwk| {
            *jwk = json!({"kty": "oct", "kid": "ed-1", "k": "AAAA"});
        }),
        published("key on another curve", &EC, |jwk| jwk["crv"] = json!("P-384")),
        published("Ed25519 key as X25519", &ED, |jwk| jwk["crv"] = json!("X25519")),
        published("coordinate that is too short", &EC, |jwk| cut(jwk, "x")),
        published("Ed25519 key that is too short", &ED, |jwk| cut(jwk, "x")),
        published("RSA modulus with zeros in front", &RSA, |jwk| {
            jwk["n"] = json!(format!("AAAA{}", jwk["n"].as_str().unwrap()));
        }),
        published("RSA modulus with padding", &RSA, |jwk| {
            jwk["n"] = json!(format!("{}==", jwk["n"].as_str().unwrap()));
        }),
        published("RSA exponent of nine bytes", &RSA, |jwk| jwk["e"] = json!("AQABAQABAQAB")),
        published("identifier is a number", &RSA, |jwk| jwk["kid"] = json!(1)),
        published("key is null", &RSA, |jwk| *jwk = Value::Null),
    ]
}

/// The token that `signer` signs, where its key is published otherwise, beside a usual one.
fn published(name: &str, signer: &Signer, change: impl FnOnce(&mut Value)) -> Case {
    let other = Signer::ec("other");
    let mut jwk = signer.jwk();
    change(&mut jwk);
    let (untouched, forged) = (other.token(|_, _| {}), signer.token(|_, _| {}));
    Case::of(name, UNKNOWN, untouched, forged).with_keys(vec![jwk, other.jwk()])
}

fn cut(jwk: &mut Value, field: &str) {
    let text = jwk[field].as_str().unwrap();
    jwk[field] = json!(text[..text.len() - 3]);
}
