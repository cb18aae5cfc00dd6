//! Algorithms and signatures.

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA384, RSA_PSS_SHA256,
};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::cases::Case;
use crate::oidc::tests::support::{EC, ED, OTHER_RSA, Pair, RSA, Signer, claims, decode, encode};

const ALGORITHM: &str = "not signed with RS256, ES256 or EdDSA";
const MISSING: &str = "no signature";
const INVALID: &str = "signature of the token is not valid";
const UNKNOWN: &str = "no key that fits";

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for name in ["none", "None", "NONE", "nOnE"] {
        let header = encode(json!({"alg": name, "kid": "rsa-1", "typ": "at+jwt"}).to_string());
        let unsigned = |valid: &str| format!("{header}.{}.", part(valid, 1));
        let signed = |valid: &str| format!("{}{}", unsigned(valid), part(valid, 2));
        cases.push(Case::text(&format!("{name} without a signature"), MISSING, unsigned));
        cases.push(Case::text(&format!("{name} with a signature"), ALGORITHM, signed));
    }
    for (name, value) in [
        ("algorithm in lower case", json!("rs256")),
        ("algorithm with a space", json!("RS256 ")),
        ("algorithm is empty", json!("")),
        ("algorithm is a list", json!(["RS256"])),
        ("algorithm is null", Value::Null),
    ] {
        cases.push(Case::signed(name, ALGORITHM, |header, _| header["alg"] = value));
    }
    let pem = pem(&RSA.public_der());
    for (name, secret) in [
        ("HS256 with the public key in PEM", pem.clone().into_bytes()),
        ("HS256 with the public key in PEM without the last line break", pem.trim().into()),
        ("HS256 with the public key in DER", RSA.public_der()),
        ("HS256 with the published key", RSA.jwk().to_string().into_bytes()),
        ("HS256 with the modulus", decode(RSA.jwk()["n"].as_str().unwrap())),
        ("HS256 with an empty secret", Vec::new()),
    ] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        let sign = |message: &[u8]| hmac::sign(&key, message).as_ref().to_vec();
        cases.push(Case::text(name, ALGORITHM, |_| by("HS256", sign)));
    }
    cases.extend(confused());
    cases.extend(altered());
    cases
}

/// Signatures by a key or an algorithm that does not fit the header.
fn confused() -> Vec<Case> {
    let sha384 = |message: &[u8]| RSA.sign_rsa(&RSA_PKCS1_SHA384, message);
    let pss = |message: &[u8]| RSA.sign_rsa(&RSA_PSS_SHA256, message);
    let claiming = |name: &str, signer: &Signer, algorithm: &str, id: &str| {
        let forged = signer.token(|header, _| {
            header["alg"] = json!(algorithm);
            header["kid"] = json!(id);
        });
        Case::of(name, UNKNOWN, signer.token(|_, _| {}), forged)
    };
    vec![
        Case::signed("no algorithm", ALGORITHM, |header, _| remove(header, "alg")),
        Case::text("PS256 by the right key", ALGORITHM, |_| by("PS256", pss)),
        Case::text("RS384 by the right key", ALGORITHM, |_| by("RS384", sha384)),
        Case::text("RS256 with a signature of RS384", INVALID, |_| by("RS256", sha384)),
        Case::text("RS256 with a signature of PS256", INVALID, |_| by("RS256", pss)),
        Case::text("RS256 by the P-256 key", INVALID, |_| by("RS256", |text| EC.sign(text))),
        Case::text("RS256 by the Ed25519 key", INVALID, |_| by("RS256", |text| ED.sign(text))),
        claiming("ES256 with the identifier of the RSA key", &EC, "ES256", "rsa-1"),
        claiming("EdDSA with the identifier of the P-256 key", &ED, "EdDSA", "ec-1"),
        claiming("RS256 with the identifier of the Ed25519 key", &RSA, "RS256", "ed-1"),
        claiming("ES256 by the Ed25519 key", &ED, "ES256", "ed-1"),
        claiming("EdDSA by the P-256 key", &EC, "EdDSA", "ec-1"),
        claiming("ES256 by the RSA key", &RSA, "ES256", "rsa-1"),
        Case::text("key of another issuer with the same identifier", INVALID, |_| {
            OTHER_RSA.token(|_, _| {})
        }),
        Case::text("key that the issuer does not publish", UNKNOWN, |_| {
            Signer::ec("ec-2").token(|_, _| {})
        }),
    ]
}

