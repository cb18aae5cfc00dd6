//! A host that was given up, looked at again: it is done, late, once all proofs are there.

use std::time::Duration;

use host_access::AccessError;
use service_core::model::{Host, HostProgress, HostState, Outcome, Step};

use super::reach::{listens, look_at};
use super::settle::has_settled;
use super::{NOT_BACK, NOT_RESTARTED, Trouble, target_of};
use crate::apply::check;
use crate::executor::{Execution, Line};
use crate::health::healthy;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(3);

/// What was found out about a host that was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Returned {
    /// It is back with all proofs, and done.
    Done,
    /// It does not answer, or still runs the boot from before.
    NotYet,
    /// It refuses log-ins.
    Refused,
}

/// Looks once whether the host at `index` is back with another boot id, has settled, runs what was staged and is healthy.
///
/// # Errors
/// When a proof is missing; or the lease is lost.
pub(crate) async fn returned(execution: &Execution<'_>, index: usize) -> Result<Returned, Trouble> {
    let target = target_of(execution, index).await?;
    if !listens(&target, CONNECT).await {
        return Ok(Returned::NotYet);
    }
    let (session, after) = match look_at(execution, &target).await {
        Ok(found) => found,
        Err(AccessError::AuthRefused { .. }) => return Ok(Returned::Refused),
        // Nothing was tried: it is looked at again.
        Err(AccessError::HeldBack { .. }) => return Ok(Returned::NotYet),
        Err(error) => return Err(error.into()),
    };
    if execution.host(index).boot_id_before.is_none_or(|before| before == after) {
        return Ok(Returned::NotYet);
    }
    if !has_settled(execution, index, &target, &session).await? {
        return Ok(Returned::NotYet);
    }
    check(execution, index, &session).await?;
    healthy(execution, index, &target, session).await?;
    done_late(execution, index, &after).await
}

/// Writes down that the host at `index` has come back with this boot id.
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
