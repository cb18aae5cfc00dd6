//! When the keys of an issuer are fetched: on demand, one fetch at a time, at most every 30 s.
//!
//! | the keys are | a token |
//! |---|---|
//! | younger than 10 min | is verified by them |
//! | older | is verified by them; they are fetched in the background |
//! | older than 20 min | waits until they are fetched, unless the last attempt has failed |
//! | older than 24 h, or there are none | waits until they are fetched |
//!
//! A token with an unknown key waits until they are fetched, if the last attempt began more than 30 s ago. So a key that
//! is published 35 s before it signs is known in time, however many tokens with unknown keys there are; and a key that is
//! no longer published is rejected after 20 min at the latest, unless the issuer does not answer.

use std::sync::Arc;
use std::time::Duration;

use runtime::{Lifecycle, Outage};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use url::Url;

use super::documents::Documents;
use super::keys::KeySet;
use super::options::Issuer;
use crate::client::is_loopback;
use crate::{ProviderError, Result};

/// Between the beginnings of two attempts to fetch the keys.
const INTERVAL: Duration = Duration::from_secs(30);

/// The age of keys at which they are fetched in the background.
const BACKGROUND: Duration = Duration::from_mins(10);

/// The age of keys at which tokens wait for newer ones.
const STALE: Duration = Duration::from_mins(20);

/// The age of keys at which they are not used.
const EXPIRED: Duration = Duration::from_hours(24);

/// Timeout of an attempt, which is two requests.
const TIMEOUT: Duration = Duration::from_secs(10);

const _: () = assert!(TIMEOUT.as_secs() < INTERVAL.as_secs(), "one attempt runs at a time");

/// The most characters of another issuer's name in a message.
const NAME_SHOWN: usize = 200;

/// The keys of an issuer, as new as they need to be.
#[derive(Debug)]
pub(super) struct Refresher {
    shared: Arc<Shared>,
    lifecycle: Lifecycle,
}

#[derive(Debug)]
struct Shared {
    issuer: String,
    url: Url,
    documents: Documents,
    state: watch::Sender<State>,
    outage: Outage,
}

#[derive(Debug, Default)]
struct State {
    /// The keys, and when the attempt that has fetched them began.
    fetched: Option<(Instant, Arc<KeySet>)>,
    /// When the last attempt began.
    attempted: Option<Instant>,
    is_running: bool,
    /// Why the last attempt failed; `None` if it succeeded.
    failure: Option<ProviderError>,
}

/// A running attempt.
struct Attempt(Arc<Shared>);

impl Refresher {
    pub(super) fn new(issuer: &Issuer, documents: Documents, lifecycle: &Lifecycle) -> Self {
        let shared = Shared {
            issuer: issuer.name.clone(),
            url: issuer.url.clone(),
            documents,
            state: watch::Sender::new(State::default()),
            outage: Outage::new(format!("the keys of the issuer {}", issuer.name)),
        };
        Self { shared: Arc::new(shared), lifecycle: lifecycle.clone() }
    }

    /// The keys that were fetched last; `None` if they are too old.
    pub(super) fn known(&self) -> Option<Arc<KeySet>> {
        let (begun, keys) = self.shared.state.borrow().fetched.clone()?;
        let age = begun.elapsed();
        if age >= BACKGROUND {
            self.begin();
        }
        (age < EXPIRED).then_some(keys)
    }

    /// The keys to verify a token by.
    ///
    /// # Errors
    /// When there are none that are new enough.
    pub(super) async fn current(&self) -> Result<Arc<KeySet>> {
        let keys = self.known();
        let is_stale = {
            let state = self.shared.state.borrow();
            let age = state.fetched.as_ref().map(|(begun, _)| begun.elapsed());
            state.failure.is_none() && age.is_none_or(|age| age >= STALE)
        };
        match keys {
            Some(keys) if !is_stale => Ok(keys),
            keys => {
                let newer = self.newer().await;
                keys.map_or(newer.clone(), |keys| Ok(newer.unwrap_or(keys)))
            }
        }
    }

