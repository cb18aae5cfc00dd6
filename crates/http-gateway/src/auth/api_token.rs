//! API tokens: `cmsr_ID_SECRET`, and six characters of a checksum. As a bearer token, or as the password of the user `token`.
//!
//! The beginning is fixed, so that scanners find tokens in repositories and logs. The checksum tells a damaged token without
//! looking one up.

use std::net::IpAddr;

use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use model::{ApiToken, Role, TokenLogin};
use runtime::random;
use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;

use super::provider::bearer;
use super::token::{hash, hex};
use super::{Chain, Plugin, Refusal, TOKEN, http_basic, too_many};
use crate::access::bindings::Index;
use crate::access::{Rights, Tokens};
use crate::error::ApiError;
use crate::peer::ClientCertificate;
use crate::principal::Principal;
use crate::source;

/// The user whose password a token is.
const USER: &str = "token";

/// What its credentials begin with in base 64, with the colon: others need not be decoded to see that they are another's.
const ENCODED_USER: &str = "dG9rZW46";

/// What every token begins with.
const PREFIX: &str = "cmsr_";

/// Bytes of an identifier, which is no secret.
const ID_BYTES: usize = 6;

/// Characters of the secret part: 256 bits.
const SECRET_LENGTH: usize = 43;

/// Characters of the checksum: 32 bits.
const CHECKSUM_LENGTH: usize = 6;

/// The digits of the checksum.
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A token, as a request shows it.
#[derive(Debug)]
pub(crate) struct Token {
    id: String,
    secret: SecretString,
    /// Whether it is a bearer token, and no password.
    is_bearer: bool,
}

/// What a request shows that begins as a token does.
#[derive(Debug)]
pub(crate) enum Shown {
    /// A token, which may be unknown.
    Whole(Token),
    /// No token: a part is missing or changed.
    Damaged {
        /// Whether it is a bearer token, and no password.
        is_bearer: bool,
    },
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
        let body = format!("{PREFIX}{id}_{secret}");
        let token = format!("{body}{}", checksum(&body)).into();
        Self { id, token, hash: hash(&secret) }
    }
}

/// Whether a credential begins as an API token does: no identity provider is shown it.
pub(super) fn is_token(credential: &SecretString) -> bool {
    credential.expose_secret().starts_with(PREFIX)
}

impl Shown {
    /// What a request shows, if it begins as a token does: no other plugin gets to see it.
    pub(crate) fn by(headers: &HeaderMap) -> Option<Self> {
        let (text, is_bearer) = match bearer(headers) {
            Some(token) => (token, true),
            None if http_basic::begins_with(headers, ENCODED_USER) => {
                let (user, password) = http_basic::credentials(headers)?;
                ((user == USER).then_some(password)?, false)
            }
            None => return None,
        };
        let text = text.expose_secret();
        text.starts_with(PREFIX).then(|| match parse(text) {
            Some((id, secret)) => {
                Self::Whole(Token { id: id.to_owned(), secret: secret.into(), is_bearer })
            }
            None => Self::Damaged { is_bearer },
        })
    }

    fn is_bearer(&self) -> bool {
        match self {
            Self::Whole(token) => token.is_bearer,
            Self::Damaged { is_bearer } => *is_bearer,
        }
    }
}

/// The identifier and the secret of a token.
fn parse(text: &str) -> Option<(&str, &str)> {
    let (body, checksum_shown) = text.split_at_checked(text.len().checked_sub(CHECKSUM_LENGTH)?)?;
    let (id, secret) = body.strip_prefix(PREFIX)?.split_once('_')?;
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    let fits = id.len() == 2 * ID_BYTES
        && id.bytes().all(is_hex)
        && secret.len() == SECRET_LENGTH
        && secret.bytes().all(is_base64)
        && checksum(body) == checksum_shown;
    fits.then_some((id, secret))
}

