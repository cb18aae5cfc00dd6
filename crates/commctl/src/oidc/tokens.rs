//! The tokens of a log-in, and the file that they are kept in.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use oauth2::TokenResponse as _;
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::json;

use super::issuer::{Issuer, Response};
use super::{LoginError, Provider, TokenKind, id_token};
use crate::clock::now;
use crate::files::{ReadError, WriteError, directory_of, is_private, write_private};
use crate::login::is_bearer;

/// The directory of the files, beside a configuration.
const DIRECTORY: &str = ".commissaire-tokens";

/// A token is refreshed when it has less than this left: a request takes its time.
const MARGIN: SignedDuration = SignedDuration::from_secs(30);

/// What an issuer has issued.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Tokens {
    pub(crate) provider: Provider,
    /// The token that requests to the server carry.
    pub(crate) token: SecretString,
    /// With which the next one is requested.
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
        let new = response.refresh_token().map(|token| SecretString::from(token.secret().as_str()));
        let provider = provider.clone();
        Ok(Self { provider, token, refresh_token: new.or(refresh_token.cloned()), expires })
    }

    /// Whether it is time for a new token.
    pub(super) fn is_due(&self) -> bool {
        self.expires.is_some_and(|expires| now() + MARGIN >= expires)
    }

    pub(super) fn has_expired(&self) -> bool {
        self.expires.is_some_and(|expires| now() >= expires)
    }

    pub(super) fn expired(&self) -> LoginError {
        LoginError::Expired { issuer: self.provider.issuer.clone(), reason: None }
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
}

impl TokenFile {
    /// The one of this configuration.
    pub(crate) fn of(config: &Path) -> Self {
        // The same one by way of a link.
        let config = std::fs::canonicalize(config).unwrap_or_else(|_| config.to_owned());
        let mut name = config.file_name().unwrap_or_default().to_owned();
        if config.extension().is_none_or(|extension| extension != "json") {
            name.push(".json");
        }
        Self { path: directory_of(&config).join(DIRECTORY).join(name) }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The tokens in it; `None` if there is no such file.
    pub(crate) fn load(&self) -> Result<Option<Tokens>, LoginError> {
        let text = match std::fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(ReadError { path: self.path.clone(), source }.into()),
        };
        self.check_directory()?;
        let corrupt = |_| LoginError::Corrupt { path: self.path.clone() };
        serde_json::from_slice(&text).map(Some).map_err(corrupt)
    }

    pub(crate) fn save(&self, tokens: &Tokens) -> Result<(), LoginError> {
        self.make_directory()?;
        let secret = |secret: &SecretString| secret.expose_secret().to_owned();
        let text = json!({
            "provider": tokens.provider,
            "token": secret(&tokens.token),
            "refresh_token": tokens.refresh_token.as_ref().map(secret),
            "expires": tokens.expires.map(|expires| expires.to_string()),
        });
        Ok(write_private(&self.path, &format!("{text:#}\n"))?)
    }

    /// Deletes the file. Returns whether it existed.
    pub(crate) fn delete(&self) -> Result<bool, LoginError> {
        match std::fs::remove_file(&self.path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(source) => Err(WriteError { path: self.path.clone(), source }.into()),
        }
    }

    /// Waits until no other commctl changes the file, and keeps them waiting until the lock is dropped.
    pub(crate) async fn lock(&self) -> Result<Lock, LoginError> {
        self.make_directory()?;
        let path = self.path.with_extension("lock");
        let failed = {
            let path = path.clone();
            move |source| LoginError::from(WriteError { path, source })
        };
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(false).mode(0o600).open(path);
        let file = file.map_err(failed.clone())?;
        let locked = tokio::task::spawn_blocking(move || file.lock().map(|()| file)).await;
        locked.map_err(std::io::Error::other).flatten().map(Lock).map_err(failed)
    }

    fn make_directory(&self) -> Result<(), LoginError> {
        let directory = directory_of(&self.path);
        match DirBuilder::new().mode(0o700).create(directory) {
            Err(source) if source.kind() != ErrorKind::AlreadyExists => {
                Err(WriteError { path: directory.to_owned(), source }.into())
            }
            _ => self.check_directory(),
        }
    }

    fn check_directory(&self) -> Result<(), LoginError> {
        let path = directory_of(&self.path);
        if is_private(path) {
            Ok(())
        } else {
            Err(LoginError::NotPrivate { path: path.to_owned() })
        }
    }
}

/// Held while a file is changed; dropping it ends that.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "it is unlocked when it is closed")] File);
