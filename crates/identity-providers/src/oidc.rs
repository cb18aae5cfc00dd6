//! Tokens of OpenID Connect and OAuth 2.0 that are signed by one issuer (JSON Web Tokens, RFC 7519), verified by the keys
//! that the issuer publishes.
//!
//! - `options`: the configuration of an issuer
//! - `token`: the compact form of a token, and its header
//! - `kind`: ID tokens and access tokens
//! - `claims`: issuer, audience, times and required claims
//! - `identity`: user name and groups
//! - `keys`: the keys of an issuer, and signatures
//! - `refresh`: when the keys are fetched
//! - `documents`: the requests for them
//! - `login`: instructions for clients that log users in
//! - `verified`: tokens that were verified recently
//! - `json`: JSON without duplicate fields

mod claims;
mod documents;
mod identity;
mod json;
mod keys;
mod kind;
mod login;
mod options;
mod refresh;
#[cfg(test)]
mod tests;
mod token;
mod verified;

use runtime::{Clock, Files, Lifecycle};
use secrecy::{ExposeSecret as _, SecretString};

use crate::client::{Client, ClientError};
use crate::{Identity, ProviderError, Result};
use documents::Documents;
pub use documents::MemoryDocuments;
use keys::Verdict;
pub use kind::Kind;
pub use login::Login;
use options::Issuer;
pub use options::Options;
use refresh::Refresher;
use token::Token;
use verified::Verified;

/// An issuer of tokens.
#[derive(Debug)]
pub struct Oidc {
    issuer: Issuer,
    keys: Refresher,
    verified: Verified,
    clock: Clock,
    login: Option<Login>,
}

impl Oidc {
    /// Sets it up, without a request: the issuer need not answer yet. Its keys are fetched in tasks of `lifecycle`, which a
    /// client that closes its connection does not cancel.
    ///
    /// # Errors
    /// When an option is invalid, or the file of certificate authorities cannot be used.
    pub async fn new(
        options: Options,
        files: &Files,
        clock: Clock,
        lifecycle: &Lifecycle,
    ) -> Result<Self, ClientError> {
        let authorities = options.certificate_authority_path.clone();
        let login = Login::new(&options, files).await?;
        let issuer = Issuer::new(options)?;
        let client = Client::new(&issuer.url, authorities.as_deref(), files).await?;
        let documents = Documents::Network(client);
        Ok(Self { login, ..Self::with_documents(issuer, documents, clock, lifecycle) })
    }

    /// The same with documents in memory, for tests in paused time, in which nothing may block.
    ///
    /// # Errors
    /// When an option is invalid.
    pub fn in_memory(
        options: Options,
        documents: MemoryDocuments,
        clock: Clock,
        lifecycle: &Lifecycle,
    ) -> Result<Self, ClientError> {
        let issuer = Issuer::new(options)?;
        Ok(Self::with_documents(issuer, Documents::Memory(documents), clock, lifecycle))
    }

    fn with_documents(
        issuer: Issuer,
        documents: Documents,
        clock: Clock,
        lifecycle: &Lifecycle,
    ) -> Self {
        let keys = Refresher::new(&issuer, documents, lifecycle);
        Self { issuer, keys, verified: Verified::new(), clock, login: None }
    }

    /// The issuer, as its tokens name it.
    pub fn issuer(&self) -> &str {
        &self.issuer.name
    }

    /// How users log in with the public client that the options name.
    pub fn login(&self) -> Option<&Login> {
        self.login.as_ref()
    }

    /// The prefix of its users and groups, without the colon that follows.
    pub fn prefix(&self) -> &str {
        &self.issuer.prefix
    }

    /// Whether the token names this issuer; nothing of it is verified.
    pub fn is_for(&self, token: &SecretString) -> bool {
        token::unverified_issuer(token.expose_secret()).is_some_and(|name| name == self.issuer.name)
    }

    /// The owner of a token that was verified within the last five minutes, with a key that the issuer still publishes.
    pub fn remembered(&self, token: &SecretString) -> Option<Identity> {
        let remembered = self.verified.get(token, self.clock.wall())?;
        let keys = self.keys.known()?;
        keys.contains(&remembered.key).then_some(remembered.identity)
    }

    /// The owner of a token.
    ///
    /// # Errors
    /// [`ProviderError::Rejected`] when the token is not valid; [`ProviderError::Unavailable`] when that is unknown, as the
    /// keys of the issuer cannot be fetched.
    pub async fn identify(&self, token: &SecretString) -> Result<Identity> {
        if let Some(identity) = self.remembered(token) {
            return Ok(identity);
        }
        // The claims come first: neither an expired token nor one for another audience costs a request to the issuer.
        let parsed = Token::parse(token.expose_secret())?;
        let identity = self.issuer.identity_by_claims(&parsed, self.clock.wall())?;
        let mut verdict = self.keys.current().await?.verify(&parsed);
        if matches!(verdict, Verdict::UnknownKey) {
            verdict = self.keys.newer().await?.verify(&parsed);
        }
        let key = match verdict {
            Verdict::Valid(key) => key,
            Verdict::Invalid => return Err(rejected("the signature of the token is not valid")),
            Verdict::Ambiguous => {
                return Err(rejected("several keys of the issuer fit the token"));
            }
            Verdict::UnknownKey => {
                return Err(rejected("the issuer publishes no key that fits the token"));
            }
        };
        self.verified.insert(token, identity.clone(), key);
        Ok(identity)
    }
}

fn rejected(message: impl Into<String>) -> ProviderError {
    ProviderError::Rejected(message.into())
}
