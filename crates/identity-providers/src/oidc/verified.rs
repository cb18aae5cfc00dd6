//! Tokens that were verified recently.

use std::fmt;
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use runtime::expiring::Expiring;
use runtime::random;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;

use super::keys::Fingerprint;
use crate::Identity;

/// The most tokens that are remembered.
const CAPACITY: usize = 4096;

/// How long each is remembered.
const TIME_TO_LIVE: Duration = Duration::from_mins(5);

/// Owners of tokens by keyed hashes of the tokens: never the tokens.
pub(super) struct Verified {
    owners: Expiring<[u8; 32], Remembered>,
    /// The key of those hashes: this process's alone.
    key: Hmac<Sha256>,
}

/// The owner of a token.
#[derive(Debug, Clone)]
pub(super) struct Remembered {
    pub(super) identity: Identity,
    /// The key that has signed the token.
    pub(super) key: Fingerprint,
}

impl fmt::Debug for Verified {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Verified").finish_non_exhaustive()
    }
}

impl Verified {
    pub(super) fn new() -> Self {
        let key = Hmac::new(&random::secret::<64>().into());
        Self { owners: Expiring::new(CAPACITY, TIME_TO_LIVE), key }
    }

    /// The owner of a token that has not expired.
    pub(super) fn get(&self, token: &SecretString, now: Timestamp) -> Option<Remembered> {
        let remembered = self.owners.get(&self.hash(token))?;
        remembered.identity.expires.is_some_and(|expires| now < expires).then_some(remembered)
    }

    /// Remembers the owner of a token.
    pub(super) fn insert(&self, token: &SecretString, identity: Identity, key: Fingerprint) {
        self.owners.insert(self.hash(token), Remembered { identity, key });
    }

    fn hash(&self, token: &SecretString) -> [u8; 32] {
        let mac = self.key.clone().chain_update(token.expose_secret());
        mac.finalize().into_bytes().into()
    }
}
