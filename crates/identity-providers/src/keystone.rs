//! Passwords and tokens of OpenStack, checked by the Identity API v3 of Keystone.
//!
//! - `options`: the options of both plugins
//! - `rules`: which identity the token of a user gives, by its domain and its scope
//! - `api`: requests to Keystone
//! - `service`: the token that the gateway has for itself

mod api;
mod options;
mod rules;
mod service;

use reqwest::StatusCode;
use runtime::{Clock, Files};
use secrecy::{ExposeSecret as _, SecretString};

pub use self::options::{PasswordOptions, TokenOptions};

use self::api::{Api, Login, token_header};
use self::options::warn_of_plaintext;
use self::rules::{Rules, Token};
use self::service::Service;
use crate::client::{ClientError, Response};
use crate::remembered::Remembered;
use crate::{Identity, NAME_MAX, ProviderError, Result};

/// Size limit of a password or a token, in bytes: Keystone's own limit for passwords.
const SECRET_MAX: usize = 4096;

/// Names and passwords of Keystone's users.
#[derive(Debug)]
pub struct KeystonePassword {
    api: Api,
    domain: String,
    rules: Rules,
    remembered: Remembered,
    clock: Clock,
}

/// Tokens that Keystone has issued.
#[derive(Debug)]
pub struct KeystoneToken {
    api: Api,
    service: Option<Service>,
    rules: Rules,
    remembered: Remembered,
    clock: Clock,
}

impl KeystonePassword {
    /// Sends no request: Keystone need not be available yet.
    ///
    /// # Errors
    /// When an option is invalid.
    pub async fn new(
        options: PasswordOptions,
        files: &Files,
        clock: Clock,
    ) -> Result<Self, ClientError> {
        let scope = options.scope()?;
        let PasswordOptions { url, domain, certificate_authority_path, .. } = options;
        let api = Api::new(&url, certificate_authority_path.as_deref(), files).await?;
        warn_of_plaintext("keystonepasswordauth", &url, "passwords");
        let rules = Rules { domain: Some(domain.clone()), scope };
        Ok(Self { api, domain, rules, remembered: Remembered::new(clock.clone()), clock })
    }

    /// The user who was accepted with this password within the last 300 s.
    pub fn remembered(&self, user: &str, password: &SecretString) -> Option<Identity> {
        self.remembered.get(&[user, password.expose_secret()])
    }

    /// The user with this name and password.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub async fn identify(&self, user: &str, password: &SecretString) -> Result<Identity> {
        if let Some(identity) = self.remembered(user, password) {
            return Ok(identity);
        }
        // An LDAP server behind Keystone may accept an empty password for any user.
        if user.is_empty() || user.len() > NAME_MAX || !has_valid_size(password) {
            return Err(rejected("the user name or the password is empty or too long"));
        }
        let scope = self.rules.scope.as_ref();
        let login = Login { user, domain: &self.domain, password, scope };
        let token = self.api.issue(&login).await?.token;
        if token.user.name != user {
            return Err(rejected("Keystone has another spelling of the user name"));
        }
        let identity = self.rules.identity(&token, self.clock.wall())?;
        self.remembered.insert(&[user, password.expose_secret()], &identity);
        Ok(identity)
    }
}

impl KeystoneToken {
    /// Sends no request: Keystone need not be available yet.
    ///
    /// # Errors
    /// When an option is invalid.
    pub async fn new(
        options: TokenOptions,
        files: &Files,
        clock: Clock,
    ) -> Result<Self, ClientError> {
        let (scope, service) = (options.scope()?, options.service()?);
        let TokenOptions { url, domain, certificate_authority_path, .. } = options;
        let api = Api::new(&url, certificate_authority_path.as_deref(), files).await?;
        warn_of_plaintext("keystonetokenauth", &url, "tokens");
        let service = service.map(|account| Service::new(account, files.clone(), clock.clone()));
        let rules = Rules { domain, scope };
        Ok(Self { api, service, rules, remembered: Remembered::new(clock.clone()), clock })
    }

    /// The user whose token was accepted within the last 300 s.
    pub fn remembered(&self, token: &SecretString) -> Option<Identity> {
        self.remembered.get(&[token.expose_secret()])
    }

    /// The user of this token.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub async fn identify(&self, token: &SecretString) -> Result<Identity> {
        if let Some(identity) = self.remembered(token) {
            return Ok(identity);
        }
        if !has_valid_size(token) {
            return Err(rejected("the token is empty or too long"));
        }
        let identity = self.rules.identity(&self.validate(token).await?, self.clock.wall())?;
        self.remembered.insert(&[token.expose_secret()], &identity);
        Ok(identity)
    }

    async fn validate(&self, token: &SecretString) -> Result<Token> {
        let subject = token_header(token.expose_secret())
            .ok_or_else(|| rejected("the token has characters that no token has"))?;
        let (response, by) = if let Some(service) = &self.service {
            let own = service.token(&self.api).await?;
            let mut response = self.api.validate(&subject, &own.header).await?;
            if response.status == StatusCode::UNAUTHORIZED {
                let own = service.renewed(&self.api, &own).await?;
                response = self.api.validate(&subject, &own.header).await?;
            }
            (response, Authority::Service)
        } else {
            (self.api.validate(&subject, &subject).await?, Authority::Subject)
        };
        self.read(&response, by)
    }

    fn read(&self, response: &Response, by: Authority) -> Result<Token> {
        match (response.status, by) {
            (StatusCode::OK, _) => self.api.read(response),
            (StatusCode::NOT_FOUND, Authority::Service)
            | (StatusCode::UNAUTHORIZED, Authority::Subject) => {
                Err(rejected("Keystone does not know the token, or it has expired"))
            }
            (StatusCode::UNAUTHORIZED, Authority::Service) => {
                Err(self.api.unavailable("it rejects the token that it issued for `service-user`"))
            }
            (StatusCode::FORBIDDEN, Authority::Service) => Err(self.api.unavailable(
                "`service-user` may not validate tokens: it needs the role `service` on `service-project`",
            )),
            // Without credentials of its own, 404 is not about the token: `url` is not that of Keystone.
            (status, _) => Err(self.api.unexpected(status)),
        }
    }
}

/// Whose token authorizes a validation: the header `X-Auth-Token`.
#[derive(Clone, Copy)]
enum Authority {
    Service,
    /// The one that is validated.
    Subject,
}

fn has_valid_size(secret: &SecretString) -> bool {
    (1..=SECRET_MAX).contains(&secret.expose_secret().len())
}

fn rejected(message: &str) -> ProviderError {
    ProviderError::Rejected(message.to_owned())
}