/// The CRC32 of a text in base 62.
fn checksum(body: &str) -> String {
    let mut rest = crc32fast::hash(body.as_bytes());
    let mut digits = [b'0'; CHECKSUM_LENGTH];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62[rest as usize % BASE62.len()];
        rest /= 62;
    }
    digits.map(char::from).iter().collect()
}

impl Token {
    fn is_of(&self, token: &ApiToken) -> bool {
        let given = hash(self.secret.expose_secret());
        given.as_bytes().ct_eq(token.token_hash.as_bytes()).into()
    }
}

impl Chain {
    /// The principal of an API token; else the answer to it. Guessing is slowed down: a valid token is accepted all the same.
    pub(crate) async fn admit_token(
        &self,
        shown: Shown,
        source: IpAddr,
        tokens: &Tokens,
        bindings: &Index,
    ) -> Result<Principal, Refusal> {
        let is_bearer = shown.is_bearer();
        let mut admitted = self.check_token(shown, source, tokens, bindings).await;
        if let Err(refusal) = &mut admitted
            && refusal.counts
        {
            let limited = source::of_limits(source);
            if let Some(seconds) = self.throttle.refused_for(limited, TOKEN) {
                return Err(too_many("too many failed log-ins from this address: wait", seconds));
            }
            self.reject(refusal, is_bearer, TOKEN, source);
        }
        admitted
    }

    async fn check_token(
        &self,
        shown: Shown,
        source: IpAddr,
        tokens: &Tokens,
        bindings: &Index,
    ) -> Result<Principal, Refusal> {
        let guess = |detail: &str| Refusal { counts: true, ..ApiError::forbidden(detail).into() };
        let Shown::Whole(shown) = shown else {
            return Err(guess("this API token is damaged: a part of it is missing or changed"));
        };
        let tokens = tokens.current().await.map_err(|_| {
            ApiError::unavailable("the storage service does not answer, so it is not known whether this API token is valid: try again")
        })?;
        let Some(token) = tokens.get(&shown.id).filter(|token| shown.is_of(token)) else {
            return Err(guess("this API token is unknown, or was revoked"));
        };
        // From here on, the client has the secret.
        let claimed =
            || Some(Principal::api_token(token, Principal::user(&token.owner, Rights::default())));
        if !token.voided_at.is_empty() {
            let detail = format!(
                "a restore from a backup voided this API token at {}, since it may have been revoked after the backup: make \
                 another one with `commctl token create`",
                token.voided_at
            );
            let error = ApiError::forbidden(detail);
            return Err(Refusal { error, claimed: claimed(), counts: false });
        }
        if token.is_over(self.clock.wall()) {
            let detail = "this API token has expired: make another one with `commctl token create`";
            return Err(Refusal { claimed: claimed(), ..guess(detail) });
        }
        if !token.from.is_empty() && !token.from.contains(source) {
            let detail =
                format!("this API token is not accepted from {source}: see `from` of the token");
            return Err(Refusal { claimed: claimed(), ..guess(&detail) });
        }
        match self.owner(token, bindings) {
            Some(owner) if owner.role() > Some(Role::Enroll) => Ok(Principal::api_token(token, owner)),
            _ if bindings.is_unknown() => Err(ApiError::unavailable(
                "the storage service does not answer, so it is not known what this API token may do: try again",
            )
            .into()),
            _ => {
                let detail = format!(
                    "the owner of this API token, {}, is not known any more or has no role here, so the token has none",
                    token.owner
                );
                let error = ApiError::forbidden(detail);
                Err(Refusal { error, claimed: claimed(), counts: false })
            }
        }
    }

