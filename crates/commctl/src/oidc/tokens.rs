//! The tokens of a log-in, and the file that they are kept in.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use oauth2::TokenResponse as _;
use reqwest::Url;
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::issuer::{Issuer, Response};
use super::{LoginError, Provider, TokenKind, id_token};
use crate::clock::now;
use crate::config::Source;
use crate::files::{
    PrivateFile, ReadError, WriteError, delete_file, directory_of, is_missing, is_private,
    make_private_directory,
};
use crate::login::is_bearer;

/// The directory of the files, beside a configuration.
const DIRECTORY: &str = ".commissaire-tokens";

/// A token is refreshed when it has less than this left: a request takes its time.
const MARGIN: SignedDuration = SignedDuration::from_secs(30);

/// How often a lock that another process holds is tried.
const LOCK_INTERVAL: Duration = Duration::from_millis(50);

/// Timeout for the lock where the tokens cannot be used without it: longer than the requests of one refresh.
pub(super) const LOCK_TIMEOUT: Duration = Duration::from_secs(75);

/// The space for new tokens in excess of the size of the old ones, in bytes.
const GROWTH: usize = 4096;

/// What an issuer has issued.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Tokens {
    pub(crate) provider: Provider,
    /// The endpoint of the server that has accepted the tokens: they are sent to no other server. Files of earlier
    /// versions have none.
    #[serde(default)]
    pub(crate) endpoint: Option<Url>,
    /// The token that requests to the server carry.
    pub(crate) token: SecretString,
    /// The refresh token that the next token is requested with.
    pub(super) refresh_token: Option<SecretString>,
    /// When `token` expires, if that is known.
    #[serde(deserialize_with = "time")]
    pub(super) expires: Option<Timestamp>,
}

impl Tokens {
    /// Those of a response; `refresh_token` is the one that was used, which stays valid unless another one replaces it.
    pub(super) fn of(
        provider: &Provider,
        response: &Response,
        nonce: Option<&str>,
        refresh_token: Option<&SecretString>,
    ) -> Result<Self, LoginError> {
        let (token, expires) = match provider.token {
            TokenKind::Access => {
                let token = response.access_token().secret();
                let left =
                    response.expires_in().and_then(|left| SignedDuration::try_from(left).ok());
                let expires = left.and_then(|left| now().checked_add(left).ok());
                (SecretString::from(token.as_str()), expires.or_else(|| id_token::expiry(token)))
            }
            TokenKind::Id => {
                let token = response.extra_fields().id_token.clone();
                let token = token.ok_or_else(|| provider.unusable("it has issued no ID token"))?;
                let expires = id_token::check(token.expose_secret(), provider, nonce);
                (token, Some(expires.map_err(|problem| provider.unusable(problem))?))
            }
        };
        if !is_bearer(&token) {
            return Err(provider.unusable("it has issued a token that no header can carry"));
        }
        let time = now();
        if let Some(expires) = expires.filter(|expires| *expires <= time) {
            return Err(provider.unusable(format!(
                "it has issued a token that expired at {expires}, but this machine's clock says {time:.0}: check the clock"
            )));
        }
        let new = response.refresh_token().map(|token| SecretString::from(token.secret().as_str()));
        let (provider, endpoint) = (provider.clone(), None);
        let refresh_token = new.or(refresh_token.cloned());
        Ok(Self { provider, endpoint, token, refresh_token, expires })
    }

    /// Whether it is time for a new token.
    pub(super) fn is_due(&self) -> bool {
        self.expires.is_some_and(|expires| now() + MARGIN >= expires)
    }

    pub(super) fn has_expired(&self) -> bool {
        self.expires.is_some_and(|expires| now() >= expires)
    }

    /// Whether there is a token that can be revoked.
    pub(crate) fn has_refresh_token(&self) -> bool {
        self.refresh_token.is_some()
    }

    /// When the token expires, if that is known.
    pub(crate) fn expires(&self) -> Option<Timestamp> {
        self.expires
    }

    /// Revokes the refresh token at the issuer. Returns false without a refresh token, or if the issuer cannot revoke.
    pub(crate) async fn revoke(&self) -> Result<bool, LoginError> {
        let Some(token) = &self.refresh_token else { return Ok(false) };
        Issuer::discover(&self.provider).await?.revoke(token).await
    }
}

fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| text.parse().map_err(D::Error::custom)).transpose()
}

/// The file with the tokens of a configuration. It is replaced as a whole, and readable by its owner only.
#[derive(Debug, Clone)]
pub(crate) struct TokenFile {
    path: PathBuf,
    /// The command that logs in, for messages.
    login_command: String,
}

