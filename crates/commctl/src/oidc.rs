//! Log-ins at identity providers (OAuth 2.0, OpenID Connect), as the server announces them.
//!
//! - `http`: requests to an issuer, with limits
//! - `issuer`: its discovery document, tokens, refreshing and revoking
//! - `browser` and `callback`: the authorization code flow with PKCE
//! - `device`: the device authorization grant
//! - `id_token`: claims of tokens
//! - `tokens`: the tokens of a log-in, and their file
//! - `session`: the tokens that requests carry, and when they are refreshed

mod browser;
mod callback;
mod device;
mod http;
mod id_token;
mod issuer;
mod session;
mod tokens;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use self::http::HttpError;
use self::issuer::Issuer;
pub(crate) use self::session::{ProviderSession, Refreshes};
pub(crate) use self::tokens::{TokenFile, Tokens};
use crate::files::{ReadError, WriteError};
use crate::text::printable;

/// The ways to log in to a server.
#[derive(Debug, Deserialize)]
pub(crate) struct Logins {
    /// Whether it has user names and passwords.
    pub(crate) password: bool,
    /// The identity providers at which users can log in.
    pub(crate) providers: Vec<Provider>,
}

/// An identity provider, and how users log in there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Provider {
    /// Its name at the server.
    pub(crate) name: String,
    /// The URL of the issuer, byte for byte as in its discovery document.
    pub(crate) issuer: String,
    /// The public client.
    client_id: String,
    /// The scopes to request.
    scopes: Vec<String>,
    /// The token that the server accepts.
    token: TokenKind,
    /// The resource to request access to (RFC 8707).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    resource: Option<String>,
    /// The authorities that the issuer's certificate is verified by, in PEM; without it, those of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    certificate_authority: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum TokenKind {
    Access,
    Id,
}

/// How a user logs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    /// With a browser on this machine; the program that opens it is started only if asked for.
    Browser { opens: bool },
    /// With a browser on any machine.
    Device,
}

/// Why there are no tokens.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoginError {
    #[error("the identity provider {}: {}", printable(.issuer), printable(.problem))]
    Unusable { issuer: String, problem: String },
    #[error("cannot reach the identity provider {}", printable(.issuer))]
    Unreachable { issuer: String, source: HttpError },
    #[error("the identity provider {} rejected the log-in: {reason}", printable(.issuer))]
    Rejected { issuer: String, reason: String },
    #[error("the log-in at {} has expired: run `{login_command}`{}", printable(.issuer), cause(.reason.as_deref()))]
    Expired { issuer: String, reason: Option<String>, login_command: String },
    #[error("you are not logged in at {} on {}: run `{login_command}`", printable(.provider), printable(.endpoint))]
    Missing { provider: String, endpoint: String, login_command: String },
    #[error("no answer came from the browser within {minutes} minutes: repeat the command")]
    Timeout { minutes: u64 },
    #[error("cannot wait for the browser on 127.0.0.1")]
    Listen(#[source] std::io::Error),
    #[error("{} holds no tokens that commctl has written: run `{login_command}`", .path.display())]
    Corrupt { path: PathBuf, login_command: String },
    #[error("another commctl has held the lock {} for too long: end that process, or try again", .path.display())]
    Locked { path: PathBuf },
    #[error("the refresh of the tokens ended without a result")]
    Aborted,
    #[error("others can access {0}: run `chmod 700 {0}`", .path.display())]
    NotPrivate { path: PathBuf },
    #[error("{} belongs to another user: move it away, or run commctl as that user", .path.display())]
    OtherOwner { path: PathBuf },
    #[error("{} is not a directory: move it away", .path.display())]
    NotADirectory { path: PathBuf },
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Write(#[from] WriteError),
}

fn cause(reason: Option<&str>) -> String {
    reason.map(|reason| format!("\nthe identity provider says: {reason}")).unwrap_or_default()
}

impl Logins {
    /// Whether all names can be written into a configuration.
    pub(crate) fn has_valid_names(&self) -> bool {
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        self.providers
            .iter()
            .all(|Provider { name, .. }| !name.is_empty() && name.bytes().all(is_name))
    }
}

impl Provider {
    /// Obtains tokens; nothing is saved.
    pub(crate) async fn log_in(&self, flow: Flow) -> Result<Tokens, LoginError> {
        let issuer = Issuer::discover(self).await?;
        match flow {
            Flow::Browser { opens } => browser::log_in(&issuer, opens).await,
            Flow::Device => device::log_in(&issuer).await,
        }
    }

    fn unusable(&self, problem: impl Into<String>) -> LoginError {
        LoginError::Unusable { issuer: self.issuer.clone(), problem: problem.into() }
    }

    fn rejected(&self, reason: impl Into<String>) -> LoginError {
        LoginError::Rejected { issuer: self.issuer.clone(), reason: reason.into() }
    }
}
