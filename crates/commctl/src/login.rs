//! Who the operator is to the server, and how that is shown.

use std::path::PathBuf;

use secrecy::{ExposeSecret as _, SecretString};

use crate::oidc::ProviderSession;
use crate::plugin::Plugin;

/// What a request carries to say who asks.
#[derive(Debug)]
pub(crate) enum Login {
    /// Nothing: the client certificate says it.
    Certificate,
    Password(Password),
    /// A bearer token.
    Token(SecretString),
    /// One that is read for every request: it is replaced before it expires.
    TokenFile(PathBuf),
    /// Whatever a credential plugin says.
    Plugin(Box<Plugin>),
    /// The token of a log-in at an identity provider.
    Provider(Box<ProviderSession>),
}

#[derive(Debug, Clone)]
pub(crate) struct Password {
    pub(crate) username: String,
    pub(crate) password: SecretString,
}

/// Whether a header can carry a token.
pub(crate) fn is_bearer(token: &SecretString) -> bool {
    let token = token.expose_secret();
    !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic())
}
