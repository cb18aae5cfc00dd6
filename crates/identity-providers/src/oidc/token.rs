//! The compact form of a signed token (RFC 7515): header, claims and one signature, in base64url, separated by dots.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::json::Object;
use super::rejected;
use crate::Result;

/// The longest token, in bytes.
const TOKEN_MAX: usize = 16 * 1024;

/// The longest identifier of a key, in bytes.
const KID_MAX: usize = 256;

/// Fields of a header that change how the token is to be read, or bring a key along. A key is only ever one that the
/// issuer publishes.
const FORBIDDEN: [&str; 5] = ["crit", "b64", "jwk", "jku", "x5u"];

/// A token, of which nothing is verified yet.
#[derive(Debug)]
pub(super) struct Token<'a> {
    pub(super) algorithm: Algorithm,
    /// The identifier of the key, `kid`.
    pub(super) key_id: Option<String>,
    /// The media type of the token, `typ`.
    pub(super) media_type: Option<String>,
    pub(super) claims: Map<String, Value>,
    /// The text that is signed.
    pub(super) signed: &'a str,
    /// In base64url.
    pub(super) signature: &'a str,
}

impl<'a> Token<'a> {
    /// # Errors
    /// When the form is not exactly that of a token with one signature.
    pub(super) fn parse(text: &'a str) -> Result<Self> {
        let malformed = || rejected("the token is not a signed JSON Web Token in compact form");
        if text.len() > TOKEN_MAX {
            return Err(rejected(format!("the token has more than {TOKEN_MAX} bytes")));
        }
        let (signed, signature) = text.rsplit_once('.').ok_or_else(malformed)?;
        let (header, claims) = signed.split_once('.').ok_or_else(malformed)?;
        if signature.is_empty() || BASE64_URL_SAFE_NO_PAD.decode(signature).is_err() {
            return Err(rejected("the token has no signature, or one that is not in base64url"));
        }
        // A further dot fails here: it is not in the alphabet.
        let header = object(header).ok_or_else(malformed)?;
        let claims = object(claims).ok_or_else(malformed)?;
        if let Some(field) = FORBIDDEN.into_iter().find(|field| header.contains_key(*field)) {
            return Err(rejected(format!("the header of the token has the field `{field}`")));
        }
        let algorithm = header.get("alg").and_then(Value::as_str).and_then(algorithm);
        let algorithm = algorithm
            .ok_or_else(|| rejected("the token is not signed with RS256, ES256 or EdDSA"))?;
        let key_id = optional_text(&header, "kid")?;
        if key_id.as_ref().is_some_and(|id| id.is_empty() || id.len() > KID_MAX) {
            return Err(rejected(
                "the field `kid` in the header of the token is empty or too long",
            ));
        }
        let media_type = optional_text(&header, "typ")?;
        Ok(Self { algorithm, key_id, media_type, claims, signed, signature })
    }
}

/// The issuer that a token names; `None` for a text that is no token.
pub(super) fn unverified_issuer(text: &str) -> Option<String> {
    /// Only this claim is read: the rest is for [`Token::parse`].
    #[derive(Deserialize)]
    struct Claims {
        iss: String,
    }
    let claims = text.get(..TOKEN_MAX.min(text.len()))?.split('.').nth(1)?;
    let claims = BASE64_URL_SAFE_NO_PAD.decode(claims).ok()?;
    serde_json::from_slice(&claims).ok().map(|Claims { iss }| iss)
}

fn object(encoded: &str) -> Option<Map<String, Value>> {
    let decoded = BASE64_URL_SAFE_NO_PAD.decode(encoded).ok()?;
    serde_json::from_slice(&decoded).ok().map(|Object(object)| object)
}

fn algorithm(name: &str) -> Option<Algorithm> {
    match name {
        "RS256" => Some(Algorithm::RS256),
        "ES256" => Some(Algorithm::ES256),
        "EdDSA" => Some(Algorithm::EdDSA),
        _ => None,
    }
}

fn optional_text(header: &Map<String, Value>, field: &str) -> Result<Option<String>> {
    match header.get(field) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => {
            Err(rejected(format!("the field `{field}` in the header of the token is not text")))
        }
    }
}
