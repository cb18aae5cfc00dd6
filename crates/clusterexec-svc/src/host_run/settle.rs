//! The step `settle`: a host that is back and healthy has to stay up for a while, with one boot id and the start of its
//! system complete. Meanwhile it keeps its place in the budget.

use std::time::Duration;

use host_access::{AccessError, Session, SystemState, Target};
use service_core::error::chain;
use service_core::model::{HostProgress, Outcome, Step};
use tokio::time::Instant;

use super::Trouble;
use super::reach::wait_until_up;
use crate::executor::{Execution, GiveUp, Line};

/// The pause between looks.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How settling has ended.
pub(super) enum Settled {
    /// The host has stayed up; the units that have failed since before the operation.
    Up(Vec<String>),
    /// It has rebooted: a sentence about it.
    Rebooted(String),
}

/// Writes down which units have failed before anything is done to the host.
pub(crate) async fn note_failed_units(
    execution: &Execution<'_>,
    index: usize,
    session: &dyn Session,
) -> Result<(), Trouble> {
    if !is_looked_at(execution) || execution.host(index).failed_units_before.is_some() {
        return Ok(());
    }
    let seen = session.system_state().await?;
    let change = |host: &mut HostProgress| {
        host.failed_units_before = Some(seen.failed_units.clone());
    };
    execution.save(index, change, &[]).await.map_err(Trouble::Ours)
}

/// Without a time to settle, hosts are looked at only where failed units count.
fn is_looked_at(execution: &Execution<'_>) -> bool {
    let options = &execution.operation.options;
    !options.settle().is_zero() || options.strict_units == Some(true)
}

/// Waits until the host has stayed up, in the boot `boot_id`, for as long as the operation says. A connection that is
/// lost without a reboot does not begin it again.
pub(super) async fn settle(
    execution: &Execution<'_>,
    index: usize,
    target: &Target,
    mut session: Option<Box<dyn Session>>,
    boot_id: &str,
) -> Result<Settled, Trouble> {
    if !is_looked_at(execution) {
        return Ok(Settled::Up(Vec::new()));
    }
    begin(execution, index, boot_id).await?;
    let up_by = Instant::now() + execution.operation.options.settle();
    let deadline = execution.moments.settle_end(index, execution.operation.options.settle());
    loop {
        let connected = match session.take() {
            Some(session) => session,
            None => wait_until_up(execution, index, target, |_| true).await?.0,
        };
        let seen = match connected.system_state().await {
            Ok(seen) => seen,
            // A host that goes down ends the command in the middle: its boot id says later whether it has.
            Err(error) if error.heals() || matches!(error, AccessError::Remote { .. }) => {
                if Instant::now() >= deadline {
                    return Err(unknown(&target.address, &error).into());
                }
                tokio::time::sleep(LOOK_AGAIN).await;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        session = Some(connected);
        if seen.boot_id != boot_id {
            return rebooted(execution, target, &seen, boot_id, deadline);
        }
        let starts = !seen.is_up();
        let now = Instant::now();
        if now >= up_by && !starts {
            return judge(execution, index, target, seen.failed_units);
        }
        if now >= deadline {
            let address = &target.address;
            let given_up =
                if starts { starting(address, &seen.state) } else { unsteady(execution, address) };
            return Err(given_up.into());
        }
        let left = up_by.saturating_duration_since(now);
        let pause = if left.is_zero() { LOOK_AGAIN } else { left.min(LOOK_AGAIN) };
        tokio::time::sleep(pause).await;
    }
}

/// Whether a host that came back by itself has settled already, by how long it has been up.
pub(super) async fn has_settled(
    execution: &Execution<'_>,
    index: usize,
    target: &Target,
    session: &dyn Session,
) -> Result<bool, Trouble> {
    if !is_looked_at(execution) {
        return Ok(true);
    }
    let seen = session.system_state().await?;
    if !seen.is_up() || seen.uptime < execution.operation.options.settle() {
        return Ok(false);
    }
    judge(execution, index, target, seen.failed_units).map(|_| true)
}

async fn begin(execution: &Execution<'_>, index: usize, boot_id: &str) -> Result<(), Trouble> {
    let change = |host: &mut HostProgress| host.step = Step::Settle;
    let lines = [Line(Step::Settle, Outcome::Started, &format!("boot id {boot_id}"))];
    execution.save(index, change, &lines).await.map_err(Trouble::Ours)
}

/// A host that lets log in, but does not say whether it is still in the same boot.
fn unknown(address: &str, error: &AccessError) -> GiveUp {
    let reason = format!(
        "{address} could not be asked in time whether it has stayed up: {}; look at its console, then have \
         it looked at again with `commctl host investigate {address}`",
        chain(error)
    );
    GiveUp::new("not-settled", reason)
}

/// It is verified again, as long as there is time.
fn rebooted(
    execution: &Execution<'_>,
    target: &Target,
    seen: &SystemState,
    before: &str,
    deadline: Instant,
) -> Result<Settled, Trouble> {
    let (address, after) = (&target.address, &seen.boot_id);
    if Instant::now() < deadline {
        return Ok(Settled::Rebooted(format!(
            "it has rebooted by itself: boot id {after} in place of {before}; it has to stay up again"
        )));
    }
    Err(unsteady(execution, address).into())
}

fn unsteady(execution: &Execution<'_>, address: &str) -> GiveUp {
    let settle = execution.operation.options.settle().as_secs();
    let reason = format!(
        "{address} keeps rebooting by itself: it did not stay up for {settle} s in time; look at its \
         console, then have it looked at again with `commctl host investigate {address}`"
    );
    GiveUp::new("not-settled", reason)
}

fn starting(address: &str, state: &str) -> GiveUp {
    let reason = format!(
        "the system of {address} did not complete its start in time: systemd says {state}; see \
         `systemctl list-jobs` on it, then have it looked at again with `commctl host investigate {address}`"
    );
    GiveUp::new("not-settled", reason)
}

/// The units that have failed since; a failure where the operation says so.
fn judge(
    execution: &Execution<'_>,
    index: usize,
    target: &Target,
    failed: Vec<String>,
) -> Result<Settled, Trouble> {
    // Not known of a host that an older version has begun with.
    let Some(before) = execution.host(index).failed_units_before else {
        return Ok(Settled::Up(Vec::new()));
    };
    let new: Vec<_> = failed.into_iter().filter(|unit| !before.contains(unit)).collect();
    if new.is_empty() || execution.operation.options.strict_units != Some(true) {
        return Ok(Settled::Up(new));
    }
    let (address, units) = (&target.address, new.join(", "));
    let reason = format!(
        "units of {address} have failed that had not failed before: {units}; see `systemctl --failed` on \
         it, then have it looked at again with `commctl host investigate {address}`"
    );
    Err(GiveUp::new("units-failed", reason).into())
}
