//! Tokens that were verified recently.

use std::time::Duration;

use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};

use super::keys::Fingerprint;
use crate::Identity;
use crate::remembered::ByCredentials;

/// The most tokens that are remembered.
const CAPACITY: usize = 4096;

/// How long each is remembered.
const TIME_TO_LIVE: Duration = Duration::from_mins(5);

/// Owners of tokens by the tokens.
#[derive(Debug)]
pub(super) struct Verified(ByCredentials<Remembered>);

/// The owner of a token.
#[derive(Debug, Clone)]
pub(super) struct Remembered {
    pub(super) identity: Identity,
    /// The key that has signed the token.
    pub(super) key: Fingerprint,
}

impl Verified {
    pub(super) fn new() -> Self {
        Self(ByCredentials::new(CAPACITY, TIME_TO_LIVE))
    }

    /// The owner of a token that has not expired.
    pub(super) fn get(&self, token: &SecretString, now: Timestamp) -> Option<Remembered> {
        let remembered = self.0.get(&[token.expose_secret()])?;
        remembered.identity.expires.is_some_and(|expires| now < expires).then_some(remembered)
    }

    /// Remembers the owner of a token.
    pub(super) fn insert(&self, token: &SecretString, identity: Identity, key: Fingerprint) {
        self.0.insert(&[token.expose_secret()], Remembered { identity, key });
    }
}
