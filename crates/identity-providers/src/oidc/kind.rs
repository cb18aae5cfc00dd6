//! ID tokens and access tokens: one is not accepted in place of the other.
//!
//! RFC 9068 gives access tokens the media type `at+jwt`, and tells resource servers to reject others. Keycloak, Entra ID,
//! Okta and Auth0 leave it out or write `JWT` by default, for both kinds. So `JWT` and none are accepted, and then the
//! claims decide, as far as they differ: an ID token is for the client (`aud` is the client's identifier), an access
//! token for the API. Where an issuer uses the same audience for both, they may be indistinguishable.

use serde::Deserialize;
use serde_json::Value;

use super::rejected;
use super::token::Token;
use crate::Result;

/// What kind of tokens is accepted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// ID tokens of OpenID Connect.
    Id,
    /// Access tokens (RFC 9068, and the forms before it).
    #[default]
    Access,
}

/// Hashes of what was issued together with an ID token.
const ID_TOKEN_CLAIMS: [&str; 3] = ["at_hash", "c_hash", "s_hash"];

/// What an access token allows.
const ACCESS_TOKEN_CLAIMS: [&str; 2] = ["scope", "scp"];

impl Kind {
    /// # Errors
    /// When the token is of another kind.
    pub(super) fn check(self, token: &Token<'_>) -> Result<()> {
        let media_type = token.media_type.as_deref().map(str::to_ascii_lowercase);
        // RFC 7515, section 4.1.9: `application/` may be left out.
        let media_type =
            media_type.as_deref().map(|name| name.strip_prefix("application/").unwrap_or(name));
        let (expected, accepts, foreign_claims) = match self {
            Self::Id => ("an ID token", &[None, Some("jwt")][..], &ACCESS_TOKEN_CLAIMS[..]),
            Self::Access => {
                let types = &[None, Some("jwt"), Some("at+jwt")][..];
                ("an access token", types, &ID_TOKEN_CLAIMS[..])
            }
        };
        if !accepts.contains(&media_type) {
            return Err(rejected(format!("the token is not {expected}, by `typ` in its header")));
        }
        let foreign = foreign_claims.iter().find(|claim| token.claims.contains_key(**claim));
        if let Some(claim) = foreign {
            return Err(rejected(format!(
                "the token is not {expected}: it has the claim `{claim}`"
            )));
        }
        // Keycloak has the kind in a claim: `ID`, `Bearer`, `Refresh`, `Offline`, `Logout`, `DPoP` and others.
        let keycloak_type = match self {
            Self::Id => "ID",
            Self::Access => "Bearer",
        };
        if token.claims.get("typ").is_some_and(|typ| typ != keycloak_type) {
            return Err(rejected(format!("the token is not {expected}, by its claim `typ`")));
        }
        // A security event such as a logout token (RFC 8417) has no owner.
        if token.claims.contains_key("events") {
            return Err(rejected("the token describes an event"));
        }
        // Bound to a key of the client (RFC 8705, RFC 9449), which a bearer does not prove to have.
        if token.claims.get("cnf").is_some_and(|confirmation| *confirmation != Value::Null) {
            return Err(rejected("the token is bound to a key of its client, and no bearer token"));
        }
        Ok(())
    }
}
