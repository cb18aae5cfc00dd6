//! The token that requests carry, which is refreshed when it is due.

use std::cell::RefCell;
use std::path::Path;

use secrecy::{ExposeSecret as _, SecretString};

use super::LoginError;
use super::issuer::Issuer;
use super::tokens::{TokenFile, Tokens};

/// A log-in that was saved.
#[derive(Debug)]
pub(crate) struct ProviderSession {
    /// The name of the provider, for messages.
    name: String,
    file: TokenFile,
    /// The tokens as they were last read.
    tokens: RefCell<Option<Tokens>>,
}

impl ProviderSession {
    /// The one of this configuration; nothing is read yet.
    pub(crate) fn new(name: String, config: &Path) -> Self {
        Self { name, file: TokenFile::of(config), tokens: RefCell::default() }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The token, once [`Self::prepare`] has succeeded.
    pub(crate) fn token(&self) -> Option<SecretString> {
        self.tokens.borrow().as_ref().map(|tokens| tokens.token.clone())
    }

    /// Reads the token, and refreshes it if it is due.
    pub(crate) async fn prepare(&self) -> Result<(), LoginError> {
        let known = self.tokens.borrow().clone();
        let tokens = match known {
            Some(tokens) => tokens,
            None => self.load()?,
        };
        if !tokens.is_due() {
            return Ok(());
        }
        match (self.refresh(&tokens).await, tokens.has_expired()) {
            // It is good for this request.
            (Err(LoginError::Unreachable { .. } | LoginError::Expired { .. }), false) => Ok(()),
            (refreshed, _) => refreshed,
        }
    }

    /// After the server has rejected the token: a new one, if there can be one.
    pub(crate) async fn renew(&self) -> Result<bool, LoginError> {
        let rejected = self.tokens.borrow().clone();
        let Some(rejected) = rejected.filter(|tokens| tokens.refresh_token.is_some()) else {
            return Ok(false);
        };
        self.refresh(&rejected).await.map(|()| true)
    }

    /// Replaces the token: by the one that another commctl has obtained in the meantime, else by a new one, which is saved
    /// before it is used.
    async fn refresh(&self, old: &Tokens) -> Result<(), LoginError> {
        let _lock = self.file.lock().await?;
        let saved = self.load()?;
        if saved.token.expose_secret() != old.token.expose_secret() && !saved.is_due() {
            return Ok(());
        }
        let Some(refresh_token) = &saved.refresh_token else { return Err(saved.expired()) };
        let issuer = Issuer::discover(&saved.provider).await?;
        let new = issuer.refresh(refresh_token).await?;
        self.file.save(&new)?;
        self.tokens.replace(Some(new));
        Ok(())
    }

    fn load(&self) -> Result<Tokens, LoginError> {
        let missing = || LoginError::Missing { provider: self.name.clone() };
        let tokens = self.file.load()?.ok_or_else(missing)?;
        self.tokens.replace(Some(tokens.clone()));
        Ok(tokens)
    }
}
