//! Tokens of enrollments: `ID.SECRET`, as the password of the user `enroll` or as a bearer token.

use std::fmt::Write as _;
use std::net::IpAddr;

use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use model::{Enrollment, ident};
use runtime::{Clock, random};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use storage_client::StorageClient;
use subtle::ConstantTimeEq as _;

use super::Refusal;
use crate::error::ApiError;
use crate::principal::Principal;

/// The user whose password a token is.
pub(super) const USER: &str = "enroll";

/// Bytes of an identifier, which is no secret.
const ID_BYTES: usize = 6;

/// Characters of the secret part: 256 bits.
const SECRET_LENGTH: usize = 43;

/// A token, as a request shows it.
#[derive(Debug)]
pub(super) struct Token {
    id: String,
    secret: SecretString,
}

/// A new token: its identifier, what is shown once, and what is kept.
#[derive(Debug)]
pub struct Minted {
    /// What identifies it.
    pub id: String,
    /// The whole token.
    pub token: SecretString,
    /// The hash of its secret part.
    pub hash: String,
}

impl Minted {
    /// Makes one.
    pub fn random() -> Self {
        let id = hex(&random::bytes::<ID_BYTES>());
        let secret = BASE64.encode(random::secret::<32>());
        let (token, hash) = (format!("{id}.{secret}").into(), hash(&secret));
        Self { id, token, hash }
    }
}

impl Token {
    /// The token that a request shows, if that is what it shows.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        if let Some((user, password)) = super::http_basic::credentials(headers) {
            return (user == USER).then(|| Self::parse(password.expose_secret()))?;
        }
        let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| Self::parse(token.trim()))?
    }

    fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.split_once('.')?;
        let fits = id.len() == 2 * ID_BYTES
            && ident::name(id).is_ok()
            && secret.len() == SECRET_LENGTH
            && ident::name(secret).is_ok();
        fits.then(|| Self { id: id.to_owned(), secret: SecretString::from(secret) })
    }

    /// Who shows it, from `source`.
    pub(super) async fn check(
        &self,
        storage: &StorageClient,
        clock: &Clock,
        source: IpAddr,
    ) -> Result<Principal, Refusal> {
        // Without the secret, the identifier proves nothing about the client.
        let unclaimed = |error, counts| Refusal { error, claimed: None, counts };
        let found = storage.find::<Enrollment>(&self.id).await;
        let found = found.map_err(|error| unclaimed(error.into(), false))?;
        let Some(enrollment) = found.map(|found| found.record).filter(|e| self.is_of(e)) else {
            let detail = "this enrollment token is unknown, or was revoked";
            return Err(unclaimed(ApiError::forbidden(detail), true));
        };
        let who = Principal::enrolling(&self.id);
        let refuse = |detail: &str| Refusal {
            error: ApiError::forbidden(detail),
            claimed: Some(who.clone()),
            counts: true,
        };
        if !enrollment.voided_at.is_empty() {
            return Err(refuse(&format!(
                "a restore from a backup voided this enrollment token at {}: ask for a new one",
                enrollment.voided_at
            )));
        }
        if enrollment.is_over(clock.wall()) {
            return Err(refuse("this enrollment token has expired: ask for a new one"));
        }
        if !enrollment.from.is_empty() && !enrollment.from.contains(source) {
            return Err(refuse("this enrollment token is for hosts of another network"));
        }
        Ok(who)
    }

    fn is_of(&self, enrollment: &Enrollment) -> bool {
        let given = hash(self.secret.expose_secret());
        given.as_bytes().ct_eq(enrollment.token_hash.as_bytes()).into()
    }
}

/// A random secret of 256 bits needs no slow hash.
pub(super) fn hash(secret: &str) -> String {
    hex(&Sha256::digest(secret))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    use super::*;

    fn shown(value: &str) -> Option<Token> {
        let value = HeaderValue::from_str(value).ok()?;
        Token::of(&HeaderMap::from_iter([(header::AUTHORIZATION, value)]))
    }

    fn basic(user: &str, password: &str) -> Option<Token> {
        shown(&format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
    }

    #[test]
    fn a_token_is_shown_in_two_ways() {
        let minted = Minted::random();
        let token = minted.token.expose_secret();
        for read in [basic(USER, token), shown(&format!("bearer {token}"))] {
            let read = read.unwrap();
            assert_eq!(read.id, minted.id);
            assert_eq!(hash(read.secret.expose_secret()), minted.hash);
            assert!(!minted.hash.contains(read.secret.expose_secret()));
            assert!(!format!("{read:?}").contains(read.secret.expose_secret()));
        }
        assert!(basic("admin", token).is_none());
        assert!(!format!("{minted:?}").contains(token));
    }

    #[test]
    fn anything_else_is_no_token() {
        let token = Minted::random().token.expose_secret().to_owned();
        for wrong in [
            "",
            ".",
            "a.b",
            &token[1..],
            &format!("{token}x"),
            &token.replace('.', ""),
            &token.replace('.', "/"),
            &format!("../{}", &token[3..]),
        ] {
            assert!(basic(USER, wrong).is_none(), "{wrong}");
            assert!(shown(&format!("Bearer {wrong}")).is_none(), "{wrong}");
        }
    }

    proptest! {
        /// Texts that are nearly tokens: none is one that differs from a token in length or characters.
        #[test]
        fn no_header_makes_it_panic(
            id in "[a-f0-9]{12}|[A-Za-z0-9_-]{10,14}|[!-~]{12}",
            dot in "[.]{0,2}",
            secret in "[A-Za-z0-9_-]{43}|[A-Za-z0-9_-]{41,45}|[!-~]{43}",
        ) {
            let text = format!("{id}{dot}{secret}");
            let is_name = |part: &str| {
                part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
            };
            let is_token = text.split_once('.').is_some_and(|(id, secret)| {
                (id.len(), secret.len()) == (12, 43) && is_name(id) && is_name(secret)
            });
            let bearer = shown(&format!("Bearer {text}"));
            for found in [bearer, basic(USER, &text)] {
                prop_assert_eq!(found.is_some(), is_token, "{}", text);
                if let Some(found) = found {
                    prop_assert_eq!(format!("{}.{}", found.id, found.secret.expose_secret()), text.as_str());
                }
            }
            prop_assert!(basic("admin", &text).is_none());
        }
    }
}
