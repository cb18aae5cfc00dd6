//! Requests to Keystone.

use std::path::Path;

use reqwest::StatusCode;
use reqwest::header::{HeaderName, HeaderValue};
use runtime::Files;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::options::tokens_url;
use super::rejected;
use super::rules::{Scope, Token};
use crate::client::{Client, ClientError, Response};
use crate::{ProviderError, Result};

/// The token that authorizes a request.
const AUTH_TOKEN: HeaderName = HeaderName::from_static("x-auth-token");

/// The token that a request or a response is about.
const SUBJECT_TOKEN: HeaderName = HeaderName::from_static("x-subject-token");

#[derive(Debug)]
pub(super) struct Api {
    client: Client,
    /// The resource of tokens.
    tokens: Url,
}

/// A request for a token.
pub(super) struct Login<'a> {
    pub(super) user: &'a str,
    pub(super) domain: &'a str,
    pub(super) password: &'a SecretString,
    pub(super) scope: Option<&'a Scope>,
}

/// A token that Keystone has issued.
pub(super) struct Issued {
    pub(super) token: Token,
    /// The token itself; marked as sensitive.
    pub(super) header: HeaderValue,
}

#[derive(Deserialize)]
struct Answer {
    token: Token,
}

impl Api {
    pub(super) async fn new(
        url: &Url,
        authorities: Option<&Path>,
        files: &Files,
    ) -> Result<Self, ClientError> {
        Ok(Self { client: Client::new(url, authorities, files).await?, tokens: tokens_url(url) })
    }

    /// Asks for a token with the password of a user.
    pub(super) async fn issue(&self, login: &Login<'_>) -> Result<Issued> {
        let request = self.client.post(self.tokens.clone()).json(&login.body());
        let response = self.client.send(request).await?;
        match response.status {
            StatusCode::CREATED => {}
            StatusCode::UNAUTHORIZED => return Err(rejected(&login.rejection())),
            status => return Err(self.unexpected(status)),
        }
        let header = response.headers.get(SUBJECT_TOKEN).filter(|token| !token.is_empty());
        let Some(mut header) = header.cloned() else {
            return Err(self.unavailable("its answer has no token"));
        };
        header.set_sensitive(true);
        Ok(Issued { token: self.read(&response)?, header })
    }

    /// Asks about the token `subject`. `authority` is a token of the user that asks.
    pub(super) async fn validate(
        &self,
        subject: &HeaderValue,
        authority: &HeaderValue,
    ) -> Result<Response> {
        let request = self.client.get(self.tokens.clone());
        self.client.send(request.header(SUBJECT_TOKEN, subject).header(AUTH_TOKEN, authority)).await
    }

    /// The description of a token in a response.
    pub(super) fn read(&self, response: &Response) -> Result<Token> {
        let answer = response.json::<Answer>();
        let token = answer.map(|answer| answer.token);
        token.ok_or_else(|| self.unavailable("its answer does not describe a token"))
    }

    pub(super) fn unexpected(&self, status: StatusCode) -> ProviderError {
        self.unavailable(&format!("{status} at {}", self.tokens.path()))
    }

    pub(super) fn unavailable(&self, why: &str) -> ProviderError {
        self.client.unavailable(why)
    }
}

impl Login<'_> {
    fn body(&self) -> Value {
        let user = json!({
            "name": self.user,
            "domain": {"name": self.domain},
            "password": self.password.expose_secret(),
        });
        let identity = json!({"methods": ["password"], "password": {"user": user}});
        match self.scope {
            None => json!({"auth": {"identity": identity}}),
            Some(Scope::Project { name, domain }) => {
                let project = json!({"name": name, "domain": {"name": domain}});
                json!({"auth": {"identity": identity, "scope": {"project": project}}})
            }
            Some(Scope::Domain { name }) => {
                let scope = json!({"domain": {"name": name}});
                json!({"auth": {"identity": identity, "scope": scope}})
            }
        }
    }

    /// Keystone has the same answer to both, so that passwords cannot be guessed by it.
    fn rejection(&self) -> String {
        let reasons = "Keystone rejects the user name or the password";
        match self.scope {
            None => reasons.to_owned(),
            Some(scope) => format!("{reasons}, or the user has no role on {scope}"),
        }
    }
}

/// A token as a header; `None` if it has characters that no header has.
pub(super) fn token_header(token: &str) -> Option<HeaderValue> {
    let mut header = HeaderValue::try_from(token).ok()?;
    header.set_sensitive(true);
    Some(header)
}
