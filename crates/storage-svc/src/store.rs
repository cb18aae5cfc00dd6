//! Where records are kept: texts under keys, with revisions.
//!
//! Every store fulfils the same rules, held by one conformance suite (`tests/it/store.rs`):
//!
//! - a commit goes through whole or not at all, and is on disk when it is acknowledged;
//! - every commit that changes something makes a new, higher revision, which all keys that it puts carry;
//! - of a key that a commit names several times the last put counts, and a delete more than a put;
//! - a check compares a key's revision, or its absence, with what the caller saw;
//! - [`Store::get`] and [`Store::list`] each show one moment.

pub(crate) mod etcd;
mod memory;
mod snapshot;
mod sqlite;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use etcd_access::{Cause, Error as EtcdError, Options};

pub(crate) use etcd::COMPACTED;
pub use memory::Memory;
pub use snapshot::{Position, Snapshot};

/// A record as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its key.
    pub key: String,
    /// The record, or the envelope of a sealed one, as JSON text.
    pub value: String,
    /// The commit that put it there.
    pub revision: u64,
}

/// What a commit is to do: all or nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Commit {
    /// Keys and the revisions they must be at; `None` for "absent".
    pub checks: Vec<(String, Option<u64>)>,
    /// Keys and their new values.
    pub puts: Vec<(String, String)>,
    /// Keys to remove; one that is gone already is no error.
    pub deletes: Vec<String>,
}

/// What a commit did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The revision it made.
    pub revision: u64,
    /// For each put, whether the key existed before.
    pub replaced: Vec<bool>,
    /// For each put, whether the key had this very value before: only its revision is another.
    pub unchanged: Vec<bool>,
    /// For each delete, whether the key existed.
    pub deleted: Vec<bool>,
}

/// Why a commit did not go through. Nothing was changed, but with [`StoreError::Unconfirmed`].
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// A check did not hold.
    #[error("check {0} does not hold")]
    Stale(usize),
    /// The store failed.
    #[error("the store failed")]
    Store(#[source] StoreError),
}

/// Why a store does not answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The database file cannot be opened or prepared.
    #[error("cannot open the database {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Arc<rusqlite::Error>,
    },
    /// The database file cannot be made.
    #[error("cannot make the database {}", path.display())]
    Make {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Arc<std::io::Error>,
    },
    /// The database file cannot be read.
    #[error("cannot read the database {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Arc<std::io::Error>,
    },
    /// The database file is damaged.
    #[error(
        "the database {} is damaged ({why}): nothing was changed. Move it away and put a copy in its place \
         (`commissaire copy-database` makes them), or save what can be read with `sqlite3 FILE .recover`",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The first defect, as SQLite reports it.
        why: String,
    },
    /// The file was written by a newer version.
    #[error("the database {} has format {found}, this version knows {known}: use a newer one", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The newest format this version knows.
        known: i64,
    },
    /// A statement failed.
    #[error("cannot {doing}")]
    Sqlite {
        /// What was tried.
        doing: &'static str,
        /// Why.
        source: Arc<rusqlite::Error>,
    },
    /// The store has been closed.
    #[error("the store has been closed")]
    Closed,
    /// etcd does not answer, or refuses.
    #[error("cannot {doing}")]
    Etcd {
        /// What was tried.
        doing: &'static str,
        /// Why it failed.
        source: EtcdError,
    },
    /// etcd fell silent during a commit: it was carried out, will be, or not at all.
    #[error("etcd did not confirm the commit: whether it was carried out is unknown")]
    Unconfirmed(#[source] Cause),
    /// etcd has reached its quota.
    #[error(
        "its database has reached its quota (alarm NOSPACE); reads still work. To go on: drop the history \
         (`etcdctl compact REVISION`), defragment one member after the other (`etcdctl defrag \
         --endpoints=MEMBER`), then `etcdctl alarm disarm`"
    )]
    NoSpace(#[source] Cause),
    /// etcd has dropped the revision that is read.
    #[error("etcd has dropped the revision that is read, since that took too long: begin again")]
    Compacted(#[source] Cause),
    /// The disk of the database file is full.
    #[error(
        "the disk with its database is full; reads still work, and nothing was changed. Free some space on it: \
         writes then work again"
    )]
    DiskFull(#[source] Arc<rusqlite::Error>),
    /// More than etcd takes in one transaction.
    #[error(
        "a commit of {count} is more than etcd takes at once: its option {option} sets the limit"
    )]
    TooLarge {
        /// How many operations or bytes.
        count: usize,
        /// The option of etcd that sets the limit.
        option: &'static str,
    },
    /// The answer of etcd does not fit the request.
    #[error("etcd answered with something else than asked")]
    Answer,
}

