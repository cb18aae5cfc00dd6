//! Failed hosts that may come back after the end of their operation.
//!
//! Such a host becomes `done (late)` once everything that `verify` and `settle` require is proven; the status of the
//! operation does not change. A lease marks the operation: the replica that holds it checks the hosts.

use std::time::Duration;

use bus::{Result, warn_unless_outage};
use futures_util::{StreamExt as _, stream};
use model::{Operation, Stamp, stamp};
use storage_client::Transaction;
use storage_client::lease::Held;
use tokio::time::Instant;

use crate::context::Context;
use crate::host_error::{HostError, may_come_back};
use crate::host_run::{Returned, returned};
use crate::journal::Journal;

/// How long after the end of an operation its hosts are checked.
const WINDOW: Duration = Duration::from_hours(24);

/// The pause between checks.
const CHECK_AGAIN: Duration = Duration::from_secs(30);

/// The pause after a host has refused a log-in: repeated refusals would get the server banned.
const AFTER_REFUSAL: Duration = Duration::from_mins(10);

/// Limit of concurrent checks.
const CONCURRENT: usize = 16;

/// Checks the failed hosts of an operation until none is left, another operation of the cluster has started, or
/// [`WINDOW`] has passed.
pub(crate) async fn run(context: &Context, held: &Held, id: &str) {
    let checks = async {
        let (mut end, mut pause) = (None, Duration::ZERO);
        loop {
            tokio::time::sleep(pause).await;
            let Some(operation) = unless_superseded(context, id).await? else { break };
            let end = *end.get_or_insert_with(|| Instant::now() + window_left(context, &operation));
            let journal = Journal::load(context, held, operation).await?;
            match check_all(&journal).await? {
                Some(next) if Instant::now() < end => pause = next,
                _ => break,
            }
        }
        held.release(Transaction::default()).await
    };
    let ended = tokio::select! {
        ended = checks => ended,
        () = held.lost() => return,
        () = context.lifecycle.stopping() => held.hand_over().await,
    };
    if let Err(error) = ended {
        warn_unless_outage!(
            error,
            operation.id = id,
            "the search for late hosts failed; another replica continues it"
        );
    }
}

/// The operation, while it is the newest of its cluster.
async fn unless_superseded(context: &Context, id: &str) -> Result<Option<Operation>> {
    let all = context.storage.list::<Operation>().await?.into_iter().map(|found| found.record);
    let all: Vec<_> = all.collect();
    let Some(operation) = all.iter().find(|operation| operation.id == id) else { return Ok(None) };
    let is_superseded = all.iter().any(|other| {
        other.cluster == operation.cluster
            && (&other.started_at, &other.id) > (&operation.started_at, &operation.id)
    });
    Ok((!is_superseded).then(|| operation.clone()))
}

/// The rest of [`WINDOW`]; the time stamp of the operation's end matters after a take-over only.
fn window_left(context: &Context, operation: &Operation) -> Duration {
    let ended = operation.finished_at.as_ref().and_then(Stamp::timestamp);
    ended.map_or(WINDOW, |ended| stamp::left(context.deps.clock.wall(), ended, WINDOW))
}

/// Checks each host that may come back once. Returns the pause until the next check; `None` if no such host is left.
async fn check_all(journal: &Journal<'_>) -> Result<Option<Duration>> {
    let hosts = 0..journal.operation.hosts.len();
    let candidates = hosts.filter(|index| may_come_back(&journal.part(*index)));
    let checks = candidates.map(|index| returned(journal, index));
    let results: Vec<_> = stream::iter(checks).buffer_unordered(CONCURRENT).collect().await;
    let mut pause = None;
    for result in results {
        let next = match result {
            Ok(Returned::Done) => continue,
            Ok(Returned::Refused) => AFTER_REFUSAL,
            // Something is not proven yet.
            Ok(Returned::NotYet)
            | Err(HostError::Failed(_) | HostError::Skipped(_) | HostError::Postponed(_)) => {
                CHECK_AGAIN
            }
            Err(HostError::Internal(error)) => return Err(error),
        };
        pause = pause.max(Some(next));
    }
    Ok(pause)
}
