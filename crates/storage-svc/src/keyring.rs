//! The sealing key of the running service: it is used only once the stores have shown that it is theirs.
//!
//! A store that holds sealed records, or ever held some, has a mark: a sealed text of no meaning. By it a
//! storage service that has another key, or none yet, notices before it seals anything.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bus::Error;
use bus::error::chain;
use runtime::Lifecycle;
use runtime::lifecycle::Reloads;

use crate::handlers::Handlers;
use crate::secrets::{KeyError, Sealer};
use crate::store::{Commit, CommitError, Entry, StoreError};

/// Where the mark is; beside the sealed records, below none of their prefixes.
pub(crate) const MARK: &str = "/commissaire/secrets/mark";

/// Between two looks at a store that does not answer.
const RETRY: Duration = Duration::from_secs(1);

/// Why the key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UnlockError {
    /// A store does not answer.
    #[error("cannot tell which key the store's credentials are sealed with")]
    Store {
        /// Its index among the handlers.
        store: usize,
        /// Why.
        source: StoreError,
    },
    /// The key file cannot be used.
    #[error("cannot use the sealing key")]
    Key(#[source] KeyError),
    /// The mark cannot be sealed.
    #[error("cannot mark the store")]
    Seal(#[source] Error),
}

/// The key, once it is known to be the right one.
#[derive(Debug, Default)]
pub struct Keyring(RwLock<Option<Arc<Sealer>>>);

impl Keyring {
    /// Seals and opens.
    ///
    /// # Errors
    /// As long as a store has not answered since the start.
    pub fn sealer(&self) -> Result<Arc<Sealer>, Error> {
        let sealer = self.0.read().unwrap_or_else(PoisonError::into_inner);
        sealer.clone().ok_or_else(|| {
            let message = "the store has not answered yet: credentials cannot be used before";
            Error::unavailable(message).of_part("store").of_outage()
        })
    }

    pub(crate) fn put(&self, sealer: Sealer) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(sealer));
    }

    fn is_empty(&self) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).is_none()
    }
}

/// Reads the key file and compares it with what the stores hold; only where none of them holds anything
/// sealed, a missing file is made.
///
/// # Errors
/// [`UnlockError`].
pub async fn unlock(handlers: &Handlers, path: &Path) -> Result<Sealer, UnlockError> {
    loop {
        let mut held = Vec::new();
        for (store, _) in handlers.secret() {
            let failed = |source| UnlockError::Store { store, source };
            held.push((store, sealed(handlers, store).await.map_err(failed)?));
        }
        let is_empty = held.iter().all(|(_, entries)| entries.is_empty());
        let sealer = Sealer::open(path, !is_empty).map_err(UnlockError::Key)?;
        for entry in held.iter().flat_map(|(_, entries)| entries) {
            if let Some(key_id) = sealer.foreign_key(&entry.value) {
                let (path, record) = (path.to_owned(), entry.key.clone());
                return Err(UnlockError::Key(KeyError::Foreign { path, record, key_id }));
            }
        }
        let mut is_marked = true;
        for (store, entries) in held {
            if entries.iter().all(|entry| entry.key != MARK) {
                is_marked &= mark(handlers, store, &sealer).await?;
            }
        }
        if is_marked {
            return Ok(sealer);
        }
        // Another storage service was faster: was it with the same key?
    }
}

/// What a store holds that is sealed.
pub(crate) async fn sealed(handlers: &Handlers, store: usize) -> Result<Vec<Entry>, StoreError> {
    let mut entries: Vec<_> =
        handlers.store(store).get(vec![MARK.to_owned()]).await?.into_iter().flatten().collect();
    let kinds = handlers.secret().filter(|(index, _)| *index == store).flat_map(|(_, kinds)| kinds);
    for kind in kinds {
        entries.extend_from_slice(&handlers.store(store).list(kind.prefix).await?);
    }
    Ok(entries)
}

/// Marks a store; false when it has a mark by now.
async fn mark(handlers: &Handlers, store: usize, sealer: &Sealer) -> Result<bool, UnlockError> {
    let envelope = sealer.seal(MARK, "{}").map_err(UnlockError::Seal)?;
    let commit = Commit {
        checks: vec![(MARK.to_owned(), None)],
        puts: vec![(MARK.to_owned(), envelope)],
        deletes: Vec::new(),
    };
    match handlers.store(store).commit(commit).await {
        Ok(_) => Ok(true),
        Err(CommitError::Stale(_)) => Ok(false),
        Err(CommitError::Store(source)) => Err(UnlockError::Store { store, source }),
    }
}

/// Waits for the stores where they did not answer at the start, and reads the key file again at each reload. Ends
/// early only when the key turns out to be the wrong one.
pub(crate) async fn keep(
    keyring: Arc<Keyring>,
    handlers: Arc<Handlers>,
    path: PathBuf,
    lifecycle: Lifecycle,
    mut reloads: Reloads,
) {
    while keyring.is_empty() {
        let reload = tokio::select! {
            () = lifecycle.stopping() => return,
            () = tokio::time::sleep(RETRY) => None,
            // The file is read at each attempt.
            reload = reloads.next() => Some(reload),
        };
        match unlock(&handlers, &path).await {
            Ok(sealer) => {
                keyring.put(sealer);
                tracing::info!("the store has confirmed the sealing key: credentials can be used");
            }
            // The outage of the store is logged.
            Err(error) if handlers.is_away(&error) => {
                tracing::debug!(error = chain(&error), "credentials cannot be used yet");
            }
            Err(error) => return tracing::error!(error = chain(&error), "cannot go on"),
        }
        drop(reload);
    }
    loop {
        let reload = tokio::select! {
            () = lifecycle.stopping() => return,
            reload = reloads.next() => reload,
        };
        match unlock(&handlers, &path).await {
            Ok(sealer) => keyring.put(sealer),
            Err(error) => reload.failed("the sealing key stays as it was", &error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    /// After the key was changed by another replica, its file is copied and this one told to reload.
    #[tokio::test]
    async fn a_reload_reads_the_key_file_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret.key");
        let config = Config::sqlite(folder.path().join("store.db"), path.clone());
        let handlers = Arc::new(Handlers::open(config.handlers()).await.unwrap());
        let (keyring, life) = (Arc::new(Keyring::default()), Lifecycle::new());
        assert_eq!(keyring.sealer().unwrap_err().kind(), bus::Kind::Unavailable);
        keyring.put(unlock(&handlers, &path).await.unwrap());
        let keep = keep(Arc::clone(&keyring), handlers, path.clone(), life.clone(), life.reloads());
        life.spawn("keep", keep);

        let old = keyring.sealer().unwrap().seal("/a", "x").unwrap();
        crate::rekey::run(&config).await.unwrap();
        assert!(keyring.sealer().unwrap().is_current(&old));
        assert_eq!(life.reload().ended().await, [""; 0]);
        assert!(!keyring.sealer().unwrap().is_current(&old));
        std::fs::write(&path, "nonsense").unwrap();
        let failures = life.reload().ended().await;
        assert!(failures[0].starts_with("the sealing key stays as it was: "), "{failures:?}");
        life.shutdown(Duration::from_secs(5)).await;
    }
}