/// Signatures, or what was signed, altered without the private key.
fn altered() -> Vec<Case> {
    let resigned = |name: &str, signer: &Signer, forge: fn(Vec<u8>) -> Vec<u8>| {
        let untouched = signer.token(|_, _| {});
        let signature = forge(decode(part(&untouched, 2)));
        let forged = with_part(&untouched, 2, &encode(signature));
        Case::of(name, INVALID, untouched, forged)
    };
    let other = |user: &'static str| RSA.token(|_, claims| claims["sub"] = json!(user));
    vec![
        Case::text("RS256 without a signature", MISSING, |valid| with_part(valid, 2, "")),
        Case::text("signature of another token", INVALID, |valid| {
            with_part(valid, 2, part(&other("bob"), 2))
        }),
        Case::text("claims of another token", INVALID, |valid| {
            with_part(valid, 1, part(&other("admin"), 1))
        }),
        Case::text("another user", INVALID, |valid| {
            let mut claims: Value = serde_json::from_slice(&decode(part(valid, 1))).unwrap();
            claims["sub"] = json!("root");
            with_part(valid, 1, &encode(claims.to_string()))
        }),
        Case::text("the same header with a space", INVALID, |valid| {
            with_part(valid, 0, &encode(format!(" {}", RSA.header())))
        }),
        Case::of("ES256 in DER", INVALID, EC.token(|_, _| {}), ec_der()),
        resigned("ES256 of zeros", &EC, |_| vec![0; 64]),
        resigned("EdDSA of zeros", &ED, |_| vec![0; 64]),
        resigned("RS256 of zeros", &RSA, |_| vec![0; 256]),
        resigned("RS256 with a flipped bit", &RSA, |signature| flip(signature, 100)),
        resigned("ES256 with a flipped bit", &EC, |signature| flip(signature, 40)),
        resigned("EdDSA with a flipped bit", &ED, |signature| flip(signature, 40)),
        resigned("ES256 with its halves exchanged", &EC, |s| [&s[32..], &s[..32]].concat()),
        resigned("RS256 without its last byte", &RSA, |s| s[..255].to_vec()),
        resigned("ES256 without its last byte", &EC, |s| s[..63].to_vec()),
        resigned("EdDSA without its last byte", &ED, |s| s[..63].to_vec()),
        resigned("RS256 with a further byte", &RSA, |s| [&s[..], &[0]].concat()),
        resigned("ES256 with a further byte", &EC, |s| [&s[..], &[0]].concat()),
        resigned("RS256 with a zero in front", &RSA, |s| [&[0], &s[..]].concat()),
        resigned("one byte", &RSA, |s| s[..1].to_vec()),
    ]
}

pub(super) fn part(token: &str, number: usize) -> &str {
    token.split('.').nth(number).unwrap()
}

/// The same token with another part.
pub(super) fn with_part(token: &str, number: usize, replacement: &str) -> String {
    let mut parts: Vec<_> = token.split('.').collect();
    parts[number] = replacement;
    parts.join(".")
}

pub(super) fn remove(object: &mut Value, field: &str) {
    object.as_object_mut().unwrap().remove(field);
}

fn flip(mut bytes: Vec<u8>, at: usize) -> Vec<u8> {
    bytes[at] ^= 1;
    bytes
}

/// A token with the identifier of the RSA key.
fn by(algorithm: &str, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let header = json!({"alg": algorithm, "kid": "rsa-1", "typ": "at+jwt"}).to_string();
    let message = format!("{}.{}", encode(header), encode(claims().to_string()));
    let signature = encode(sign(message.as_bytes()));
    format!("{message}.{signature}")
}

fn ec_der() -> String {
    let Pair::Ec(pair) = &EC.pair else { panic!("not a P-256 key") };
    let document = pair.to_pkcs8v1().unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, document.as_ref());
    let token = EC.token(|_, _| {});
    let (message, _) = token.rsplit_once('.').unwrap();
    let signature = pair.unwrap().sign(&SystemRandom::new(), message.as_bytes()).unwrap();
    with_part(&token, 2, &encode(signature))
}

fn pem(der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let lines = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect::<Vec<_>>();
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"))
}
