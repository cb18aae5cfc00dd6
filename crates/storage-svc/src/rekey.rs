//! Changing the sealing key, while the service does not run.
//!
//! Cut off anywhere it can be begun again: until the last record is sealed anew the key file holds the
//! old keys as well.

use bus::Error;

use crate::Config;
use crate::handlers::{Handlers, OpenError};
use crate::keyring::{self, MARK, UnlockError};
use crate::secrets::{self, KeyError, Sealer};
use crate::store::{Commit, CommitError, Entry, Store, StoreError};

/// Why the sealing key was not changed. The old keys are still in the key file.
#[derive(Debug, thiserror::Error)]
pub enum RekeyError {
    /// Nothing is sealed.
    #[error("credentials are kept by Custodia: there is no key to change")]
    Custodia,
    /// The stores cannot be opened.
    #[error("cannot open the stores")]
    Open(#[source] OpenError),
    /// The key in use is not the one of the stores, or these do not answer.
    #[error("cannot use the present key")]
    Unlock(#[source] UnlockError),
    /// A store does not answer.
    #[error("cannot read the store")]
    Store(#[source] StoreError),
    /// The key file cannot be used.
    #[error("cannot change the key file")]
    Key(#[source] KeyError),
    /// A record does not open.
    #[error("the record {key} does not open: restore or delete it first")]
    Unsealable {
        /// Its key in the store.
        key: String,
        /// Why.
        source: secrets::OpenError,
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
    if config.custodia_socket_path.is_some() {
        return Err(RekeyError::Custodia);
    }
    let handlers = Handlers::open(config.handlers()).await.map_err(RekeyError::Open)?;
    let key_file = config.key_file();
    keyring::unlock(&handlers, &key_file).await.map_err(RekeyError::Unlock)?;
    let sealer = Sealer::rotate(&key_file).map_err(RekeyError::Key)?;
    let mut count = 0;
    for (store, kinds) in handlers.secret() {
        let store = handlers.store(store);
        let mark = store.get(vec![MARK.to_owned()]).await.map_err(RekeyError::Store)?;
        for entry in mark.into_iter().flatten() {
            seal_anew(store, &sealer, entry).await?;
        }
        for kind in kinds {
            for entry in store.list(kind.prefix).await.map_err(RekeyError::Store)?.iter() {
                count += usize::from(seal_anew(store, &sealer, entry.clone()).await?);
            }
        }
    }
    handlers.close().await;
    Sealer::drop_old_keys(&key_file).map_err(RekeyError::Key)?;
    Ok(count)
}

/// Seals a record with the newest key; false when it is already.
async fn seal_anew(store: &Store, sealer: &Sealer, entry: Entry) -> Result<bool, RekeyError> {
    let Entry { key, value, revision } = entry;
    if sealer.is_current(&value) {
        return Ok(false);
    }
    let plain = sealer
        .open_sealed(&key, &value)
        .map_err(|source| RekeyError::Unsealable { key: key.clone(), source })?;
    let envelope = sealer.seal(&key, &plain).map_err(RekeyError::Seal)?;
    let commit = Commit {
        checks: vec![(key.clone(), Some(revision))],
        puts: vec![(key.clone(), envelope)],
        deletes: Vec::new(),
    };
    store.commit(commit).await.map_err(|source| RekeyError::Write { key, source })?;
    Ok(true)
}
