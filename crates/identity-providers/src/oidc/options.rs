//! The configuration of an issuer.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use jiff::SignedDuration;
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::kind::Kind;
use super::token::Token;
use crate::client::{ClientError, is_loopback};

/// The longest prefix of names, in bytes.
const PREFIX_MAX: usize = 32;

/// Prefixes of principals that no identity provider has named.
const RESERVED_PREFIXES: [&str; 6] =
    ["certificate", "enroll", "token", "keystone", "keystone-token", "openshift"];

/// How tokens of an issuer are verified, and what their owners are called.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Options {
    /// The URL of the issuer, exactly as in the claim `iss` and in the discovery document.
    pub(super) issuer: String,
    /// The audiences of which a token needs one.
    audience: OneOrMany,
    /// Stands before the names of users and groups, with a colon.
    prefix: String,
    /// The claim with the user name.
    #[serde(alias = "username_claim", default = "sub")]
    pub(super) username_claim: String,
    /// The claim with the groups, or roles.
    #[serde(alias = "groups_claim", default = "groups")]
    groups_claim: String,
    /// The scopes that count as groups, named `scope:NAME`.
    #[serde(default)]
    pub(super) scopes: BTreeSet<String>,
    /// Claims that a token needs, with exactly these values.
    #[serde(alias = "required_claims", default)]
    required_claims: BTreeMap<String, Value>,
    /// What kind of tokens is accepted.
    #[serde(default)]
    pub(super) token: Kind,
    /// How old a token may be since it was issued, in seconds.
    #[serde(alias = "max_token_age")]
    max_token_age: Option<u32>,
    /// A file with the authorities that the certificate of the issuer is verified by; those of the system if it is left
    /// out.
    #[serde(alias = "certificate_authority_path")]
    pub(super) certificate_authority_path: Option<PathBuf>,
    /// The public client with which users log in; without it, clients get no instructions for a log-in.
    #[serde(alias = "client_id")]
    pub(super) client_id: Option<String>,
    /// The scopes that a log-in requests.
    #[serde(alias = "login_scopes")]
    pub(super) login_scopes: Option<Vec<String>>,
    /// The resource that a log-in requests access to (RFC 8707).
    pub(super) resource: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a text or a list of texts")]
enum OneOrMany {
    One(String),
    Many(BTreeSet<String>),
}

/// An issuer whose options are valid.
#[derive(Debug)]
pub(super) struct Issuer {
    /// Its URL as it was written.
    pub(super) name: String,
    pub(super) url: Url,
    pub(super) audience: BTreeSet<String>,
    pub(super) prefix: String,
    pub(super) username_claim: Claim,
    pub(super) groups_claim: Claim,
    pub(super) scopes: BTreeSet<String>,
    pub(super) required_claims: Vec<(Claim, Value)>,
    pub(super) kind: Kind,
    pub(super) max_token_age: Option<SignedDuration>,
}

/// A claim: its name, or a JSON Pointer (RFC 6901) to a value within it, such as `/realm_access/roles`.
#[derive(Debug)]
pub(super) struct Claim(String);

impl Issuer {
    /// # Errors
    /// When an option is invalid.
    pub(super) fn new(options: Options) -> Result<Self, ClientError> {
        let Options { issuer: name, prefix, scopes, token: kind, .. } = options;
        let url = issuer_url(&name)?;
        let audience = match options.audience {
            OneOrMany::One(name) => BTreeSet::from([name]),
            OneOrMany::Many(names) => names,
        };
        if audience.is_empty() || audience.contains("") {
            return Err(invalid(
                "audience: it is the name that tokens for this server are issued for",
            ));
        }
        check_prefix(&prefix)?;
        if scopes.iter().any(|scope| scope.is_empty() || scope.contains(' ')) {
            return Err(invalid("scopes: a scope is not empty, and has no spaces"));
        }
        if kind == Kind::Id && !scopes.is_empty() {
            return Err(invalid(
                "scopes: ID tokens have none; `\"token\": \"access\"` accepts access tokens",
            ));
        }
        if options.max_token_age == Some(0) {
            return Err(invalid("max-token-age: it is at least 1 second"));
        }
        let required_claims = options.required_claims.into_iter();
        let required_claims =
            required_claims.map(|(name, value)| Ok((Claim::new("required-claims", name)?, value)));
        Ok(Self {
            name,
            url,
            audience,
            prefix,
            username_claim: Claim::new("username-claim", options.username_claim)?,
            groups_claim: Claim::new("groups-claim", options.groups_claim)?,
            scopes,
            required_claims: required_claims.collect::<Result<_, ClientError>>()?,
            kind,
            max_token_age: options.max_token_age.map(|age| SignedDuration::from_secs(age.into())),
        })
    }
}

impl Claim {
    fn new(option: &str, name: String) -> Result<Self, ClientError> {
        let is_valid = match name.strip_prefix('/') {
            Some(path) => path.contains('/'),
            None => !name.is_empty(),
        };
        if is_valid {
            return Ok(Self(name));
        }
        Err(invalid(format!(
            "{option}: {name:?} is not the name of a claim, nor a path within one like \"/realm_access/roles\""
        )))
    }

    /// Its value. An address that the issuer has not verified may be anyone's, so `email` counts only with
    /// `email_verified: true`; some issuers write `"true"`, which is text, and does not count.
    pub(super) fn value<'a>(&self, token: &'a Token<'_>) -> Option<&'a Value> {
        let claims = &token.claims;
        let Self(name) = self;
        if name == "email" && claims.get("email_verified") != Some(&Value::Bool(true)) {
            return None;
        }
        let Some(path) = name.strip_prefix('/') else { return claims.get(name) };
        let (claim, within) = path.split_at(path.find('/')?);
        claims.get(&claim.replace("~1", "/").replace("~0", "~"))?.pointer(within)
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(name) = self;
        let verified = if name == "email" { " with `email_verified: true`" } else { "" };
        write!(formatter, "claim `{name}`{verified}")
    }
}

fn issuer_url(name: &str) -> Result<Url, ClientError> {
    let url: Url = name.parse().map_err(|error| invalid(format!("issuer: {name:?}: {error}")))?;
    if url.scheme() != "https" && !(url.scheme() == "http" && is_loopback(&url)) {
        return Err(invalid("issuer: its keys are fetched from it, so it needs https://"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(invalid("issuer: it is a URL without a query and a fragment"));
    }
    Ok(url)
}

fn check_prefix(prefix: &str) -> Result<(), ClientError> {
    let is_valid = prefix.len() <= PREFIX_MAX
        && prefix.starts_with(|c: char| c.is_ascii_lowercase())
        && prefix.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !is_valid {
        return Err(invalid(format!(
            "prefix: {prefix:?} is not a lower-case letter and up to 31 of a-z, 0-9 and `-`"
        )));
    }
    if RESERVED_PREFIXES.contains(&prefix) {
        return Err(invalid(format!(
            "prefix: {prefix:?} stands before the names of other principals"
        )));
    }
    Ok(())
}

pub(super) fn invalid(message: impl Into<String>) -> ClientError {
    ClientError::Option(message.into())
}

fn sub() -> String {
    "sub".to_owned()
}

fn groups() -> String {
    "groups".to_owned()
}
