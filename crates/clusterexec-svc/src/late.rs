//! Hosts that come back by themselves after they were given up.
//!
//! They become `done (late)` once everything that `verify` and `settle` need is proven; the operation's status does not
//! change. A lease without a holder, written together with the end of the operation, marks it as one with such hosts:
//! the replica that acquires the lease looks for them.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use service_core::lease::Held;
use service_core::model::{HostProgress, Lease, Operation, Step};
use service_core::storage::Transaction;
use service_core::warn_unless_outage;
use service_core::{Result, clock};
use tokio::time::Instant;

use crate::executor::Execution;
use crate::host_run::{NOT_BACK, NOT_RESTARTED, Returned, Trouble, returned};
use crate::service::ClusterExec;

/// The prefix of the name of such a lease; the id of the operation follows.
pub(crate) const DUE: &str = "late.";

/// How long after the end of an operation its hosts may come back.
const WINDOW: Duration = Duration::from_hours(24);

/// The pause between looks.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// The pause after a host has refused a log-in: repeated refusals would get the server banned.
const AFTER_REFUSAL: Duration = Duration::from_mins(10);

/// How many hosts are looked at concurrently.
const AT_A_TIME: usize = 16;

/// The reasons of failures that no longer hold once the host is back.
const WAITED_FOR: [&str; 2] = [NOT_BACK, NOT_RESTARTED];

/// The lease that marks an operation as one with late hosts.
pub(crate) fn due(operation: &str) -> Lease {
    Lease { name: name(operation), ..Lease::default() }
}

/// The name of that lease.
pub(crate) fn name(operation: &str) -> String {
    format!("{DUE}{operation}")
}

/// Whether a host was given up for a reason that ends when it comes back.
pub(crate) fn may_come_back(host: &HostProgress) -> bool {
    host.step == Step::Failed && WAITED_FOR.contains(&host.reason.as_str())
}

/// Looks for the late hosts of an operation until none is left, another operation of the cluster has started, or
/// [`WINDOW`] has passed.
pub(crate) async fn run(service: &ClusterExec, held: &Held, id: &str) {
    let watched = async {
        let (mut end, mut pause) = (None, Duration::ZERO);
        loop {
            tokio::time::sleep(pause).await;
            let Some(operation) = newest(service, id).await? else { break };
            let end = *end.get_or_insert_with(|| Instant::now() + left(service, &operation));
            let mut execution = Execution::new(service, held, operation);
            execution.load().await?;
            match look(&execution).await? {
                Some(next) if Instant::now() < end => pause = next,
                _ => break,
            }
        }
        held.release(Transaction::default()).await
    };
    let ended = tokio::select! {
        ended = watched => ended,
        () = held.lost() => return,
        () = service.lifecycle.stopping() => held.hand_over().await,
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
async fn newest(service: &ClusterExec, id: &str) -> Result<Option<Operation>> {
    let all = service.storage.list::<Operation>().await?.into_iter().map(|found| found.record);
    let all: Vec<_> = all.collect();
    let Some(operation) = all.iter().find(|operation| operation.id == id) else { return Ok(None) };
    let newer = all.iter().any(|other| {
        other.cluster == operation.cluster
            && (&other.started_at, &other.id) > (&operation.started_at, &operation.id)
    });
    Ok((!newer).then(|| operation.clone()))
}

/// The rest of [`WINDOW`]; the stamp of the operation's end matters after a take-over only.
fn left(service: &ClusterExec, operation: &Operation) -> Duration {
    let ended = operation.finished_at.as_deref().and_then(clock::parse);
    ended.map_or(WINDOW, |ended| clock::left(service.deps.clock.wall(), ended, WINDOW))
}

/// Looks once at each host that may come back. Returns the pause until the next look; `None` when no such host is left.
async fn look(execution: &Execution<'_>) -> Result<Option<Duration>> {
    let hosts = 0..execution.operation.hosts.len();
    let candidates = hosts.filter(|index| may_come_back(&execution.host(*index)));
    let looks = candidates.map(|index| returned(execution, index));
    let looks: Vec<_> = stream::iter(looks).buffer_unordered(AT_A_TIME).collect().await;
    let mut pause = None;
    for looked in looks {
        let next = match looked {
            Ok(Returned::Done) => continue,
            Ok(Returned::Refused) => AFTER_REFUSAL,
            // Something is not proven yet.
            Ok(Returned::NotYet) | Err(Trouble::Host(_) | Trouble::Left(_)) => LOOK_AGAIN,
            Err(Trouble::Ours(error)) => return Err(error),
        };
        pause = pause.max(Some(next));
    }
    Ok(pause)
}
