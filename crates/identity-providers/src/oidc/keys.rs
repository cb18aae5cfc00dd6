//! The keys of an issuer (JSON Web Key Set, RFC 7517), and signatures by them.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::token::Token;

/// The most keys of an issuer.
const KEYS_MAX: usize = 100;

/// Lengths of an RSA key, in bits.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// The longest public exponent of an RSA key, in bytes.
const RSA_EXPONENT_MAX: usize = 8;

/// The length of a coordinate on P-256, and of an Ed25519 key, in bytes.
const COORDINATE: usize = 32;

/// Fields of a private key (RFC 7518), and of a symmetric one.
const SECRET_FIELDS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// Identifies a key by what it consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fingerprint([u8; 32]);

/// Keys that signatures are verified by.
#[derive(Debug, Default)]
pub(super) struct KeySet(Vec<Key>);

#[derive(Debug)]
struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    public: DecodingKey,
    fingerprint: Fingerprint,
}

/// What the keys say about a signature.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It was made with this key.
    Valid(Fingerprint),
    Invalid,
    /// No key fits the token; a newer set of keys may have one.
    UnknownKey,
    /// Several keys fit.
    Ambiguous,
}

impl KeySet {
    /// Reads a set. Keys that no token is verified by are left out: issuers publish keys for encryption and for other
    /// algorithms beside them.
    ///
    /// # Errors
    /// When it is not a set of keys, or has too many.
    pub(super) fn read(document: &Map<String, Value>) -> Result<Self, String> {
        let keys = document.get("keys").and_then(Value::as_array);
        let keys = keys.ok_or("its answer is not a JSON Web Key Set")?;
        if keys.len() > KEYS_MAX {
            return Err(format!("it publishes more than {KEYS_MAX} keys"));
        }
        let usable = keys.iter().filter_map(|key| {
            let read = Key::read(key);
            read.inspect_err(|reason| tracing::debug!(reason, "a key of an issuer is not used"))
                .ok()
        });
        Ok(Self(usable.collect()))
    }

    /// Whether it has this key.
    pub(super) fn contains(&self, fingerprint: &Fingerprint) -> bool {
        self.0.iter().any(|key| key.fingerprint == *fingerprint)
    }

    /// Verifies the signature of a token, by the key with its identifier; without one by the only key for its algorithm.
    pub(super) fn verify(&self, token: &Token<'_>) -> Verdict {
        let fits = |key: &&Key| {
            key.algorithm == token.algorithm && (token.key_id.is_none() || key.id == token.key_id)
        };
        let mut fitting = self.0.iter().filter(fits);
        let Some(key) = fitting.next() else { return Verdict::UnknownKey };
        if fitting.next().is_some() {
            return Verdict::Ambiguous;
        }
        let (signature, signed) = (token.signature, token.signed.as_bytes());
        match jsonwebtoken::crypto::verify(signature, signed, &key.public, key.algorithm) {
            Ok(true) => Verdict::Valid(key.fingerprint),
            // Nothing says by which key it was made: perhaps by one that has been published since.
            _ if token.key_id.is_none() => Verdict::UnknownKey,
            _ => Verdict::Invalid,
        }
    }
}

impl Key {
    /// # Errors
    /// Why no token can be verified by it.
    fn read(key: &Value) -> Result<Self, &'static str> {
        let text = |field: &str| key.get(field).and_then(Value::as_str);
        if SECRET_FIELDS.iter().any(|field| key.get(field).is_some()) {
            return Err("it has a private part, with which anyone can issue tokens");
        }
        if key.get("use").is_some_and(|purpose| purpose != "sig") {
            return Err("it is not for signatures");
        }
        let verifies = |operations: &Value| {
            operations
                .as_array()
                .is_some_and(|all| all.iter().any(|operation| operation == "verify"))
        };
        if key.get("key_ops").is_some_and(|operations| !verifies(operations)) {
            return Err("it is not for signatures");
        }
        let id = match key.get("kid") {
            None => None,
            Some(Value::String(id)) => Some(id.clone()),
            Some(_) => return Err("its identifier is not text"),
        };
        let (algorithm, name, public) = match (text("kty"), text("crv")) {
            (Some("RSA"), _) => {
                let (modulus, exponent) = (bytes(key, "n")?, bytes(key, "e")?);
                let bits = modulus.len() * 8;
                // RFC 7518, section 6.3.1.1: no leading zeros.
                let bits = bits - modulus.first().map_or(0, |byte| byte.leading_zeros() as usize);
                if modulus.first() == Some(&0) || !RSA_BITS.contains(&bits) {
                    return Err("its RSA modulus does not have 2048 to 8192 bits");
                }
                if exponent.len() > RSA_EXPONENT_MAX {
                    return Err("its RSA exponent is too long");
                }
                let public = DecodingKey::from_rsa_raw_components(&modulus, &exponent);
                (Algorithm::RS256, "RS256", public)
            }
            (Some("EC"), Some("P-256")) => {
                let (x, y) = (bytes(key, "x")?, bytes(key, "y")?);
                if [x.len(), y.len()] != [COORDINATE; 2] {
                    return Err("its coordinates do not have 32 bytes");
                }
                // An uncompressed point (SEC 1, section 2.3.3).
                let public = DecodingKey::from_ec_der(&[&[4], &x[..], &y[..]].concat());
                (Algorithm::ES256, "ES256", public)
            }
            (Some("OKP"), Some("Ed25519")) => {
                let x = bytes(key, "x")?;
                if x.len() != COORDINATE {
                    return Err("its coordinate does not have 32 bytes");
                }
                (Algorithm::EdDSA, "EdDSA", DecodingKey::from_ed_der(&x))
            }
            _ => return Err("its type is not one of RSA, P-256 and Ed25519"),
        };
        if key.get("alg").is_some_and(|algorithm| algorithm != name) {
            return Err("it is for another algorithm than RS256, ES256 and EdDSA");
        }
        Ok(Self { id, algorithm, public, fingerprint: fingerprint(key) })
    }
}

fn bytes(key: &Value, field: &str) -> Result<Vec<u8>, &'static str> {
    let text = key.get(field).and_then(Value::as_str).unwrap_or_default();
    BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| "a part of it is not in base64url")
}

/// Over its identifier too: a key that is published under another one is another key to tokens.
fn fingerprint(key: &Value) -> Fingerprint {
    let mut hash = Sha256::new();
    for field in ["kid", "kty", "crv", "n", "e", "x", "y"] {
        let text = key.get(field).and_then(Value::as_str).unwrap_or_default();
        hash.update(text.len().to_be_bytes());
        hash.update(text);
    }
    Fingerprint(hash.finalize().into())
}
