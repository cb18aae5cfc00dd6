//! Identities by credentials that a provider has accepted, so that it is not asked for each request.

use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use runtime::expiring::Expiring;
use runtime::{Clock, random};
use sha2::Sha256;

use crate::Identity;

/// How long an identity is remembered at most: credentials that are revoked at the provider are accepted until then.
const REMEMBERED_FOR: Duration = Duration::from_mins(5);

/// Identities remembered at a time; the oldest is dropped for a new one.
const CAPACITY: usize = 10_000;

/// Values by keyed hashes of credentials: never the credentials themselves. The oldest value is dropped for a new one.
pub struct ByCredentials<V> {
    values: Expiring<[u8; 32], V>,
    /// The key of the hashes: random, and of this process alone.
    key: Hmac<Sha256>,
}

impl<V> std::fmt::Debug for ByCredentials<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ByCredentials").finish_non_exhaustive()
    }
}

impl<V: Clone> ByCredentials<V> {
    /// Nothing yet.
    pub fn new(capacity: usize, time_to_live: Duration) -> Self {
        let key = Hmac::new(&random::secret::<64>().into());
        Self { values: Expiring::new(capacity, time_to_live), key }
    }

    /// What was inserted with these credentials, unless it has expired.
    pub fn get(&self, credentials: &[&str]) -> Option<V> {
        self.values.get(&self.hash(credentials))
    }

    /// Inserts a value.
    pub fn insert(&self, credentials: &[&str], value: V) {
        self.values.insert(self.hash(credentials), value);
    }

    /// Each part is preceded by its length, so that no two lists of parts have the same bytes.
    fn hash(&self, credentials: &[&str]) -> [u8; 32] {
        let mut mac = self.key.clone();
        for part in credentials {
            mac.update(&part.len().to_be_bytes());
            mac.update(part.as_bytes());
        }
        mac.finalize().into_bytes().into()
    }
}

/// Identities by their credentials.
#[derive(Debug)]
pub struct Remembered {
    identities: ByCredentials<Identity>,
    clock: Clock,
}

impl Remembered {
    /// Nothing yet. The clock decides whether an identity has expired.
    pub fn new(clock: Clock) -> Self {
        Self { identities: ByCredentials::new(CAPACITY, REMEMBERED_FOR), clock }
    }

    /// The identity that was accepted with these credentials, unless it has expired since.
    pub fn get(&self, credentials: &[&str]) -> Option<Identity> {
        self.identities.get(credentials).filter(|identity| identity.is_valid(self.clock.wall()))
    }

    /// Remembers an identity that the provider has confirmed.
    pub fn insert(&self, credentials: &[&str], identity: &Identity) {
        self.identities.insert(credentials, identity.clone());
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use tokio::time::advance;

    use super::*;

    const START: &str = "2026-11-21T12:00:00Z";

    fn identity(expires: Option<Timestamp>) -> Identity {
        Identity::new("ann", vec!["operators".to_owned()], expires).unwrap()
    }

    fn remembered() -> (Remembered, Timestamp) {
        let start: Timestamp = START.parse().unwrap();
        (Remembered::new(Clock::simulated(start)), start)
    }

    #[tokio::test(start_paused = true)]
    async fn identity_is_forgotten_after_300_s() {
        let (remembered, _) = remembered();
        assert_eq!(remembered.get(&["ann", "canary"]), None);
        remembered.insert(&["ann", "canary"], &identity(None));
        advance(Duration::from_secs(299)).await;
        assert_eq!(remembered.get(&["ann", "canary"]), Some(identity(None)));
        advance(Duration::from_secs(1)).await;
        assert_eq!(remembered.get(&["ann", "canary"]), None);
    }

    #[tokio::test(start_paused = true)]
    async fn identity_is_forgotten_when_it_expires() {
        let (remembered, start) = remembered();
        let expiring = identity(Some(start + Duration::from_mins(1)));
        remembered.insert(&["canary"], &expiring);
        advance(Duration::from_secs(59)).await;
        assert_eq!(remembered.get(&["canary"]), Some(expiring));
        advance(Duration::from_secs(1)).await;
        assert_eq!(remembered.get(&["canary"]), None);
    }

    #[tokio::test]
    async fn only_the_same_credentials_are_found() {
        let remembered = Remembered::new(Clock::System);
        remembered.insert(&["ann", "bc"], &identity(None));
        for other in [&["ann", "bd"][..], &["annb", "c"], &["annbc"], &["ann", "bc", ""], &[]] {
            assert_eq!(remembered.get(other), None, "{other:?}");
        }
        assert!(remembered.get(&["ann", "bc"]).is_some());
    }

    #[tokio::test]
    async fn keys_differ_and_are_not_shown() {
        let (one, other) = (Remembered::new(Clock::System), Remembered::new(Clock::System));
        let hash = |remembered: &Remembered| remembered.identities.hash(&["canary"]);
        assert_ne!(hash(&one), hash(&other));
        one.insert(&["canary"], &identity(None));
        assert!(format!("{one:?}").starts_with("Remembered { identities: ByCredentials { .. }"));
    }
}
