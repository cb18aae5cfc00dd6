//! The step `settle`: a host that is back and healthy has to stay up for a while, with one boot id and the start of its
//! system complete. In the meantime it holds its place in the disruption budget.

use std::time::Duration;

use bus::error::chain;
use host_access::{AccessError, Session, SystemState};
use model::{FailureReason, OperationHost, Outcome, Step};
use tokio::time::Instant;

use super::boot::wait_until_up;
use super::host::HostRun;
use super::ready::{Readiness, enter_ready};
use crate::host_error::{HostError, HostFailure};
use crate::journal::LogLine;

/// The pause between reads of the state of the system.
const CHECK_AGAIN: Duration = Duration::from_secs(1);

/// Saves which units have failed before anything is done to the host.
pub(super) async fn save_failed_units(
    run: &HostRun<'_>,
    session: &dyn Session,
) -> Result<(), HostError> {
    if !run.settles() || run.part().failed_units_before.is_some() {
        return Ok(());
    }
    let SystemState { failed_units, .. } = session.system_state().await?;
    let change = |host: &mut OperationHost| host.failed_units_before = Some(failed_units.clone());
    Ok(run.save(change, &[]).await?)
}

/// Waits until the host has stayed up, in the boot in which it was verified, for as long as the operation says; then it
/// is done. A host that reboots in the meantime has to be verified again; a lost connection alone changes nothing.
pub(super) async fn settle(run: &mut HostRun<'_>) -> Result<(), HostError> {
    let boot_id = run.verified.take().unwrap_or_default();
    let settle = run.journal.operation.options.settle();
    let up_by = Instant::now() + settle;
    let deadline = run.journal.deadlines.settle_end(run.index, settle);
    let mut readiness = run.readiness.take().unwrap_or_else(Readiness::new);
    loop {
        let session = match run.session.take() {
            Some(session) => session,
            None => wait_until_up(run, |_| true).await?.0,
        };
        let seen = match session.system_state().await {
            Ok(seen) => seen,
            // A host that shuts down ends the command: its boot id shows later whether it has rebooted.
            Err(error) if error.heals() || matches!(error, AccessError::Remote { .. }) => {
                if Instant::now() >= deadline {
                    return Err(unknown(run.address(), &error).into());
                }
                tokio::time::sleep(CHECK_AGAIN).await;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        run.session = Some(session);
        let now = Instant::now();
        if seen.boot_id != boot_id {
            if now >= deadline {
                return Err(unsteady(run).into());
            }
            let detail = format!(
                "it has rebooted by itself: boot id {} in place of {boot_id}; it has to stay up again",
                seen.boot_id
            );
            run.log(&[LogLine(Step::Settle, Outcome::Failed, &detail)]).await?;
            run.session = None;
            return Ok(());
        }
        let is_up = seen.is_up();
        if now >= up_by && is_up {
            let failed = newly_failed(run, seen.failed_units)?;
            run.readiness = Some(readiness);
            return enter_ready(run, &boot_id, &failed).await;
        }
        if now >= deadline {
            let failure =
                if is_up { unsteady(run) } else { still_starting(run.address(), &seen.state) };
            return Err(failure.into());
        }
        readiness.look_meanwhile(run, &boot_id).await?;
        let left = up_by.saturating_duration_since(Instant::now());
        let pause = if left.is_zero() { CHECK_AGAIN } else { left.min(CHECK_AGAIN) };
        tokio::time::sleep(pause).await;
    }
}

/// Whether a host that came back by itself has settled already, by its uptime.
pub(super) async fn has_settled(
    run: &HostRun<'_>,
    session: &dyn Session,
) -> Result<bool, HostError> {
    if !run.settles() {
        return Ok(true);
    }
    let seen = session.system_state().await?;
    if !seen.is_up() || seen.uptime < run.journal.operation.options.settle() {
        return Ok(false);
    }
    newly_failed(run, seen.failed_units)?;
    Ok(true)
}

/// The host lets log in, but its boot id cannot be read.
fn unknown(address: &str, error: &AccessError) -> HostFailure {
    let message = format!(
        "{address} could not be asked in time whether it has stayed up: {}; look at its console, then have \
         it looked at again with `commctl host investigate {address}`",
        chain(error)
    );
    HostFailure::new(FailureReason::NotSettled, message)
}

fn unsteady(run: &HostRun<'_>) -> HostFailure {
    let (address, settle) = (run.address(), run.journal.operation.options.settle().as_secs());
    let message = format!(
        "{address} keeps rebooting by itself: it did not stay up for {settle} s in time; look at its \
         console, then have it looked at again with `commctl host investigate {address}`"
    );
    HostFailure::new(FailureReason::NotSettled, message)
}

fn still_starting(address: &str, state: &str) -> HostFailure {
    let message = format!(
        "the system of {address} did not complete its start in time: systemd says {state}; see \
         `systemctl list-jobs` on it, then have it looked at again with `commctl host investigate {address}`"
    );
    HostFailure::new(FailureReason::NotSettled, message)
}

/// The units that have failed since the operation began with the host; with `strict_units` they fail the host.
fn newly_failed(run: &HostRun<'_>, failed: Vec<String>) -> Result<Vec<String>, HostFailure> {
    // Unknown if an older version has begun with the host.
    let Some(before) = run.part().failed_units_before else { return Ok(Vec::new()) };
    let new: Vec<_> = failed.into_iter().filter(|unit| !before.contains(unit)).collect();
    if new.is_empty() || run.journal.operation.options.strict_units != Some(true) {
        return Ok(new);
    }
    let (address, units) = (run.address(), new.join(", "));
    let message = format!(
        "units of {address} have failed that had not failed before: {units}; see `systemctl --failed` on \
         it, then have it looked at again with `commctl host investigate {address}`"
    );
    Err(HostFailure::new(FailureReason::UnitsFailed, message))
}
