//! The store confirms the server's own SSH key before any session is opened.
//!
//! Hosts without a key of their own trust the server's. With another key every one of them would refuse
//! the log-in, so a missing or a foreign key file beside such hosts ends the start. The fingerprints that
//! count are the record [`ServerKeys`].

use std::path::{Path, PathBuf};
use std::time::Duration;

use bus::{Error, Kind, warn_unless_outage};
use model::{Host, HostCreds, ServerKeys};
use runtime::lifecycle;
use secrecy::{ExposeSecret as _, SecretString};
use storage_client::{Revised, StorageClient, Transaction};

use crate::own_key::{self, OwnKey, OwnKeyError};

/// The pause before the storage service is asked again.
const AGAIN: Duration = Duration::from_millis(250);

/// Credentials that are read at a time.
const CREDS_AT_A_TIME: usize = 500;

/// Why there is no key to open sessions with.
#[derive(Debug, thiserror::Error)]
pub enum ServerKeyError {
    /// The file is missing, and hosts trust the key that was in it.
    #[error(
        "the server's own SSH key {} is missing, but hosts trust it: {hosts}{}; restore the file from \
         a backup of the data directory, or copy it from another machine of this installation; to introduce \
         a new key on purpose, start once with --accept-new-key and add the new public key to \
         authorized_keys on the hosts", path.display(), known(expected)
    )]
    Missing {
        /// The file.
        path: PathBuf,
        /// The hosts, as words.
        hosts: String,
        /// The fingerprints that are known.
        expected: Vec<String>,
    },
    /// The file holds a key that the store does not know.
    #[error(
        "the SSH key in {} has the fingerprint {found}, which is not one of the keys that this \
         server's hosts trust: {hosts}{}; restore the file from a backup of the data directory, or copy it \
         from another machine of this installation; to introduce this key on purpose, add its public half \
         to authorized_keys on the hosts and start once with --accept-new-key", path.display(), known(expected)
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// The fingerprint of its key.
        found: String,
        /// The hosts, as words.
        hosts: String,
        /// The fingerprints that are known.
        expected: Vec<String>,
    },
    /// The file cannot be read or made.
    #[error("cannot use the server's own SSH key")]
    Key(#[from] OwnKeyError),
    /// The storage service refuses to answer.
    #[error("the storage service cannot confirm the server's own SSH key")]
    Store(#[from] Error),
}

fn known(expected: &[String]) -> String {
    match expected {
        [] => String::new(),
        some => format!(" (known fingerprints: {})", some.join(", ")),
    }
}

/// The key in the data directory, once the store has confirmed it; waits for the storage service. Where no
/// host is reached with the server's key, a missing one is made and one that is not known is added;
/// `accept_new` does so beside such hosts, too.
///
/// # Errors
/// When the key is missing or foreign beside such hosts, or cannot be read, made or confirmed.
pub async fn confirmed_key(
    storage: &StorageClient,
    data_dir: &Path,
    accept_new: bool,
) -> Result<SecretString, ServerKeyError> {
    let mut waiting = false;
    loop {
        let error = match confirm(storage, data_dir, accept_new).await {
            Ok(key) => return Ok(key.private),
            Err(ServerKeyError::Store(error)) => error,
            Err(error) => return Err(error),
        };
        match error.kind() {
            Kind::Unavailable | Kind::Timeout if !waiting => {
                waiting = true;
                let what = "waiting for the storage service to confirm the server's own SSH key";
                lifecycle::starting(&format!("{what}: {error}"));
                warn_unless_outage!(error, "{what}");
            }
            // Another service has written the record at the same time.
            Kind::Unavailable | Kind::Timeout | Kind::Conflict => {}
            _ => return Err(error.into()),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn confirm(
    storage: &StorageClient,
    data_dir: &Path,
    accept_new: bool,
) -> Result<OwnKey, ServerKeyError> {
    let path = own_key::private_path(data_dir);
    let set = storage.find::<ServerKeys>(ServerKeys::ALL).await?;
    let found = own_key::read(data_dir)?;
    let in_set = |key: &OwnKey| {
        set.as_ref().is_some_and(|set| set.record.fingerprints.contains(&key.fingerprint))
    };
    if let Some(key) = found.as_ref().filter(|key| in_set(key)) {
        return Ok(key.clone());
    }
    // An installation from before there was the record: its key is taken as it is.
    let is_first = set.is_none() && found.is_some();
    if !accept_new
        && !is_first
        && let Some(hosts) = hosts_on_the_servers_key(storage).await?
    {
        let known = set.map(|set| set.record.fingerprints).unwrap_or_default();
        let expected = known.into_iter().collect();
        return Err(match found {
            None => ServerKeyError::Missing { path, hosts, expected },
            Some(OwnKey { fingerprint: found, .. }) => {
                ServerKeyError::Foreign { path, found, hosts, expected }
            }
        });
    }
    if found.is_none() {
        own_key::make(data_dir)?;
    }
    let missing = || own_key::OwnKeyError::NotAKey(path.clone());
    let key = own_key::read(data_dir)?.ok_or_else(missing)?;
    add(storage, set, &key.fingerprint).await?;
    Ok(key)
}

/// Adds a fingerprint to the record.
async fn add(
    storage: &StorageClient,
    set: Option<Revised<ServerKeys>>,
    fingerprint: &str,
) -> Result<(), Error> {
    let transaction = match set {
        None => Transaction::default().create(&ServerKeys::of(fingerprint))?,
        Some(mut set) => {
            let others: Vec<_> = set.record.fingerprints.iter().cloned().collect();
            let others = others.join(", ");
            tracing::warn!(
                fingerprint,
                others,
                "added another SSH key to the server's own: all machines that reach hosts need the same one"
            );
            set.record.fingerprints.insert(fingerprint.to_owned());
            Transaction::default().update(&set)?
        }
    };
    storage.transact(&transaction).await?;
    tracing::info!(fingerprint, "recorded the server's own SSH key");
    Ok(())
}

/// The hosts without a key of their own, as words: one of them, and how many more.
async fn hosts_on_the_servers_key(storage: &StorageClient) -> Result<Option<String>, Error> {
    let hosts = storage.list::<Host>().await?;
    let addresses: Vec<_> = hosts.into_iter().map(|host| host.record.address).collect();
    let mut theirs = Vec::new();
    for part in addresses.chunks(CREDS_AT_A_TIME) {
        let creds = storage.get_many::<HostCreds>(part).await?.into_iter().flatten();
        let creds = creds.map(|creds| creds.record);
        let empty = creds.filter(|creds| creds.ssh_priv_key.expose_secret().trim().is_empty());
        theirs.extend(empty.map(|creds| creds.address));
    }
    Ok(match theirs.as_slice() {
        [] => None,
        [one] => Some(one.to_string()),
        [first, others @ ..] => Some(format!("{first} and {} more", others.len())),
    })
}
