//! Claims that decide whether a token is accepted.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::kind::Kind;
use super::options::Issuer;
use super::rejected;
use super::token::Token;
use crate::{Identity, Result};

/// How far `nbf` and `iat` may be in the future, as clocks differ.
const LEEWAY: SignedDuration = SignedDuration::from_mins(5);

impl Issuer {
    /// The owner of a token, if its claims are those of a valid one; its signature is yet to be verified.
    ///
    /// # Errors
    /// When they are not.
    pub(super) fn identity_by_claims(&self, token: &Token<'_>, now: Timestamp) -> Result<Identity> {
        if token.claims.get("iss").and_then(Value::as_str) != Some(&self.name) {
            return Err(rejected(format!("the issuer of the token is not {}", self.name)));
        }
        self.kind.check(token)?;
        self.check_audience(token)?;
        let expires = self.check_times(token, now)?;
        for (claim, expected) in &self.required_claims {
            if claim.value(token) != Some(expected) {
                return Err(rejected(format!("the token does not have the required {claim}")));
            }
        }
        self.identity(token, expires)
    }

    fn check_audience(&self, token: &Token<'_>) -> Result<()> {
        let is_ours =
            |value: &Value| value.as_str().is_some_and(|name| self.audience.contains(name));
        let wrong = || rejected("the token is not for an audience that is configured");
        let count = match token.claims.get("aud") {
            Some(name @ Value::String(_)) if is_ours(name) => 1,
            Some(Value::Array(names))
                if names.iter().all(Value::is_string) && names.iter().any(is_ours) =>
            {
                names.len()
            }
            _ => return Err(wrong()),
        };
        // OpenID Connect Core, section 3.1.3.7: the client that an ID token was issued to, mandatory where there are
        // several audiences. In an access token it is the client that sends it, which is another party.
        let is_for_client = match token.claims.get("azp") {
            None => count == 1,
            Some(client) => is_ours(client),
        };
        if self.kind == Kind::Id && !is_for_client {
            return Err(rejected("the ID token was issued to another client, by its claim `azp`"));
        }
        Ok(())
    }

    /// When the token expires.
    fn check_times(&self, token: &Token<'_>, now: Timestamp) -> Result<Timestamp> {
        let mut expires =
            time(token, "exp")?.ok_or_else(|| rejected("the token has no claim `exp`"))?;
        let earliest = time(token, "nbf")?;
        let issued = time(token, "iat")?;
        if let Some(age) = self.max_token_age {
            let issued = issued.ok_or_else(|| rejected("the token has no claim `iat`"))?;
            // No overflow: a sum beyond the range of times is later than any `exp`.
            expires = issued.checked_add(age).unwrap_or(Timestamp::MAX).min(expires);
        }
        if now >= expires {
            return Err(rejected("the token has expired"));
        }
        let latest = now.saturating_add(LEEWAY).unwrap_or(now);
        if earliest.is_some_and(|earliest| earliest > latest) {
            return Err(rejected("the token is not valid yet"));
        }
        if issued.is_some_and(|issued| issued > latest) {
            return Err(rejected("the token was issued in the future"));
        }
        Ok(expires)
    }
}

/// A time in whole seconds since the epoch. RFC 7519 allows fractions; no issuer needs them, and rounding would be one more
/// reading.
fn time(token: &Token<'_>, claim: &str) -> Result<Option<Timestamp>> {
    let Some(value) = token.claims.get(claim) else { return Ok(None) };
    let seconds = value.as_u64().and_then(|seconds| i64::try_from(seconds).ok());
    let time = seconds.and_then(|seconds| Timestamp::from_second(seconds).ok());
    match time {
        Some(time) => Ok(Some(time)),
        None => Err(rejected(format!(
            "the claim `{claim}` of the token is not a time in whole seconds since 1970"
        ))),
    }
}