impl TokenFile {
    /// The token file of a configuration.
    pub(crate) fn of(source: &Source) -> Self {
        let config = source.path();
        // A configuration and a symbolic link to it have the same token file.
        let config = std::fs::canonicalize(&config).unwrap_or(config);
        let mut name = config.file_name().unwrap_or_default().to_owned();
        // Always appended: `prod` and `prod.json` are two configurations.
        name.push(".json");
        let path = directory_of(&config).join(DIRECTORY).join(name);
        Self { path, login_command: source.login_command() }
    }

    pub(crate) fn login_command(&self) -> &str {
        &self.login_command
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The tokens in it; `None` if there is no such file.
    pub(crate) fn load(&self) -> Result<Option<Tokens>, LoginError> {
        let text = match std::fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if is_missing(&error) => return Ok(None),
            Err(source) => return Err(ReadError { path: self.path.clone(), source }.into()),
        };
        self.check_directory()?;
        let corrupt = |_| LoginError::Corrupt {
            path: self.path.clone(),
            login_command: self.login_command.clone(),
        };
        serde_json::from_slice(&text).map(Some).map_err(corrupt)
    }

    pub(crate) fn save(&self, tokens: &Tokens) -> Result<(), LoginError> {
        Ok(self.reserve()?.write(&Self::text(tokens))?)
    }

    /// Creates the file that will replace this one, with space for tokens.
    pub(crate) fn reserve(&self) -> Result<PrivateFile, LoginError> {
        self.make_directory()?;
        let size = std::fs::metadata(&self.path).map_or(0, |metadata| metadata.len());
        let size = usize::try_from(size).unwrap_or_default().saturating_add(GROWTH);
        Ok(PrivateFile::reserve(&self.path, size)?)
    }

    /// The content of the file.
    pub(super) fn text(tokens: &Tokens) -> String {
        let secret = |secret: &SecretString| secret.expose_secret().to_owned();
        let text = json!({
            "provider": tokens.provider,
            "endpoint": tokens.endpoint,
            "token": secret(&tokens.token),
            "refresh_token": tokens.refresh_token.as_ref().map(secret),
            "expires": tokens.expires.map(|expires| expires.to_string()),
        });
        format!("{text:#}\n")
    }

    /// Deletes the file. Returns whether it existed.
    pub(crate) fn delete(&self) -> Result<bool, LoginError> {
        Ok(delete_file(&self.path)?)
    }

    /// The file that is locked.
    fn lock_path(&self) -> PathBuf {
        self.path.with_extension("lock")
    }

    /// Deletes the file that is locked, with the configuration.
    pub(crate) fn delete_lock(&self) -> Result<(), LoginError> {
        delete_file(&self.lock_path())?;
        Ok(())
    }

    /// Waits until no other commctl changes the file, and keeps them waiting until the lock is dropped.
    pub(crate) async fn lock(&self) -> Result<Lock, LoginError> {
        let deadline = Instant::now() + LOCK_TIMEOUT;
        loop {
            if let Some(lock) = self.try_lock()? {
                return Ok(lock);
            }
            if Instant::now() >= deadline {
                return Err(LoginError::Locked { path: self.lock_path() });
            }
            // A blocking lock in a thread could not be cancelled: Ctrl-C would have to wait for it.
            sleep(LOCK_INTERVAL).await;
        }
    }

    /// The lock; `None` if another process, or another refresh of this one, holds it.
    pub(super) fn try_lock(&self) -> Result<Option<Lock>, LoginError> {
        self.make_directory()?;
        let path = self.lock_path();
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(false).mode(0o600).open(&path);
        let locked = file.map_err(TryLockError::Error).and_then(|file| {
            file.try_lock()?;
            Ok(file)
        });
        match locked {
            Ok(file) => Ok(Some(Lock(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(WriteError { path, source }.into()),
        }
    }

    fn make_directory(&self) -> Result<(), LoginError> {
        make_private_directory(directory_of(&self.path))?;
        self.check_directory()
    }

    fn check_directory(&self) -> Result<(), LoginError> {
        let path = directory_of(&self.path).to_owned();
        if is_private(&path) {
            return Ok(());
        }
        let metadata = std::fs::symlink_metadata(&path);
        let metadata = metadata.map_err(|source| ReadError { path: path.clone(), source })?;
        Err(if !metadata.is_dir() {
            LoginError::NotADirectory { path }
        } else if metadata.uid() != rustix::process::geteuid().as_raw() {
            LoginError::OtherOwner { path }
        } else {
            LoginError::NotPrivate { path }
        })
    }
}

/// Held while a file is changed; dropping it ends that.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "it is unlocked when it is closed")] File);
