//! A failed host that is checked again: it becomes `done (late)` once it is back, has settled, and is healthy.

use std::time::Duration;

use host_access::AccessError;
use model::{Host, HostState, OperationHost, Outcome, Step};

use super::health::healthy;
use super::host::HostRun;
use super::ready::is_ready;
use super::settle::has_settled;
use super::verify::check_booted;
use crate::budget::Budget;
use crate::host_error::{HostError, ends_with_return};
use crate::journal::{Journal, LogLine};
use crate::log_in::{listens, log_in_once, target_of};

/// The timeout of a connection to the SSH port.
const CONNECT: Duration = Duration::from_secs(3);

/// The result of a check of a failed host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Returned {
    /// It is back, everything is proven, and it is recorded as done.
    Done,
    /// It does not answer, or still runs the boot from before.
    NotYet,
    /// It refuses the log-in.
    Refused,
}

/// Checks once whether the host at `index` is back with another boot id, has settled, runs what was staged and is
/// healthy.
///
/// # Errors
/// When the host cannot be reached, runs something else than what was staged, or is unhealthy; or the lease is lost.
pub(crate) async fn returned(journal: &Journal<'_>, index: usize) -> Result<Returned, HostError> {
    let budget = Budget::new(journal);
    let run = HostRun::new(journal, &budget, index, target_of(journal, index).await?);
    if !listens(run.context(), &run.target, CONNECT).await {
        return Ok(Returned::NotYet);
    }
    let (session, boot_id) = match log_in_once(run.context(), &run.target).await {
        Ok(found) => found,
        Err(AccessError::AuthRefused { .. }) => return Ok(Returned::Refused),
        // The ledger did not allow a log-in.
        Err(AccessError::HeldBack { .. }) => return Ok(Returned::NotYet),
        Err(error) => return Err(error.into()),
    };
    if run.part().boot_id_before.is_none_or(|before| before == boot_id) {
        return Ok(Returned::NotYet);
    }
    if !has_settled(&run, session.as_ref()).await? {
        return Ok(Returned::NotYet);
    }
    check_booted(&run, session.as_ref()).await?;
    healthy(&run, session).await?;
    if !is_ready(&run, &boot_id).await? {
        return Ok(Returned::NotYet);
    }
    done_late(journal, index, &boot_id).await
}

/// Records that the host at `index` has come back with this boot id.
///
/// # Errors
/// When the lease is lost.
pub(crate) async fn done_late(
    journal: &Journal<'_>,
    index: usize,
    boot_id: &str,
) -> Result<Returned, HostError> {
    let now = journal.context.deps.clock.stamp();
    let kind = journal.operation.kind.to_string();
    let change = |host: &mut OperationHost| {
        host.step = Step::Done;
        host.late = true;
        host.finished_at = Some(now.clone());
        host.boot_id_after = Some(boot_id.to_owned());
        host.failure = None;
        host.reason.clear();
    };
    let status = |host: &mut Host, state: &mut HostState| {
        if ends_with_return(&state.reason) {
            state.recover(host);
        }
        state.saw_boot(&now, boot_id);
        state.operations.insert(kind.clone(), now.clone());
    };
    let detail = format!("it came back after its deadline, with boot id {boot_id}: done (late)");
    let lines = [LogLine(Step::Verify, Outcome::Ok, &detail)];
    let is_saved = journal.save_late(index, change, &lines, status).await?;
    Ok(if is_saved { Returned::Done } else { Returned::NotYet })
}
