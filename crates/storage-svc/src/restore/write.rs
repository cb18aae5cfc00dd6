//! Writing a plan into the stores.

use std::collections::{BTreeMap, BTreeSet};

use model::{
    CheckReport, CheckRoster, Instance, LastBackup, Lease, Model as _, Network, RefusedLogIns,
    ServerKeys, WriteProbe,
};

use super::plan::Planned;
use super::{Plan, RestoreError};
use crate::format::{self, Restoring};
use crate::handlers::Handlers;
use crate::keyring::MARK;
use crate::kinds::Kind;
use crate::secrets::Sealer;
use crate::store::{COMPACTED, Commit};

/// The most records of a commit: well below what etcd accepts (`--max-txn-ops`).
const BATCH: usize = 50;

/// The most bytes of a commit, unless a single record is larger: below what etcd accepts (`--max-request-bytes`).
const BATCH_BYTES: usize = 512 << 10;

/// Records that an installation makes by itself, without any host.
const MADE_BY_ITSELF: [&str; 9] = [
    CheckReport::TYPE,
    CheckRoster::TYPE,
    Instance::TYPE,
    LastBackup::TYPE,
    Lease::TYPE,
    Network::TYPE,
    RefusedLogIns::TYPE,
    ServerKeys::TYPE,
    WriteProbe::TYPE,
];

/// Marks the store: services that start before the restore is complete refuse to.
///
/// # Errors
/// When a record has no place in the stores, or one does not answer.
pub async fn begin(handlers: &Handlers, plan: &Plan) -> Result<(), RestoreError> {
    check_places(handlers, plan)?;
    let restoring = Restoring { backup: plan.id.clone() };
    format::set_restoring(handlers, Some(restoring)).await.map_err(RestoreError::Read)
}

/// Checks that the stores hold no records but those that an installation makes by itself, or that they are those of a
/// restore of the same backup that was interrupted.
///
/// # Errors
/// When they hold others, or a store does not answer.
pub async fn check_empty(handlers: &Handlers, plan: &Plan) -> Result<(), RestoreError> {
    let interrupted = format::restoring(handlers).await.map_err(RestoreError::Read)?;
    if interrupted.is_some_and(|restoring| restoring.backup == plan.id) {
        return Ok(());
    }
    let there = made_by_others(handlers).await?;
    if there.is_empty() { Ok(()) } else { Err(RestoreError::NotEmpty(there)) }
}

/// Checks that each record has a place in the stores.
///
/// # Errors
/// When one has none.
pub fn check_places(handlers: &Handlers, plan: &Plan) -> Result<(), RestoreError> {
    places(handlers, plan).map(drop)
}

/// The records of each store.
fn places<'a>(handlers: &Handlers, plan: &'a Plan) -> Result<Vec<Vec<&'a Planned>>, RestoreError> {
    let mut places = vec![Vec::new(); handlers.count()];
    for planned in &plan.records {
        let Planned { kind, key, source, .. } = planned;
        let place = handlers.place(kind, source.as_deref());
        let place = place.map_err(|source| RestoreError::Place { key: key.clone(), source })?;
        places[place].push(planned);
    }
    Ok(places)
}

/// The other records, as counts by types; empty if there are none.
async fn made_by_others(handlers: &Handlers) -> Result<String, RestoreError> {
    let mut counts = BTreeMap::<_, usize>::new();
    for keys in keys(handlers).await? {
        for key in keys {
            let kind = Kind::of_key(&key).next().map_or("unknown", |kind| kind.type_name);
            if !MADE_BY_ITSELF.contains(&kind) {
                *counts.entry(kind).or_default() += 1;
            }
        }
    }
    let counts: Vec<_> = counts.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    Ok(counts.join(", "))
}

/// Writes the records of a plan, and removes all others. Services that start before it is complete refuse to.
/// `progress` is called with the number of records that are written and that there are.
///
/// # Errors
/// When the stores hold other records and `replace` is not set, a record has no place in them, or a store fails. After the
/// last, the restore has to be begun again.
pub async fn write(
    handlers: &Handlers,
    own: &Sealer,
    plan: &Plan,
    replace: bool,
    mut progress: impl FnMut(usize, usize),
) -> Result<(), RestoreError> {
    if !replace {
        check_empty(handlers, plan).await?;
    }
    let places = places(handlers, plan)?;
    let there = keys(handlers).await?;

    begin(handlers, plan).await?;
    // All before the first one is written: two stores may be the same one.
    for (store, (records, there)) in places.iter().zip(there).enumerate() {
        let kept: BTreeSet<_> = records.iter().map(|planned| planned.key.as_str()).collect();
        let surplus: Vec<_> =
            there.into_iter().filter(|key| !kept.contains(key.as_str())).collect();
        for deletes in surplus.chunks(BATCH) {
            let commit = Commit { deletes: deletes.to_vec(), ..Commit::default() };
            handlers.commit(store, commit).await.map_err(RestoreError::Write)?;
        }
    }
    let mut done = 0;
    for (store, records) in places.iter().enumerate() {
        for batch in batches(records) {
            let puts = batch.iter().map(|planned| (planned.key.clone(), planned.text.clone()));
            let commit = Commit { puts: puts.collect(), ..Commit::default() };
            handlers.commit(store, commit).await.map_err(RestoreError::Write)?;
            done += batch.len();
            progress(done, plan.records.len());
        }
    }
    for (store, _) in handlers.secret() {
        let mark = own.seal(MARK, "{}").map_err(RestoreError::Seal)?;
        let commit = Commit { puts: vec![(MARK.to_owned(), mark)], ..Commit::default() };
        handlers.commit(store, commit).await.map_err(RestoreError::Write)?;
    }
    format::set_restoring(handlers, None).await.map_err(RestoreError::End)
}

/// The keys of all records of each store.
async fn keys(handlers: &Handlers) -> Result<Vec<Vec<String>>, RestoreError> {
    let mut all = Vec::with_capacity(handlers.count());
    for store in 0..handlers.count() {
        let failed = |error| RestoreError::Read(handlers.failure(store, error));
        let snapshot = handlers.store(store).snapshot().await.map_err(failed)?;
        let (mut found, mut after) = (Vec::new(), String::new());
        loop {
            let page = snapshot.keys(&after).await.map_err(failed)?;
            let Some(last) = page.last() else { break };
            after.clone_from(last);
            let internal = [MARK, format::KEY, COMPACTED];
            found.extend(page.into_iter().filter(|key| !internal.contains(&key.as_str())));
        }
        all.push(found);
    }
    Ok(all)
}

/// Records for one commit each, in their order.
fn batches<'a, 'b>(records: &'b [&'a Planned]) -> Vec<&'b [&'a Planned]> {
    let mut rest = records;
    let mut batches = Vec::new();
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = |planned: &&&Planned| {
            bytes += planned.text.len();
            bytes <= BATCH_BYTES
        };
        let count = rest.iter().take(BATCH).take_while(fits).count().max(1);
        let (batch, others) = rest.split_at(count);
        batches.push(batch);
        rest = others;
    }
    batches
}
