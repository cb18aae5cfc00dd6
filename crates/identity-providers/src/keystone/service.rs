//! The token that the gateway validates others with: fetched when it is first needed, and renewed before it expires.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reqwest::header::HeaderValue;
use runtime::{Clock, Files};
use secrecy::SecretString;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::api::{Api, Login};
use super::options::Account;
use crate::{ProviderError, Result};

/// The token is renewed after this share of its lifetime, in tenths.
const RENEWED_AFTER_TENTHS: u32 = 9;

/// The account that validates tokens, and its own token.
#[derive(Debug)]
pub(super) struct Service {
    account: Account,
    files: Files,
    clock: Clock,
    /// The result of the last fetch; locked during a fetch.
    last: Mutex<Option<Result<OwnToken>>>,
    /// Fetches that have ended.
    fetches: AtomicU64,
}

#[derive(Debug, Clone)]
pub(super) struct OwnToken {
    pub(super) header: HeaderValue,
    renewal: Instant,
    /// The fetch that it is from.
    fetch: u64,
}

impl Service {
    pub(super) fn new(account: Account, files: Files, clock: Clock) -> Self {
        Self { account, files, clock, last: Mutex::new(None), fetches: AtomicU64::new(0) }
    }

    /// The token.
    pub(super) async fn token(&self, api: &Api) -> Result<OwnToken> {
        self.token_after(api, 0).await
    }

    /// Another token than this one, which Keystone has rejected.
    pub(super) async fn renewed(&self, api: &Api, rejected: &OwnToken) -> Result<OwnToken> {
        self.token_after(api, rejected.fetch).await
    }

    /// The token of a later fetch than this one. Of concurrent callers one fetches it, and all of them get its result, an
    /// error too.
    async fn token_after(&self, api: &Api, fetch: u64) -> Result<OwnToken> {
        let fetches_before = self.fetches.load(Ordering::Acquire);
        let mut last = self.last.lock().await;
        let fetches = self.fetches.load(Ordering::Acquire);
        match &*last {
            Some(Ok(token)) if token.fetch > fetch && Instant::now() < token.renewal => {
                return Ok(token.clone());
            }
            Some(Err(error)) if fetches > fetches_before => return Err(error.clone()),
            _ => {}
        }
        let result = self.fetch(api, fetches + 1).await;
        *last = Some(result.clone());
        self.fetches.store(fetches + 1, Ordering::Release);
        result
    }

    async fn fetch(&self, api: &Api, fetch: u64) -> Result<OwnToken> {
        let Account { user, domain, password_file, scope } = &self.account;
        let path = password_file.display();
        let password = self.files.read_to_string(password_file).await;
        let password =
            password.map_err(|error| api.unavailable(&format!("cannot read {path}: {error}")))?;
        let password = SecretString::from(password.trim_end_matches(['\r', '\n']));
        let begun = Instant::now();
        let login = Login { user, domain, password: &password, scope: Some(scope) };
        let issued = api.issue(&login).await.map_err(|error| match error {
            // Not the credentials of the client are rejected, but those of the configuration.
            ProviderError::Rejected(why) => api
                .unavailable(&format!("`service-user` {user} with the password in {path}: {why}")),
            unavailable @ ProviderError::Unavailable(_) => unavailable,
        })?;
        let lifetime = issued.token.expires_at.duration_since(self.clock.wall());
        let lifetime = Duration::try_from(lifetime).unwrap_or_default();
        let renewal = begun + lifetime / 10 * RENEWED_AFTER_TENTHS;
        Ok(OwnToken { header: issued.header, renewal, fetch })
    }
}
