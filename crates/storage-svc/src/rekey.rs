//! Changing the sealing key, while the service does not run.
//!
//! Cut off anywhere it can be begun again: until the last record is sealed anew the key file holds the
//! old keys as well.

use service_core::Error;

use crate::kinds::Kind;
use crate::secrets::{KeyError, OpenError};
use crate::store::{Commit, CommitError, Entry, StoreError};
use crate::{Config, Sealer, Store};

/// Why the sealing key was not changed. The old keys are still in the key file.
#[derive(Debug, thiserror::Error)]
pub enum RekeyError {
    /// The store does not answer.
    #[error("cannot read the store")]
    Store(#[source] StoreError),
    /// The key file cannot be used.
    #[error("cannot change the key file")]
    Key(#[source] KeyError),
    /// A record does not open.
    #[error("the record {key} does not open: restore or delete it first")]
    Open {
        /// Its key in the store.
        key: String,
        /// Why.
        source: OpenError,
    },
    /// A record cannot be sealed.
    #[error("a record cannot be sealed")]
    Seal(#[source] Error),
    /// A record cannot be written.
    #[error("cannot write the record {key}")]
    Write {
        /// Its key in the store.
        key: String,
        /// Why.
        source: CommitError,
    },
}

/// Makes a new sealing key, seals every record with it, and drops the old keys. Returns how many records
/// that were.
///
/// # Errors
/// [`RekeyError`].
pub async fn run(config: &Config) -> Result<usize, RekeyError> {
    let store = Store::sqlite(&config.database).map_err(RekeyError::Store)?;
    let sealer = Sealer::rotate(&config.secret_key_file).map_err(RekeyError::Key)?;
    let mut count = 0;
    for kind in Kind::all().iter().filter(|kind| kind.secret) {
        let entries = store.list(kind.prefix).await.map_err(RekeyError::Store)?;
        for entry in entries.into_iter().filter(|entry| !sealer.is_current(&entry.value)) {
            seal_anew(&store, &sealer, entry).await?;
            count += 1;
        }
    }
    Sealer::drop_old_keys(&config.secret_key_file).map_err(RekeyError::Key)?;
    Ok(count)
}

async fn seal_anew(store: &Store, sealer: &Sealer, entry: Entry) -> Result<(), RekeyError> {
    let Entry { key, value, revision } = entry;
    let plain = sealer
        .open_sealed(&key, &value)
        .map_err(|source| RekeyError::Open { key: key.clone(), source })?;
    let envelope = sealer.seal(&key, &plain).map_err(RekeyError::Seal)?;
    let commit = Commit {
        checks: vec![(key.clone(), Some(revision))],
        puts: vec![(key.clone(), envelope)],
        deletes: Vec::new(),
    };
    store.commit(commit).await.map_err(|source| RekeyError::Write { key, source })?;
    Ok(())
}
