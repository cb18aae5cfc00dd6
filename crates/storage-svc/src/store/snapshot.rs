//! The state of a store at one moment, read in pages while others write.

use std::sync::Arc;

use super::etcd::Etcd;
use super::sqlite::SqliteSnapshot;
use super::{Entry, Store, StoreError};

/// Entries that are read at a time.
pub(super) const PAGE: usize = 500;

/// Where a page begins: after this key; empty for the beginning.
pub type Position<'a> = &'a str;

/// See the module.
#[derive(Debug)]
pub struct Snapshot(Kind);

#[derive(Debug)]
enum Kind {
    Sqlite(SqliteSnapshot),
    /// etcd keeps old revisions until they are compacted.
    Etcd(Etcd, i64),
    Memory(Arc<Vec<Entry>>, u64),
}

impl Snapshot {
    pub(super) async fn of(store: &Store) -> Result<Self, StoreError> {
        Ok(Self(match store {
            Store::Sqlite(sqlite) => Kind::Sqlite(sqlite.snapshot().await?),
            Store::Etcd(etcd) => Kind::Etcd(etcd.clone(), etcd.revision().await?),
            Store::Memory(memory) => {
                let (entries, revision) = memory.all();
                Kind::Memory(Arc::new(entries), revision)
            }
        }))
    }

    /// The snapshot at a revision that [`Self::revision`] has returned, by any replica; `None` for a store that keeps no
    /// old revisions: there the snapshot itself has to be kept.
    pub fn at(store: &Store, revision: u64) -> Option<Self> {
        let etcd = store.as_etcd()?;
        Some(Self(Kind::Etcd(etcd.clone(), i64::try_from(revision).ok()?)))
    }

    /// The revision of the last change.
    pub fn revision(&self) -> u64 {
        match &self.0 {
            Kind::Sqlite(snapshot) => snapshot.revision(),
            Kind::Etcd(_, revision) => u64::try_from(*revision).unwrap_or(0),
            Kind::Memory(_, revision) => *revision,
        }
    }

    /// The entries after a position, sorted by key; none at the end.
    ///
    /// # Errors
    /// When the store does not answer, or has dropped the revision.
    pub async fn page(&self, after: Position<'_>) -> Result<Vec<Entry>, StoreError> {
        match &self.0 {
            Kind::Sqlite(snapshot) => snapshot.page(after.to_owned()).await,
            Kind::Etcd(etcd, revision) => Box::pin(etcd.page_at(after, *revision)).await,
            Kind::Memory(entries, _) => {
                let from = entries.partition_point(|entry| entry.key.as_str() <= after);
                Ok(entries.iter().skip(from).take(PAGE).cloned().collect())
            }
        }
    }

    /// The keys after a position, sorted; none at the end.
    ///
    /// # Errors
    /// As [`Self::page`].
    pub async fn keys(&self, after: Position<'_>) -> Result<Vec<String>, StoreError> {
        match &self.0 {
            Kind::Etcd(etcd, revision) => Box::pin(etcd.keys_at(after, *revision)).await,
            Kind::Sqlite(snapshot) => snapshot.keys(after.to_owned()).await,
            Kind::Memory(..) => {
                Ok(self.page(after).await?.into_iter().map(|entry| entry.key).collect())
            }
        }
    }
}
