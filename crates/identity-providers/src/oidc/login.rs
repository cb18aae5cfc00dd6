//! What a client needs to know to log users in at an issuer: nothing of it is secret.

use std::path::Path;

use runtime::Files;

use super::kind::Kind;
use super::options::{Options, invalid};
use crate::client::ClientError;

/// Requested when nothing else is configured: ID tokens, and refresh tokens.
const DEFAULT_SCOPES: [&str; 2] = ["openid", "offline_access"];

/// Size limit of the certificate authorities that are handed on, in bytes.
const AUTHORITIES_MAX: usize = 64 * 1024;

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// How users log in at an issuer with a public client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The URL of the issuer, exactly as in its discovery document.
    pub issuer: String,
    /// The public client, as the issuer knows it.
    pub client_id: String,
    /// The scopes to request.
    pub scopes: Vec<String>,
    /// The kind of token that is accepted.
    pub token: Kind,
    /// The resource to request access to (RFC 8707).
    pub resource: Option<String>,
    /// The authorities that the certificate of the issuer is verified by, in PEM; those of the system if there are none.
    pub certificate_authority: Option<String>,
}

impl Login {
    /// `None` without the option `client-id`.
    ///
    /// # Errors
    /// When an option is invalid, or the file of certificate authorities cannot be used.
    pub(super) async fn new(options: &Options, files: &Files) -> Result<Option<Self>, ClientError> {
        let Options { client_id, login_scopes, resource, .. } = options;
        let Some(client_id) = client_id.clone() else {
            if login_scopes.is_some() || resource.is_some() {
                return Err(invalid(
                    "client-id: `login-scopes` and `resource` are for log-ins, which need it",
                ));
            }
            return Ok(None);
        };
        if client_id.is_empty() || client_id.chars().any(char::is_control) {
            return Err(invalid("client-id: it is the name of a client at the issuer"));
        }
        let scopes = login_scopes.clone().unwrap_or_else(|| default_scopes(options));
        if let Some(scope) = scopes.iter().find(|scope| !is_scope(scope)) {
            return Err(invalid(format!("login-scopes: {scope:?} is not a scope")));
        }
        if options.token == Kind::Id && !scopes.iter().any(|scope| scope == "openid") {
            return Err(invalid("login-scopes: without `openid`, there is no ID token"));
        }
        if let Some(resource) = resource
            && !resource.parse::<url::Url>().is_ok_and(|url| url.fragment().is_none())
        {
            return Err(invalid(format!("resource: {resource:?} is not a URI without a fragment")));
        }
        let certificate_authority = match &options.certificate_authority_path {
            None => None,
            Some(path) => Some(authorities(path, files).await?),
        };
        Ok(Some(Self {
            issuer: options.issuer.clone(),
            client_id,
            scopes,
            token: options.token,
            resource: resource.clone(),
            certificate_authority,
        }))
    }
}

/// Also those that give roles, or the user name.
fn default_scopes(options: &Options) -> Vec<String> {
    let email = (options.username_claim == "email").then(|| "email".to_owned());
    let defaults = DEFAULT_SCOPES.map(str::to_owned).into_iter();
    let mut scopes: Vec<_> = defaults.chain(email).collect();
    for scope in &options.scopes {
        if !scopes.contains(scope) {
            scopes.push(scope.clone());
        }
    }
    scopes
}

/// RFC 6749, section 3.3.
fn is_scope(scope: &str) -> bool {
    let is_token = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    !scope.is_empty() && scope.bytes().all(is_token)
}

/// The certificates of a file, and nothing else that is in it, such as a private key.
async fn authorities(path: &Path, files: &Files) -> Result<String, ClientError> {
    let file = |source| ClientError::File { path: path.to_owned(), source };
    let text = files.read_to_string(path).await.map_err(file)?;
    let mut certificates = String::new();
    let mut is_within = false;
    for line in text.lines().map(str::trim) {
        is_within |= line == BEGIN;
        if is_within {
            certificates += line;
            certificates.push('\n');
        }
        is_within &= line != END;
    }
    if certificates.is_empty() || certificates.len() > AUTHORITIES_MAX {
        return Err(invalid(format!(
            "certificate-authority-path: {} has no certificates, or more than {AUTHORITIES_MAX} bytes of them: clients \
             that log in get them, so name the authority of the issuer alone",
            path.display()
        )));
    }
    Ok(certificates)
}
