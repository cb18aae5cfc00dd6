//! A host that was given up and is looked at again: it becomes `done (late)` once everything is proven.

use std::time::Duration;

use host_access::AccessError;
use service_core::model::{Host, HostProgress, HostState, Outcome, Step};

use super::reach::{listens, look_at};
use super::settle::has_settled;
use super::{NOT_BACK, NOT_RESTARTED, Trouble, target_of};
use crate::apply::check;
use crate::executor::{Execution, Line};
use crate::health::healthy;

/// The timeout of a connection to the SSH port.
const CONNECT: Duration = Duration::from_secs(3);

/// The result of a look at a host that was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Returned {
    /// It is back, everything is proven, and it is recorded as done.
    Done,
    /// It does not answer, or still runs the boot from before.
    NotYet,
    /// It refuses the log-in.
    Refused,
}

/// Looks once whether the host at `index` is back with another boot id, has settled, runs what was staged and is healthy.
///
/// # Errors
/// When the host cannot be reached, runs something else than what was staged, or is unhealthy; or the lease is lost.
pub(crate) async fn returned(execution: &Execution<'_>, index: usize) -> Result<Returned, Trouble> {
    let target = target_of(execution, index).await?;
    if !listens(execution, &target, CONNECT).await {
        return Ok(Returned::NotYet);
    }
    let (session, after) = match look_at(execution, &target).await {
        Ok(found) => found,
        Err(AccessError::AuthRefused { .. }) => return Ok(Returned::Refused),
        // The ledger did not allow a log-in.
        Err(AccessError::HeldBack { .. }) => return Ok(Returned::NotYet),
        Err(error) => return Err(error.into()),
    };
    if execution.host(index).boot_id_before.is_none_or(|before| before == after) {
        return Ok(Returned::NotYet);
    }
    if !has_settled(execution, index, &target, session.as_ref()).await? {
        return Ok(Returned::NotYet);
    }
    check(execution, index, session.as_ref()).await?;
    healthy(execution, index, &target, session).await?;
    done_late(execution, index, &after).await
}

/// Records that the host at `index` has come back with this boot id.
///
/// # Errors
/// When the lease is lost.
pub(crate) async fn done_late(
    execution: &Execution<'_>,
    index: usize,
    boot_id: &str,
) -> Result<Returned, Trouble> {
    let now = execution.service.deps.clock.stamp();
    let kind = execution.operation.kind.to_string();
    let change = |host: &mut HostProgress| {
        host.step = Step::Done;
        host.late = true;
        host.finished_at = Some(now.clone());
        host.boot_id_after = Some(boot_id.to_owned());
        host.failure = None;
        host.reason.clear();
    };
    let status = |host: &mut Host, state: &mut HostState| {
        if [NOT_BACK, NOT_RESTARTED].contains(&state.reason.as_str()) {
            state.recover(host);
        }
        state.saw_boot(&now, boot_id);
        state.operations.insert(kind.clone(), now.clone());
    };
    let seen = format!("it came back after its deadline, with boot id {boot_id}: done (late)");
    let lines = [Line(Step::Verify, Outcome::Ok, &seen)];
    let saved = execution.save_late(index, change, &lines, status).await.map_err(Trouble::Ours)?;
    Ok(if saved { Returned::Done } else { Returned::NotYet })
}
