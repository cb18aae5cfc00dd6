//! The documented records of operations: composed from the records of the newest operation and of its hosts when they are
//! read. A step of an operation changes the record of one host.

use bus::{Error, Result};
use model::{
    ClusterRecord, Model as _, NewestOperation, Operation, OperationHost, OperationKind, Work,
    by_kind,
};
use serde_json::value::RawValue;

use crate::handlers::Handlers;
use crate::kinds::{Kind, parse, written};
use crate::store::Entry;

const OPERATION: &Kind = &Kind::of::<Operation>();
const PROGRESS: &Kind = &Kind::of::<OperationHost>();

/// Parts that are read at a time: with the results of upgrades they are large.
const PARTS_PER_READ: usize = 1000;

/// The kind of operation that this type is the documented record of.
pub(crate) fn kind_of(record: &Kind) -> Option<OperationKind> {
    let mut kinds = OperationKind::ALL.iter().copied();
    kinds.find(|kind| kind.facts().record == record.type_name)
}

/// The text of the documented record, if `text` says which operation it is composed from.
///
/// # Errors
/// When that is not there, is damaged, or the store does not answer.
pub(crate) async fn compose(
    handlers: &Handlers,
    kind: OperationKind,
    text: &str,
) -> Result<Option<Box<RawValue>>> {
    by_kind!(kind, W => compose_as::<W>(handlers, text).await)
}

async fn compose_as<W: Work>(handlers: &Handlers, text: &str) -> Result<Option<Box<RawValue>>> {
    let newest: NewestOperation<W> = parse(text).map_err(Error::internal)?;
    if newest.operation.is_empty() {
        return Ok(None);
    }
    let found = handlers.get(OPERATION, vec![Operation::key(&newest.operation)]).await?;
    let entry =
        found.into_iter().flatten().next().ok_or_else(|| {
            Error::not_found(format!("there is no Operation {}", newest.operation))
        })?;
    let operation: Operation = parse(&entry.value).map_err(|why| damaged(&entry, why))?;
    record::<W>(handlers, &operation).await.map(Some)
}

async fn record<W: Work>(handlers: &Handlers, operation: &Operation) -> Result<Box<RawValue>> {
    let mut hosts = operation.untouched();
    for part in hosts.chunks_mut(PARTS_PER_READ) {
        let keys = part.iter().map(|host| OperationHost::key(&host.id)).collect();
        for (host, entry) in part.iter_mut().zip(handlers.get(PROGRESS, keys).await?) {
            if let Some(entry) = entry {
                *host = parse(&entry.value).map_err(|why| damaged(&entry, why))?;
            }
        }
    }
    written(&operation.record::<W>(&hosts)).map_err(Error::internal)
}

/// The documented record of an operation whose text was just saved, if it is the newest.
///
/// # Errors
/// As [`compose`].
pub(crate) async fn of_operation(
    handlers: &Handlers,
    text: &str,
) -> Result<Option<(&'static Kind, Box<RawValue>)>> {
    let operation: Operation = parse(text).map_err(Error::internal)?;
    by_kind!(operation.kind, W => {
        let kind = Kind::named(ClusterRecord::<W>::TYPE)?;
        let key = NewestOperation::<W>::key(&operation.cluster);
        let found = handlers.get(kind, vec![key]).await?.into_iter().flatten().next();
        let newest = found.and_then(|entry| parse::<NewestOperation<W>>(&entry.value).ok());
        if newest.is_none_or(|newest| newest.operation != operation.id) {
            return Ok(None);
        }
        Ok(Some((kind, record::<W>(handlers, &operation).await?)))
    })
}

fn damaged(entry: &Entry, why: String) -> Error {
    Error::internal(format!("the record {} in the store is damaged", entry.key))
        .with_source(std::io::Error::other(why))
}
