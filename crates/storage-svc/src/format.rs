//! The format of the records in a store, as docs/formats.md describes it. Records of an earlier format are converted at
//! the start; with those of a later one nothing is done, since they would be misunderstood.

use bus::{Error, Result};
use model::{ClusterHead, RECORD_FORMAT};
use serde::{Deserialize, Serialize};

use crate::handlers::{Handlers, Part};
use crate::kinds::Kind;
use crate::members;
use crate::store::{Commit, CommitError};

/// Where a store says which format its records have: there is no such key in those of format 1.
const KEY: &str = "/commissaire/format";

const HEAD: &Kind = &Kind::of::<ClusterHead>();

/// The record under that key.
#[derive(Serialize, Deserialize)]
struct Format {
    records: u32,
}

/// Brings the records of the store that has the clusters into the present format.
///
/// # Errors
/// When they have a later one, or the store does not answer.
pub(crate) async fn upgrade(handlers: &Handlers) -> Result<()> {
    let store = handlers.store_for(&[Part { kind: HEAD, key: KEY, record: None }]).await?;
    let found = handlers.store(store).get(vec![KEY.to_owned()]).await;
    let found = found.map_err(|error| handlers.failure(store, error))?.into_iter().flatten().next();
    let revision = found.as_ref().map(|entry| entry.revision);
    if let Some(entry) = &found {
        let Format { records } = serde_json::from_str(&entry.value).map_err(|error| {
            Error::internal(format!("the record {KEY} in the store is damaged")).with_source(error)
        })?;
        if records > RECORD_FORMAT {
            return Err(Error::unavailable(format!(
                "the records in the store have format {records}, and this version knows {RECORD_FORMAT}: nothing is \
                 read or changed; use the version that wrote them, or a later one"
            )));
        }
        if records == RECORD_FORMAT {
            return Ok(());
        }
    }
    members::convert(handlers).await?;
    let text = serde_json::to_string(&Format { records: RECORD_FORMAT })
        .map_err(|e| Error::internal("cannot write the format as JSON").with_source(e))?;
    let commit = Commit {
        checks: vec![(KEY.to_owned(), revision)],
        puts: vec![(KEY.to_owned(), text)],
        deletes: Vec::new(),
    };
    match handlers.commit(store, commit).await {
        // Another storage service has done the same.
        Ok(_) | Err(CommitError::Stale(_)) => Ok(()),
        Err(CommitError::Store(error)) => Err(handlers.failure(store, error)),
    }
}
