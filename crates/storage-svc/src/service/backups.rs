//! Backups over the bus: the records of a moment, in pages.
//!
//! A page is read by any replica: etcd keeps old revisions. Other stores have one replica only, which keeps the snapshots that
//! backups are being taken of.

use std::sync::Arc;
use std::time::Duration;

use backup::{Header, Record};
use bus::jsonrpc::Answer;
use bus::{Error, Result};
use model::Stamp;
use runtime::expiring::Expiring;
use serde::{Deserialize, Serialize};

use super::StorageService;
use crate::backup::{Moment, page};
use crate::store::Snapshot;

/// The most bytes of records in an answer, unless a single record is larger.
const PAGE_BYTES: usize = 1 << 20;

/// The most snapshots that are kept.
const SNAPSHOTS_MAX: usize = 8;

/// The time after which a snapshot ends. While it is kept, the WAL of the database grows.
const SNAPSHOT_LIFE: Duration = Duration::from_mins(10);

/// The snapshots by their stores and revisions.
pub(super) type OpenSnapshots = Expiring<(usize, u64), Arc<Snapshot>>;

/// No snapshots.
pub(super) fn none_open() -> OpenSnapshots {
    Expiring::new(SNAPSHOTS_MAX, SNAPSHOT_LIFE)
}

/// The parameters of `begin_backup`.
#[derive(Deserialize)]
pub(super) struct Begin {
    taken_at: Stamp,
}

/// The parameters of `read_backup`.
#[derive(Deserialize)]
pub(super) struct Read {
    store: usize,
    revision: u64,
    after: String,
}

/// The answer to `read_backup`.
#[derive(Serialize)]
struct PageAnswer {
    records: Vec<Record>,
    /// Where the next page begins; `None` at the end of the store.
    after: Option<String>,
}

impl StorageService {
    /// Ends the snapshots that are too old.
    pub(crate) fn drop_old_snapshots(&self) {
        self.snapshots.drop_expired();
    }

    /// The header of a backup of this moment.
    pub(super) async fn begin_backup(&self, params: Begin) -> Result<Answer> {
        let moment = Moment::now(&self.handlers).await?;
        let header: Header = moment.header(&self.handlers, params.taken_at).await?;
        for (index, snapshot) in moment.into_stores().into_iter().enumerate() {
            if self.handlers.store(index).as_etcd().is_none() {
                let key = (index, snapshot.revision());
                self.snapshots.insert(key, Arc::new(snapshot));
            }
        }
        Answer::text_of(&header)
    }

    /// Records of a store at a moment.
    pub(super) async fn read_backup(&self, params: Read) -> Result<Answer> {
        let Read { store, revision, after } = params;
        if store >= self.handlers.count() {
            return Err(Error::invalid(format!("there is no store {store}")));
        }
        let snapshot = match Snapshot::at(self.handlers.store(store), revision) {
            Some(snapshot) => Arc::new(snapshot),
            None => self.snapshots.get(&(store, revision)).ok_or_else(|| {
                Error::unavailable("the storage service was started again, or the backup took too long: begin it again")
            })?,
        };
        let mut page = page(&self.handlers, store, &snapshot, &after).await?;
        let mut bytes = 0;
        let fitting = page.records.iter().take_while(|record| {
            bytes += record.key.len() + record.value.get().len();
            bytes <= PAGE_BYTES
        });
        let fitting = fitting.count().max(1);
        if fitting < page.records.len() {
            page.records.truncate(fitting);
            page.after = page.records.last().map(|record| record.key.clone());
        }
        Answer::text_of(&PageAnswer { records: page.records, after: page.after })
    }
}
