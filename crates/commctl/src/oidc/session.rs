//! The token that requests carry, which is refreshed when it is due.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use reqwest::Url;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use super::LoginError;
use super::issuer::Issuer;
use super::tokens::{Lock, TokenFile, Tokens};
use crate::endpoint::shown;
use crate::error::Error;
use crate::files::PrivateFile;

/// Timeout for the refresh of a token that is still valid; after it, that token is used.
const EARLY_TIMEOUT: Duration = Duration::from_secs(4);

/// Timeout, at the end of the process, for exchanges whose result is not saved yet.
const END_TIMEOUT: Duration = Duration::from_secs(10);

/// A log-in that was saved.
#[derive(Debug)]
pub(crate) struct ProviderSession {
    /// The name of the provider in the configuration.
    name: String,
    /// The endpoints of the configuration.
    endpoints: Vec<Url>,
    file: TokenFile,
    /// The tokens as they were last read.
    tokens: RefCell<Option<Tokens>>,
    /// Whether an early refresh has failed: the token is used until it expires.
    is_postponed: Cell<bool>,
    refreshes: Refreshes,
}

/// Exchanges of refresh tokens that have begun.
///
/// An exchange can invalidate the refresh token that is saved, so it goes on when the request that began it is cancelled
/// (by Ctrl-C or `--timeout`), and the process waits for it before it exits.
#[derive(Debug, Clone, Default)]
pub(crate) struct Refreshes(Rc<RefCell<Vec<JoinHandle<()>>>>);

impl Refreshes {
    /// Waits until each result is saved, for a limited time.
    pub(crate) async fn finish(&self) {
        let deadline = Instant::now() + END_TIMEOUT;
        let tasks = self.0.take();
        for task in tasks {
            if timeout_at(deadline, task).await.is_err() {
                eprintln!(
                    "warning: the identity provider does not answer the refresh of the tokens; \
                     if the next command fails, log in again"
                );
                return;
            }
        }
    }
}

impl ProviderSession {
    /// The session of a configuration; nothing is read yet.
    pub(crate) fn new(name: String, endpoints: Vec<Url>, file: TokenFile) -> Self {
        let (tokens, is_postponed) = (RefCell::default(), Cell::new(false));
        Self { name, endpoints, file, tokens, is_postponed, refreshes: Refreshes::default() }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The command that logs in again.
    pub(crate) fn login_command(&self) -> &str {
        self.file.login_command()
    }

    pub(crate) fn refreshes(&self) -> Refreshes {
        self.refreshes.clone()
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
        if tokens.has_expired() {
            let lock = self.file.lock().await?;
            return self.refresh(&tokens, lock).await;
        }
        if self.is_postponed.get() {
            return Ok(());
        }
        let lock = match self.file.try_lock() {
            Ok(Some(lock)) => lock,
            // Another process refreshes it, or the result could not be saved.
            Ok(None) | Err(LoginError::Write(_)) => return Ok(()),
            Err(error) => return Err(error),
        };
        match timeout(EARLY_TIMEOUT, self.refresh(&tokens, lock)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(
                LoginError::Unreachable { .. }
                | LoginError::Expired { .. }
                | LoginError::Write(_)
                | LoginError::Unusable { .. },
            ))
            | Err(_) => {
                self.is_postponed.set(true);
                Ok(())
            }
            Ok(Err(error)) => Err(error),
        }
    }

    /// After the server has rejected the token: a new one, if there can be one.
    pub(crate) async fn renew(&self) -> Result<bool, LoginError> {
        let rejected = self.tokens.borrow().clone();
        let Some(rejected) = rejected.filter(|tokens| tokens.refresh_token.is_some()) else {
            return Ok(false);
        };
        let lock = self.file.lock().await?;
        self.refresh(&rejected, lock).await.map(|()| true)
    }

    /// Replaces the token: by the one that another commctl has obtained in the meantime, else by a new one, which is saved
    /// before it is used.
    async fn refresh(&self, old: &Tokens, lock: Lock) -> Result<(), LoginError> {
        let saved = self.read()?;
        if saved.token.expose_secret() != old.token.expose_secret() && !saved.is_due() {
            self.tokens.replace(Some(saved));
            return Ok(());
        }
        let Some(refresh_token) = saved.refresh_token.clone() else {
            return Err(self.expired(&saved, None));
        };
        // Without space for the result, the refresh token stays unused, and valid.
        let reserved = self.file.reserve()?;
        let Issuer { http, endpoints, .. } = Issuer::discover(&saved.provider).await?;
        let provider = saved.provider.clone();
        let endpoint = saved.endpoint.clone();
        let login_command = self.login_command().to_owned();
        let (sender, receiver) = tokio::sync::oneshot::channel();
        #[expect(clippy::disallowed_methods, reason = "Refreshes::finish waits for it")]
        let task = tokio::spawn(async move {
            let _lock = lock;
            let issuer = Issuer { provider: &provider, http, endpoints };
            let result = match issuer.refresh(&refresh_token).await {
                Ok(new) => {
                    let new = Tokens { endpoint, ..new };
                    save(&new, &refresh_token, reserved, &login_command);
                    Ok(new)
                }
                Err(error) => Err(error),
            };
            // After a cancellation there is no receiver, and the result is saved already.
            let _cancelled = sender.send(result);
        });
        self.refreshes.0.borrow_mut().push(task);
        let new = match receiver.await {
            Ok(Ok(new)) => new,
            Ok(Err(LoginError::Rejected { reason, .. })) => {
                return Err(self.expired(&saved, Some(reason)));
            }
            Ok(Err(error)) => return Err(error),
            Err(_) => return Err(LoginError::Aborted),
        };
        self.tokens.replace(Some(new));
        self.is_postponed.set(false);
        Ok(())
    }

    fn load(&self) -> Result<Tokens, LoginError> {
        let tokens = self.read()?;
        self.tokens.replace(Some(tokens.clone()));
        Ok(tokens)
    }

    /// Reads the file. Tokens of another provider, and those that another server has accepted, are not used: the file
    /// or the configuration may have changed since.
    fn read(&self) -> Result<Tokens, LoginError> {
        let is_for_this_server = |tokens: &Tokens| {
            tokens.provider.name == self.name
                && tokens.endpoint.as_ref().is_some_and(|url| self.endpoints.contains(url))
        };
        self.file.load()?.filter(is_for_this_server).ok_or_else(|| LoginError::Missing {
            provider: self.name.clone(),
            endpoint: self.endpoints.first().map(shown).unwrap_or_default().to_owned(),
            login_command: self.login_command().to_owned(),
        })
    }

    fn expired(&self, tokens: &Tokens, reason: Option<String>) -> LoginError {
        LoginError::Expired {
            issuer: tokens.provider.issuer.clone(),
            reason,
            login_command: self.login_command().to_owned(),
        }
    }
}

/// Saves refreshed tokens. A failure is a warning: the new token is still good for this command.
fn save(new: &Tokens, old: &SecretString, reserved: PrivateFile, login_command: &str) {
    let Err(error) = reserved.write(&TokenFile::text(new)) else { return };
    let is_replaced = new
        .refresh_token
        .as_ref()
        .is_some_and(|token| token.expose_secret() != old.expose_secret());
    let consequence = if is_replaced {
        format!("the log-in is lost after this command; run `{login_command}`")
    } else {
        "the next command refreshes them again".to_owned()
    };
    eprintln!(
        "warning: the new tokens were not saved: {}: {consequence}",
        Error::from(error).report()
    );
}
