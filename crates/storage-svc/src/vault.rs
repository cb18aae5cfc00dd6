//! Where secrets are: sealed in the store, or in Custodia with a note in the store that they are there.
//!
//! The note is what gives a secret in Custodia its revision, and puts it into transactions. Custodia is
//! written before the note, and what it had is put back when the store refuses. A crash in between leaves
//! a secret that no note tells of, or one that is newer than its note.

use std::path::PathBuf;
use std::sync::Arc;

use bus::error::chain;
use bus::{Error, Result};
use serde_json::json;
use zeroize::Zeroizing;

use crate::keyring::Keyring;
use crate::secrets::{Custodia, CustodiaError};

/// See the module.
#[derive(Debug)]
pub enum Vault {
    /// Sealed with the key of the keyring.
    Sealed(Arc<Keyring>),
    /// In Custodia.
    Custodia(Custodia),
}

/// What Custodia had before, by the key in the store: to be put back if the store refuses.
#[derive(Debug, Default)]
pub struct Before(Vec<(String, Option<Zeroizing<String>>)>);

impl Vault {
    /// In the Custodia behind this socket, if there is one, else sealed.
    ///
    /// # Errors
    /// When the client cannot be made.
    pub fn new(socket: Option<&PathBuf>, keyring: Arc<Keyring>) -> Result<Self, CustodiaError> {
        Ok(match socket {
            Some(socket) => Self::Custodia(Custodia::new(socket)?),
            None => Self::Sealed(keyring),
        })
    }

    /// Whether secrets are written elsewhere than in the store, and so before a commit.
    pub fn is_elsewhere(&self) -> bool {
        matches!(self, Self::Custodia(_))
    }

    /// Keeps a secret; returns what the store is to hold.
    ///
    /// # Errors
    /// When the key is not known yet, or Custodia fails.
    pub async fn keep(&self, key: &str, secret: &str, before: &mut Before) -> Result<String> {
        match self {
            Self::Sealed(keyring) => keyring.sealer()?.seal(key, secret),
            Self::Custodia(custodia) => {
                let old = custodia.get(key).await.map_err(unavailable)?;
                let is_new = old.as_ref().is_none_or(|old| **old != *secret);
                before.0.push((key.to_owned(), old));
                if is_new {
                    custodia.put(key, secret).await.map_err(unavailable)?;
                }
                Ok(json!({"kept_by": "custodia"}).to_string())
            }
        }
    }

    /// Puts back what Custodia had before.
    pub async fn restore(&self, before: Before) {
        let Self::Custodia(custodia) = self else { return };
        for (key, old) in before.0 {
            let restored = match old {
                Some(old) => custodia.put(&key, &old).await,
                None => custodia.delete(&key).await,
            };
            if let Err(error) = restored {
                tracing::error!(error = chain(&error), key, "a secret is newer than its record");
            }
        }
    }

    /// Opens what the store holds at `key`.
    ///
    /// # Errors
    /// [`bus::Kind::Internal`] when it is damaged, naming the key; others when it may be opened
    /// later.
    pub async fn open(&self, key: &str, stored: &str) -> Result<Zeroizing<String>> {
        let damaged = || Error::internal(format!("the record {key} in the store is damaged"));
        match self {
            Self::Sealed(keyring) => {
                keyring.sealer()?.open_sealed(key, stored).map_err(|e| damaged().with_source(e))
            }
            Self::Custodia(custodia) => {
                custodia.get(key).await.map_err(unavailable)?.ok_or_else(|| {
                    damaged().with_source(std::io::Error::other("Custodia does not have it"))
                })
            }
        }
    }

    /// What Custodia has for `key`, whether the store has a note of it or not.
    ///
    /// # Errors
    /// When Custodia fails.
    pub async fn unnoted(&self, key: &str) -> Result<Option<Zeroizing<String>>> {
        match self {
            Self::Sealed(_) => Ok(None),
            Self::Custodia(custodia) => custodia.get(key).await.map_err(unavailable),
        }
    }

    /// Forgets a secret whose record is deleted.
    pub async fn forget(&self, key: &str) {
        let Self::Custodia(custodia) = self else { return };
        if let Err(error) = custodia.delete(key).await {
            tracing::error!(error = chain(&error), key, "the secret of a deleted record is left");
        }
    }
}

fn unavailable(error: CustodiaError) -> Error {
    let is_silent = matches!(error, CustodiaError::Silent { .. });
    let unavailable = Error::unavailable("Custodia does not give or take the secret");
    let unavailable = unavailable.with_source(error);
    if is_silent { unavailable.of_outage() } else { unavailable }
}