impl StoreError {
    /// Whether the store is reached over the network, and does not answer.
    pub(crate) fn is_silent(&self) -> bool {
        matches!(self, Self::Etcd { source: EtcdError::Unavailable { .. }, .. })
    }
}

/// A store; clones are cheap and share it. Futures of etcd's are boxed: they are far larger than the others'.
#[derive(Debug, Clone)]
pub enum Store {
    /// The embedded store: one SQLite file.
    Sqlite(sqlite::Sqlite),
    /// The store of the distributed form: etcd.
    Etcd(etcd::Etcd),
    /// The store of tests: the memory of this process.
    Memory(Memory),
}

impl Store {
    /// The embedded store in the file `path`, made where it is missing.
    ///
    /// # Errors
    /// When the file cannot be opened or made, or is not ours.
    pub fn sqlite(path: &Path) -> Result<Self, StoreError> {
        sqlite::Sqlite::open(path).map(Self::Sqlite)
    }

    /// The embedded store in the existing file `path`, which may be in use by another process, for reads only: nothing is
    /// created or changed, and commits fail. The file is checked as at a start.
    ///
    /// # Errors
    /// When the file is missing, damaged or of a newer version.
    pub fn sqlite_read_only(path: &Path) -> Result<Self, StoreError> {
        sqlite::open_read_only(path).map(Self::Sqlite)
    }

    /// Whether the database file `path` holds any record; false when it is missing or empty.
    ///
    /// # Errors
    /// When it cannot be opened, or is damaged.
    pub fn sqlite_holds_records(path: &Path) -> Result<bool, StoreError> {
        sqlite::Sqlite::holds_records(path)
    }

    /// Writes a consistent copy of the database file `from`, which may be in use, into the new file `to`.
    ///
    /// # Errors
    /// When `to` exists or cannot be written, or `from` is missing or damaged.
    pub fn copy_sqlite(from: &Path, to: &Path) -> Result<(), StoreError> {
        sqlite::Sqlite::copy(from, to)
    }

    /// The store in the etcd that `options` lead to. It need not answer yet: each read and each commit
    /// asks anew, and fails until it does.
    ///
    /// # Errors
    /// When the options are wrong, or a file that they name cannot be used.
    pub async fn etcd(options: &Options) -> Result<Self, StoreError> {
        etcd::Etcd::new(options).await.map(Self::Etcd)
    }

    /// The kind of store, as in the configuration.
    pub fn handler_type(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "sqlite",
            Self::Etcd(_) => "etcd",
            Self::Memory(_) => "memory",
        }
    }

    /// The entries of `keys`, in that order, `None` for those that do not exist.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn get(&self, keys: Vec<String>) -> Result<Vec<Option<Entry>>, StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.get(keys).await,
            Self::Etcd(etcd) => Box::pin(etcd.get(&keys)).await,
            Self::Memory(memory) => Ok(memory.get(&keys)),
        }
    }

    /// All entries whose key begins with `prefix`, sorted by key.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn list(&self, prefix: &str) -> Result<Arc<Vec<Entry>>, StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.list(prefix.to_owned()).await.map(Arc::new),
            Self::Etcd(etcd) => Box::pin(etcd.list(prefix)).await,
            Self::Memory(memory) => Ok(Arc::new(memory.list(prefix))),
        }
    }

    /// The state of the store now.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        Snapshot::of(self).await
    }

    /// Carries out a commit.
    ///
    /// # Errors
    /// [`CommitError::Stale`] with the index of the first check that does not hold.
    pub async fn commit(&self, commit: Commit) -> Result<Committed, CommitError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.commit(commit).await,
            Self::Etcd(etcd) => Box::pin(etcd.commit(&commit)).await,
            Self::Memory(memory) => memory.commit(commit),
        }
    }

    /// The etcd behind it, if it is one.
    pub fn as_etcd(&self) -> Option<&etcd::Etcd> {
        match self {
            Self::Sqlite(_) | Self::Memory(_) => None,
            Self::Etcd(etcd) => Some(etcd),
        }
    }

    /// Brings a database file up to date with what its side files hold; the others need no such thing.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub async fn checkpoint(&self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.checkpoint().await,
            Self::Etcd(_) | Self::Memory(_) => Ok(()),
        }
    }

    /// The same at the end of the service: from now on everything that is acknowledged is in the one file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub async fn close(&self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.close().await,
            Self::Etcd(_) | Self::Memory(_) => Ok(()),
        }
    }
}
