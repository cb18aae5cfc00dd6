//! Backups: the records of all stores as they were at one moment of each.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use backup::{FORMAT, Header, Record, StoreMoment, Trailer, Writer};
use bus::{Error, Result};
use model::{Instance, LastBackup, RECORD_FORMAT, Stamp};
use serde_json::value::{RawValue, to_raw_value};

use crate::config::Config;
use crate::format;
use crate::handlers::{Handlers, OpenError, Part};
use crate::keyring::MARK;
use crate::kinds::Kind;
use crate::secrets::Sealer;
use crate::store::{Commit, CommitError, Entry, Snapshot};

const LAST_BACKUP: &Kind = &Kind::of::<LastBackup>();
const INSTANCE: &Kind = &Kind::of::<Instance>();

/// The type of a record whose key belongs to no known type.
const UNKNOWN: &str = "Unknown";

/// Why a backup was not taken.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The stores cannot be opened.
    #[error("cannot open the stores")]
    Open(#[source] OpenError),
    /// A store does not answer.
    #[error("cannot read the records")]
    Read(#[source] Error),
    /// The output cannot be written.
    #[error("cannot write the backup")]
    Write(#[source] io::Error),
}

/// What a backup holds beside the records.
#[derive(Debug, Default)]
pub struct Beside {
    /// The encrypted key files.
    pub keys: Option<String>,
    /// Sentences for [`Header::not_included`].
    pub not_included: Vec<String>,
}

/// The state of all stores, each at one moment.
#[derive(Debug)]
pub struct Moment {
    stores: Vec<Snapshot>,
}

impl Moment {
    /// The present state.
    ///
    /// # Errors
    /// When a store does not answer.
    pub async fn now(handlers: &Handlers) -> Result<Self> {
        let mut stores = Vec::new();
        for index in 0..handlers.count() {
            let snapshot = handlers.store(index).snapshot().await;
            stores.push(snapshot.map_err(|error| handlers.failure(index, error))?);
        }
        Ok(Self { stores })
    }

    /// The header of a backup of this moment.
    ///
    /// # Errors
    /// When a store does not answer.
    pub async fn header(&self, handlers: &Handlers, taken_at: Stamp) -> Result<Header> {
        let mut counts = BTreeMap::new();
        for (index, snapshot) in self.stores.iter().enumerate() {
            let mut after = String::new();
            loop {
                let keys = snapshot.keys(&after).await;
                let keys = keys.map_err(|error| handlers.failure(index, error))?;
                let Some(last) = keys.last() else { break };
                after.clone_from(last);
                for kind in keys.iter().filter_map(|key| type_in(handlers, index, key)) {
                    *counts.entry(kind.to_owned()).or_default() += 1;
                }
            }
        }
        let instance = instance(handlers).await?;
        let stores = self.stores.iter().enumerate().map(|(index, snapshot)| StoreMoment {
            name: handlers.name(index).to_owned(),
            kind: handlers.store(index).handler_type().to_owned(),
            revision: snapshot.revision(),
        });
        Ok(Header {
            commissaire_backup: FORMAT,
            record_format: RECORD_FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            instance: instance.id,
            generation: instance.generation,
            taken_at,
            stores: stores.collect(),
            records: counts.values().sum(),
            counts,
            not_included: Vec::new(),
            sealing_mark: mark(handlers).await?,
        })
    }

    /// The snapshots of the stores.
    pub fn into_stores(self) -> Vec<Snapshot> {
        self.stores
    }
}

/// Takes a backup of the stores that the configuration names. The services may run in the meantime.
///
/// # Errors
/// [`BackupError`].
pub async fn take<W: Write>(
    handlers: &Handlers,
    taken_at: Stamp,
    beside: Beside,
    output: W,
) -> Result<(Trailer, W), BackupError> {
    // A backup has one format. Records of an older one are converted by the storage service, and not beside one of the
    // version before.
    format::check(handlers).await.map_err(BackupError::Read)?;
    let moment = Moment::now(handlers).await.map_err(BackupError::Read)?;
    let header = moment.header(handlers, taken_at).await.map_err(BackupError::Read)?;
    let header = Header { not_included: beside.not_included, ..header };
    let mut writer = Writer::begin(output, &header).map_err(BackupError::Write)?;
    if let Some(keys) = beside.keys {
        writer.keys(keys).map_err(BackupError::Write)?;
    }
    for (index, snapshot) in moment.stores.iter().enumerate() {
        let mut after = String::new();
        loop {
            let page = page(handlers, index, snapshot, &after).await.map_err(BackupError::Read)?;
            let Some(last) = page.after else { break };
            for record in &page.records {
                writer.record(record).map_err(BackupError::Write)?;
            }
            after = last;
        }
    }
    writer.end().map_err(BackupError::Write)
}

/// Opens the stores that the configuration names.
///
/// # Errors
/// When one cannot be opened.
pub async fn open(config: &Config) -> Result<Handlers, BackupError> {
    Handlers::open(config.handlers()).await.map_err(BackupError::Open)
}

/// Records of a store after a key.
#[derive(Debug)]
pub struct Page {
    /// The records.
    pub records: Vec<Record>,
    /// The last key that was looked at; `None` at the end.
    pub after: Option<String>,
}

/// The records of a snapshot after a key.
///
/// # Errors
/// When the store does not answer.
pub async fn page(
    handlers: &Handlers,
    store: usize,
    snapshot: &Snapshot,
    after: &str,
) -> Result<Page> {
    let entries = snapshot.page(after).await.map_err(|error| handlers.failure(store, error))?;
    let after = entries.last().map(|entry| entry.key.clone());
    let records = entries.into_iter().filter_map(|entry| record(handlers, store, entry));
    Ok(Page { records: records.collect(), after })
}

/// Checks that a key file opens what is sealed in the stores; nothing is changed.
///
/// # Errors
/// When it cannot be used, or is another key.
pub async fn check_key(handlers: &Handlers, key_file: &Path) -> Result<()> {
    let sealer = Sealer::open(key_file, true)
        .map_err(|error| Error::invalid("cannot use the sealing key").with_source(error))?;
    let foreign = mark(handlers).await?.and_then(|mark| sealer.foreign_key(&mark.to_string()));
    match foreign {
        None => Ok(()),
        Some(id) => Err(Error::invalid(format!("credentials are sealed with the key {id}"))),
    }
}

/// Notes that a backup was completed.
///
/// # Errors
/// When the store does not answer.
pub async fn note(handlers: &Handlers, last: &LastBackup) -> Result<()> {
    let key = LAST_BACKUP.key(&last.name)?;
    let text = to_raw_value(last).map_err(|error| {
        Error::internal("cannot write the note of the backup as JSON").with_source(error)
    })?;
    let part = Part { kind: LAST_BACKUP, key: &key, record: Some(&text) };
    let store = handlers.store_for(&[part]).await?;
    let puts = vec![(key, text.get().to_owned())];
    match handlers.commit(store, Commit { puts, ..Commit::default() }).await {
        Ok(_) => Ok(()),
        Err(CommitError::Store(error)) => Err(handlers.failure(store, error)),
        Err(error @ CommitError::Stale(_)) => {
            Err(Error::internal("the note of the backup was not written").with_source(error))
        }
    }
}

/// The type of the record under a key of a store; `None` for keys that the storage service has for itself, and for records
/// that another store keeps.
fn type_in(handlers: &Handlers, store: usize, key: &str) -> Option<&'static str> {
    if key == MARK || key == format::KEY || key == crate::store::COMPACTED {
        return None;
    }
    match Kind::of_key(key).next() {
        Some(kind) => handlers.keeps(store, kind).then_some(kind.type_name),
        // Two handlers may be in the same store.
        None => (store == 0).then_some(UNKNOWN),
    }
}

fn record(handlers: &Handlers, store: usize, entry: Entry) -> Option<Record> {
    let Entry { key, value, .. } = entry;
    let kind = type_in(handlers, store, &key)?.to_owned();
    Some(Record { kind, key, sealed_for: None, value: one_line(&value) })
}

/// The text of a record as JSON on one line. One that is no JSON becomes a string: a restore reports it as damaged.
fn one_line(text: &str) -> Box<RawValue> {
    let json = if text.contains('\n') {
        let value = serde_json::from_str::<serde_json::Value>(text);
        value.and_then(|value| to_raw_value(&value))
    } else {
        RawValue::from_string(text.to_owned())
    };
    json.or_else(|_| to_raw_value(text)).unwrap_or_default()
}

async fn instance(handlers: &Handlers) -> Result<Instance> {
    let found = handlers.get(INSTANCE, vec![INSTANCE.key(Instance::ALL)?]).await?;
    let Some(entry) = found.into_iter().flatten().next() else { return Ok(Instance::default()) };
    serde_json::from_str(&entry.value).map_err(|error| {
        Error::internal(format!("the record {} in the store is damaged", entry.key))
            .with_source(error)
    })
}

/// A sealed text by which the sealing key is recognized.
async fn mark(handlers: &Handlers) -> Result<Option<serde_json::Value>> {
    for (index, _) in handlers.secret() {
        let found = handlers.store(index).get(vec![MARK.to_owned()]).await;
        let found = found.map_err(|error| handlers.failure(index, error))?;
        if let Some(entry) = found.into_iter().flatten().next() {
            return Ok(serde_json::from_str(&entry.value).ok());
        }
    }
    Ok(None)
}
