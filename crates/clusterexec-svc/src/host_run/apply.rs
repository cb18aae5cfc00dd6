//! The step `apply`: the upgrade or deployment of a host, before it is restarted.

use std::time::Duration;

use bus::error::chain;
use host_access::{AccessError, PlaybookError, Session, Summary};
use model::{OperationHost, Outcome, RebootWhen, Step};
use tokio::time::Instant;

use super::go_ahead::{Late, Played, play_with_go_ahead, wait_for_turn};
use super::host::HostRun;
use super::node::enter_with_node;
use super::probe::probe;
use super::report;
use super::settle::save_failed_units;
use super::work::{self, Work};
use crate::control::enter;
use crate::host_error::{HostError, HostFailure};
use crate::journal::LogLine;
use crate::log_in::log_in;

/// Timeout of the facts of a host.
const FACTS_TIMEOUT: Duration = Duration::from_secs(20);

/// The least time that a playbook gets: after the host was unavailable, its result is read in any case.
const LEAST_TIMEOUT: Duration = Duration::from_mins(2);

/// The pause between attempts to log in to a host that was lost.
const LOG_IN_AGAIN: Duration = Duration::from_secs(2);

/// Applies the upgrade or the deployment. Then the host is probed for its reboot, or has nothing left but to be verified.
pub(super) async fn apply(run: &mut HostRun<'_>) -> Result<(), HostError> {
    let session = log_in(run.context(), &run.target).await?;
    let facts = session.facts(FACTS_TIMEOUT).await?;
    // A host that does not support it is left alone.
    Work::of(&run.journal.operation, &facts, run.address(), false)?;
    if run.part().step != Step::Apply {
        save_failed_units(run, session.as_ref()).await?;
        if run.part().step == Step::Probe && run.journal.nodes.is_some() {
            enter_with_node(run, session.as_ref(), &facts.boot_id, Step::Apply, "").await?;
            if run.part().step != Step::Apply {
                return Ok(());
            }
        }
    }
    if run.part().step != Step::Apply {
        let change = |host: &mut OperationHost| host.step = Step::Apply;
        let lines = [LogLine(Step::Apply, Outcome::Started, "")];
        enter(run.journal, run.index, change, &lines).await?;
    }
    let is_node = run.part().node.is_some();
    let work = Work::of(&run.journal.operation, &facts, run.address(), is_node)?;
    let summary = play_to_the_end(run, session, &work).await?;
    let result = report::result(&summary.data);
    let option = run.journal.operation.options.reboot;
    let reboots = reboots(facts.ostree, option, result.reboot_required);
    let change = |host: &mut OperationHost| host.result = Some(result.clone());
    let detail = result.to_string();
    run.save(change, &[LogLine(Step::Apply, Outcome::Ok, &detail)]).await?;
    if reboots {
        return probe(run).await;
    }
    let change = |host: &mut OperationHost| host.step = Step::Verify;
    Ok(run.save(change, &[LogLine(Step::Verify, Outcome::Started, "")]).await?)
}

/// Whether a host is restarted after an upgrade or a deployment. By default an OSTree host is if its tree requires that,
/// and a host with packages is not.
fn reboots(ostree: bool, option: Option<RebootWhen>, required: bool) -> bool {
    let default = if ostree { RebootWhen::IfNeeded } else { RebootWhen::Never };
    match option.unwrap_or(default) {
        RebootWhen::Never => false,
        RebootWhen::IfNeeded => required,
        RebootWhen::Always => true,
    }
}

/// Plays until the command has ended on the host, over as many connections as that takes.
async fn play_to_the_end(
    run: &mut HostRun<'_>,
    mut session: Box<dyn Session>,
    work: &Work,
) -> Result<Summary, HostError> {
    let mut deadline = Instant::now() + run.context().config.apply_timeout();
    let mut late = Late::default();
    loop {
        let left = deadline.saturating_duration_since(Instant::now()).max(LEAST_TIMEOUT);
        let Work { playbook, vars } = work;
        let error = match play_with_go_ahead(run, session.as_ref(), *playbook, vars, left).await? {
            Played::Ended(Ok(summary)) => return Ok(summary),
            Played::Ended(Err(error)) => error,
            // The command has not begun, so neither has its time.
            Played::NotYet(reason) => {
                late.count(&reason, run)?;
                wait_for_turn(run, reason).await?;
                deadline = Instant::now() + run.context().config.apply_timeout();
                if !session.is_alive().await {
                    session = log_in(run.context(), &run.target).await?;
                }
                continue;
            }
        };
        let is_lost = match &error {
            PlaybookError::Unreachable { .. } => true,
            PlaybookError::Access(error) => error.heals(),
            _ => false,
        };
        if !is_lost || Instant::now() >= deadline {
            return Err(work::failure(&run.journal.operation, run.address(), &error).into());
        }
        let detail = format!("{}; it goes on by itself, and is asked again", chain(&error));
        run.log(&[LogLine(Step::Apply, Outcome::Failed, &detail)]).await?;
        session = log_in_again(run).await.map_err(|error| lost(run, error))?;
    }
}

/// Logs in to a host that was lost, and which may be booting, for as long as a reboot may take.
async fn log_in_again(run: &HostRun<'_>) -> Result<Box<dyn Session>, AccessError> {
    let deadline = Instant::now() + run.context().config.verify_timeout();
    loop {
        match log_in(run.context(), &run.target).await {
            Ok(session) => return Ok(session),
            Err(error @ AccessError::KeyChanged { .. }) => return Err(error),
            // Refused log-ins included: while it boots, a host may refuse everyone.
            Err(error) if Instant::now() >= deadline => return Err(error),
            Err(_) => tokio::time::sleep(LOG_IN_AGAIN).await,
        }
    }
}

fn lost(run: &HostRun<'_>, error: AccessError) -> HostFailure {
    let operation = &run.journal.operation;
    let (address, unit, noun) = (run.address(), work::unit(operation), operation.kind.facts().noun);
    let message = format!(
        "{address} was lost in the middle of it: {}; it may go on there: look at its console, and at \
         `journalctl --unit {unit}` on it, before the {noun} is started again",
        chain(&error)
    );
    HostFailure { message, ..error.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_restarted_when_that_is_asked_for_or_its_tree_needs_it() {
        use RebootWhen::{Always, IfNeeded, Never};
        for (ostree, option, required, expected) in [
            (true, None, true, true),
            (true, None, false, false),
            (false, None, true, false),
            (false, None, false, false),
            (true, Some(Never), true, false),
            (false, Some(IfNeeded), true, true),
            (false, Some(IfNeeded), false, false),
            (false, Some(Always), false, true),
            (true, Some(Always), false, true),
        ] {
            assert_eq!(
                reboots(ostree, option, required),
                expected,
                "{ostree} {option:?} {required}"
            );
        }
    }
}
