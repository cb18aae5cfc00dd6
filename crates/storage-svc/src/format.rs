//! The format of the records in a store, as docs/formats.md describes it. Records of an earlier format are converted at
//! the start; with those of a later one nothing is done, since they would be misunderstood.

use bus::{Error, Result};
use model::{ClusterHead, Model as _, RECORD_FORMAT};
use serde::{Deserialize, Serialize};

use crate::handlers::{Handlers, Part};
use crate::kinds::Kind;
use crate::members;
use crate::store::{Commit, CommitError};

/// Where a store says which format its records have: there is no such key in those of format 1.
pub(crate) const KEY: &str = "/commissaire/format";

const HEAD: &Kind = &Kind::of::<ClusterHead>();

/// The record under that key.
#[derive(Default, Serialize, Deserialize)]
struct Format {
    records: u32,
    /// While a backup is being restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    restoring: Option<Restoring>,
}

/// A restore that is not complete: the records are those of two installations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Restoring {
    /// The SHA-256 of the backup.
    pub(crate) backup: String,
}

/// Brings the records of the store that has the clusters into the present format.
///
/// # Errors
/// When they have a later one, a restore is not complete, or the store does not answer.
pub(crate) async fn upgrade(handlers: &Handlers) -> Result<()> {
    let store = store(handlers).await?;
    let (Format { records, restoring }, revision) = read(handlers, store).await?;
    if records > RECORD_FORMAT {
        return Err(Error::unavailable(format!(
            "the records in the store have format {records}, and this version knows {RECORD_FORMAT}: nothing is \
             read or changed; use the version that wrote them, or a later one"
        )));
    }
    if restoring.is_some() {
        return Err(Error::unavailable(
            "a backup was not restored to its end: nothing is read or changed; stop the services, run \
             `commissaire restore` again with the same backup, and start them",
        ));
    }
    if records == RECORD_FORMAT {
        return Ok(());
    }
    members::convert(handlers).await?;
    let checks = vec![(KEY.to_owned(), revision)];
    write(handlers, store, checks, None).await
}

/// Checks that the records have the present format, and changes nothing.
///
/// # Errors
/// When they have another one, a restore is not complete, or the store does not answer.
pub(crate) async fn check(handlers: &Handlers) -> Result<()> {
    let store = store(handlers).await?;
    let (Format { records, restoring }, _) = read(handlers, store).await?;
    if restoring.is_some() {
        return Err(Error::unavailable(
            "a restore of a backup is not complete: there is nothing to back up",
        ));
    }
    // An empty store does not say so, and neither does one of the versions before there were formats.
    let is_old = if records == 0 { has_clusters(handlers, store).await? } else { false };
    if is_old || (records != RECORD_FORMAT && records != 0) {
        return Err(Error::unavailable(format!(
            "the records in the store have format {records}, and this version writes {RECORD_FORMAT}: start the storage \
             service of this version first"
        )));
    }
    Ok(())
}

async fn has_clusters(handlers: &Handlers, store: usize) -> Result<bool> {
    let failed = |error| handlers.failure(store, error);
    let snapshot = handlers.store(store).snapshot().await.map_err(failed)?;
    let keys = snapshot.keys(ClusterHead::PREFIX).await.map_err(failed)?;
    Ok(keys.first().is_some_and(|key| key.starts_with(ClusterHead::PREFIX)))
}

/// The restore that is not complete, if there is one.
///
/// # Errors
/// When the store does not answer.
pub(crate) async fn restoring(handlers: &Handlers) -> Result<Option<Restoring>> {
    let store = store(handlers).await?;
    Ok(read(handlers, store).await?.0.restoring)
}

/// The format that the records have, if the store says so, and whether a restore is not complete.
///
/// # Errors
/// When the store does not answer, or the record is damaged.
pub(crate) async fn found(handlers: &Handlers) -> Result<(Option<u32>, bool)> {
    let store = store(handlers).await?;
    let (Format { records, restoring }, revision) = read(handlers, store).await?;
    Ok((revision.map(|_| records), restoring.is_some()))
}

/// Begins a restore, or ends it: the records have the present format then.
///
/// # Errors
/// When the store does not answer.
pub(crate) async fn set_restoring(handlers: &Handlers, restoring: Option<Restoring>) -> Result<()> {
    let store = store(handlers).await?;
    write(handlers, store, Vec::new(), restoring).await
}

/// The store that has the clusters.
async fn store(handlers: &Handlers) -> Result<usize> {
    handlers.store_for(&[Part { kind: HEAD, key: KEY, record: None }]).await
}

/// The record, and its revision if it is there.
async fn read(handlers: &Handlers, store: usize) -> Result<(Format, Option<u64>)> {
    let found = handlers.store(store).get(vec![KEY.to_owned()]).await;
    let found = found.map_err(|error| handlers.failure(store, error))?.into_iter().flatten().next();
    let Some(entry) = found else { return Ok((Format::default(), None)) };
    let format = serde_json::from_str(&entry.value).map_err(|error| {
        Error::internal(format!("the record {KEY} in the store is damaged")).with_source(error)
    })?;
    Ok((format, Some(entry.revision)))
}

async fn write(
    handlers: &Handlers,
    store: usize,
    checks: Vec<(String, Option<u64>)>,
    restoring: Option<Restoring>,
) -> Result<()> {
    let text = serde_json::to_string(&Format { records: RECORD_FORMAT, restoring })
        .map_err(|e| Error::internal("cannot write the format as JSON").with_source(e))?;
    let commit = Commit { checks, puts: vec![(KEY.to_owned(), text)], deletes: Vec::new() };
    match handlers.commit(store, commit).await {
        // Another storage service has done the same.
        Ok(_) | Err(CommitError::Stale(_)) => Ok(()),
        Err(CommitError::Store(error)) => Err(handlers.failure(store, error)),
    }
}
