//! The user name and the groups of a token, all with the prefix of the issuer: what one issuer says is never what another
//! one, or a users file, says.

use jiff::Timestamp;
use serde_json::Value;

use super::options::Issuer;
use super::rejected;
use super::token::Token;
use crate::{Identity, Result};

/// Stands before the name of a scope among the groups; a group of the issuer whose name begins like that is left out, or it
/// could be taken for a scope.
const SCOPE: &str = "scope:";

impl Issuer {
    /// The owner of a token.
    ///
    /// # Errors
    /// When it has no user name, or one that is not accepted.
    pub(super) fn identity(&self, token: &Token<'_>, expires: Timestamp) -> Result<Identity> {
        let claim = &self.username_claim;
        let name = claim.value(token).and_then(Value::as_str);
        let name = name.ok_or_else(|| rejected(format!("the token has no text in its {claim}")))?;
        if name.is_empty() {
            return Err(rejected(format!("the {claim} of the token is empty")));
        }
        let groups = match self.groups_claim.value(token) {
            None | Some(Value::Null) => Vec::new(),
            Some(value) => texts(value).ok_or_else(|| {
                rejected(format!("the {} of the token is not a list of texts", self.groups_claim))
            })?,
        };
        let groups = groups.into_iter().filter(|name| !name.starts_with(SCOPE) && !name.is_empty());
        let groups = groups.map(str::to_owned).chain(self.scopes(token)?);
        let groups = groups.map(|name| self.prefixed(&name)).collect();
        Identity::new(&self.prefixed(name), groups, Some(expires))
    }

    fn prefixed(&self, name: &str) -> String {
        format!("{}:{name}", self.prefix)
    }

    /// The scopes of the token that count as groups.
    fn scopes<'a>(&'a self, token: &Token<'_>) -> Result<impl Iterator<Item = String> + use<'a>> {
        let mut scopes = Vec::new();
        // Most issuers separate them by spaces in `scope` (RFC 9068), Entra ID in `scp`, Okta has a list there.
        for claim in ["scope", "scp"] {
            let Some(value) = token.claims.get(claim) else { continue };
            let texts = texts(value).ok_or_else(|| {
                rejected(format!(
                    "the claim `{claim}` of the token is neither text nor a list of it"
                ))
            })?;
            scopes.extend(texts.iter().flat_map(|text| text.split(' ')).map(str::to_owned));
        }
        let accepted = self.scopes.iter().filter(move |scope| scopes.contains(scope));
        Ok(accepted.map(|scope| format!("{SCOPE}{scope}")))
    }
}

/// A text, or a list of texts.
fn texts(value: &Value) -> Option<Vec<&str>> {
    match value {
        Value::String(text) => Some(vec![text]),
        Value::Array(items) => items.iter().map(Value::as_str).collect(),
        _ => None,
    }
}