    /// The keys after an attempt to fetch them, if one is running or may begin.
    ///
    /// # Errors
    /// When the last attempt failed.
    pub(super) async fn newer(&self) -> Result<Arc<KeySet>> {
        self.begin();
        let unavailable = |why| self.shared.documents.unavailable(why);
        let mut changes = self.shared.state.subscribe();
        let ended = changes.wait_for(|state| !state.is_running).await;
        let state = ended.map_err(|_| unavailable("no attempt to fetch its keys can begin"))?;
        match (&state.failure, &state.fetched) {
            (Some(failure), _) => Err(failure.clone()),
            (None, Some((_, keys))) => Ok(Arc::clone(keys)),
            (None, None) => Err(unavailable("its keys have not been fetched")),
        }
    }

    /// Begins an attempt in a task of its own, unless the last one began too short a time ago.
    fn begin(&self) {
        let begins = self.shared.state.send_if_modified(|state| {
            let begins = state.attempted.is_none_or(|begun| begun.elapsed() >= INTERVAL);
            if begins {
                state.attempted = Some(Instant::now());
                state.is_running = true;
            }
            begins
        });
        if begins {
            let attempt = Attempt(Arc::clone(&self.shared));
            self.lifecycle.spawn("keys of an issuer", attempt.run());
        }
    }
}

impl Attempt {
    async fn run(self) {
        let Self(shared) = &self;
        let late =
            || shared.documents.unavailable(&format!("no keys within {} s", TIMEOUT.as_secs()));
        let fetched = timeout(TIMEOUT, shared.fetch()).await.unwrap_or_else(|_| Err(late()));
        match &fetched {
            Ok(_) => shared.outage.succeeded(),
            Err(error) => shared.outage.failed("fetch", &error.to_string()),
        }
        shared.state.send_modify(|state| match fetched {
            Ok(keys) => {
                state.fetched = state.attempted.map(|begun| (begun, Arc::new(keys)));
                state.failure = None;
            }
            Err(error) => state.failure = Some(error),
        });
    }
}

impl Drop for Attempt {
    /// Also when the task is ended: tokens must not wait for it.
    fn drop(&mut self) {
        self.0.state.send_modify(|state| state.is_running = false);
    }
}

impl Shared {
    async fn fetch(&self) -> Result<KeySet> {
        let invalid = |why: &str| self.documents.unavailable(&format!("discovery document: {why}"));
        // OpenID Connect Discovery, section 4.1: a final slash is left out.
        let path = format!(
            "{}/.well-known/openid-configuration",
            self.url.path().strip_suffix('/').unwrap_or(self.url.path())
        );
        let mut url = self.url.clone();
        url.set_path(&path);
        let document = self.documents.get(url).await?;
        let issuer = document.get("issuer").and_then(Value::as_str).unwrap_or_default();
        if issuer != self.issuer {
            let issuer: String = issuer.chars().take(NAME_SHOWN).collect();
            return Err(invalid(&format!(
                "its `issuer` is {issuer:?} instead of {:?}",
                self.issuer
            )));
        }
        let keys = document.get("jwks_uri").and_then(Value::as_str).unwrap_or_default();
        let keys: Url = keys.parse().map_err(|_| invalid("its `jwks_uri` is not a URL"))?;
        // Plaintext is for an issuer on this machine alone, which then has its keys here, too.
        let is_secure = keys.scheme() == "https"
            || keys.scheme() == "http" && self.url.scheme() == "http" && is_loopback(&keys);
        if !is_secure {
            return Err(invalid("its `jwks_uri` needs https://"));
        }
        let document = self.documents.get(keys).await?;
        KeySet::read(&document).map_err(|why| self.documents.unavailable(&why))
    }
}