    /// The owner of a token with its present rights: those of its bindings, or else of the configuration. `None` if no plugin
    /// accepts it any more.
    fn owner(&self, token: &ApiToken, bindings: &Index) -> Option<Principal> {
        let known_by = |plugin: &Plugin| match (plugin, &token.login) {
            (Plugin::HttpBasic(basic), TokenLogin::Password) => {
                basic.user(&token.owner).map(|owner| bindings.bind(owner))
            }
            (Plugin::Provider(provider), TokenLogin::Provider { groups }) => {
                provider.user(&token.owner, groups, bindings)
            }
            (Plugin::ClientCert(plugin), TokenLogin::Certificate { issuer, name }) => {
                let (common_name, issuer) = (Some(name.clone()), issuer.clone());
                plugin.accept(Some(&ClientCertificate { common_name, issuer }), bindings)
            }
            _ => None,
        };
        self.plugins().iter().find_map(known_by)
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderValue, header};
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    use super::*;

    fn shown(value: &str) -> Option<Shown> {
        let value = HeaderValue::from_str(value).ok()?;
        Shown::by(&HeaderMap::from_iter([(header::AUTHORIZATION, value)]))
    }

    fn basic(user: &str, password: &str) -> Option<Shown> {
        shown(&format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
    }

    #[test]
    fn token_is_shown_in_two_ways_and_never_in_debug_output() {
        let minted = Minted::random();
        let text = minted.token.expose_secret();
        assert_eq!(text.len(), 67);
        for (shown, bearer) in
            [(basic(USER, text), false), (shown(&format!("bearer {text}")), true)]
        {
            let Some(Shown::Whole(token)) = &shown else { panic!("{shown:?}") };
            let secret = token.secret.expose_secret();
            assert_eq!((&token.id, token.is_bearer), (&minted.id, bearer));
            assert_eq!(hash(secret), minted.hash);
            assert!(text.contains(secret) && !minted.hash.contains(secret));
            assert!(!format!("{shown:?} {minted:?}").contains(secret));
        }
        assert!(basic("admin", text).is_none() && shown(text).is_none());
    }

    #[test]
    fn checksum_is_six_digits_in_base_62() {
        // The well-known CRC32 of this text is 0xCBF43926.
        assert_eq!(checksum("123456789"), "3jZRME");
        assert_eq!(checksum(""), "000000");
    }

    #[test]
    fn every_change_of_one_character_is_found() {
        let minted = Minted::random();
        let text = minted.token.expose_secret();
        for position in 0..text.len() {
            for byte in (b'!'..=b'~').filter(|byte| *byte != text.as_bytes()[position]) {
                let mut changed = text.as_bytes().to_vec();
                changed[position] = byte;
                let changed = String::from_utf8(changed).unwrap();
                assert!(parse(&changed).is_none(), "{position}");
            }
            let (before, after) = (&text[..position], &text[position + 1..]);
            assert!(parse(&format!("{before}{after}")).is_none(), "{position}");
            assert!(parse(&format!("{before}_{}", &text[position..])).is_none(), "{position}");
        }
    }

    proptest! {
        /// Texts that are nearly tokens, with a checksum that fits or not.
        #[test]
        fn no_text_makes_it_panic(
            prefix in "cmsr_|cmsr|\\PC{0,6}",
            id in "[a-f0-9]{12}|[a-zA-Z0-9]{11,13}",
            secret in "[A-Za-z0-9_-]{43}|[A-Za-z0-9_-]{42,44}|\\PC{0,43}",
            sum in prop::option::of("[0-9A-Za-z]{6}|\\PC{0,6}"),
        ) {
            let body = format!("{prefix}{id}_{secret}");
            let sum = sum.unwrap_or_else(|| checksum(&body));
            let text = format!("{body}{sum}");
            if let Some((found_id, found_secret)) = parse(&text) {
                prop_assert_eq!(format!("{PREFIX}{found_id}_{found_secret}{}", checksum(&body)), text.as_str());
                prop_assert_eq!((found_id.len(), found_secret.len()), (12, 43));
            }
        }

        #[test]
        fn no_header_makes_it_panic(text in "(cmsr_)?\\PC{0,80}") {
            for shown in [basic(USER, &text), shown(&format!("Bearer {text}"))] {
                prop_assert!(!matches!(shown, Some(Shown::Whole(_))));
            }
        }
    }
}
