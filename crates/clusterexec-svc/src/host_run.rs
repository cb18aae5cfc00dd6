//! One host of an operation, step by step: an upgrade or a deployment is applied, then the host is probed, rebooted,
//! verified, and settles. A host that is a node of a Kubernetes is cordoned and drained before, and afterwards it has to
//! be ready before it is uncordoned.
//!
//! A step that is saved may have taken effect. So an executor that continues at `reboot` asks the host itself: another
//! boot id than the one from before means that the host was restarted, and the command acts only in the old boot.

mod apply;
mod boot;
mod cordon;
mod done;
mod drain;
mod fence;
mod go_ahead;
mod health;
mod host;
mod late;
mod node;
mod playbook;
mod probe;
mod ready;
mod reboot;
mod report;
mod settle;
mod stage;
mod uncordon;
mod verify;
mod work;

use bus::Result;
use model::{Outcome, Step};

use crate::budget::Budget;
use crate::host_error::{HostError, HostFailure};
use crate::journal::{Journal, LogLine};
use crate::log_in::target_of;

use host::HostRun;
#[cfg(test)]
pub(crate) use late::done_late;
pub(crate) use late::{Returned, returned};

/// Works on the host at `index` until it is done, failed or skipped; with `resumed` from the step at which another
/// executor has left it.
///
/// # Errors
/// When the lease is lost.
pub(crate) async fn run(
    journal: &Journal<'_>,
    budget: &Budget<'_>,
    index: usize,
    resumed: bool,
) -> Result<()> {
    match steps(journal, budget, index, resumed).await {
        Ok(()) => Ok(()),
        Err(HostError::Internal(error)) => Err(error),
        Err(HostError::Skipped(reason)) => journal.skip(index, &reason).await,
        Err(HostError::Postponed(reason)) => journal.postpone(index, &reason).await,
        Err(HostError::Failed(failure)) => {
            let failure = unless_deleted(journal, index, failure).await?;
            journal.fail(index, &failure).await
        }
    }
}

/// The failure of a host; `deleted` if its record was deleted, which may have caused any other failure.
async fn unless_deleted(
    journal: &Journal<'_>,
    index: usize,
    failure: HostFailure,
) -> Result<HostFailure> {
    match journal.record_of(index).await {
        Err(HostError::Internal(error)) => Err(error),
        Err(HostError::Failed(deleted)) => Ok(deleted),
        _ => Ok(failure),
    }
}

async fn steps(
    journal: &Journal<'_>,
    budget: &Budget<'_>,
    index: usize,
    resumed: bool,
) -> Result<(), HostError> {
    if resumed {
        fence::until_reviewed(journal).await?;
        let step = journal.part(index).step;
        let lines = [LogLine(step, Outcome::Resumed, "another executor goes on")];
        journal.log(index, &lines).await?;
    }
    let target = target_of(journal, index).await?;
    let mut run = HostRun::new(journal, budget, index, target);
    if resumed && matches!(journal.part(index).step, Step::Cordon | Step::Drain) {
        fence::confirm(&run).await?;
    }
    loop {
        let applies = journal.operation.kind.facts().applies;
        match journal.part(index).step {
            Step::Probe if !applies => probe::probe(&mut run).await?,
            // Boxed, as the future is large.
            Step::Probe | Step::Apply => Box::pin(apply::apply(&mut run)).await?,
            Step::Cordon => cordon::cordon(&run).await?,
            Step::Drain => Box::pin(drain::drain(&mut run)).await?,
            Step::Reboot => reboot::reboot(&mut run).await?,
            Step::Settle if run.verified.is_some() => settle::settle(&mut run).await?,
            Step::Ready if run.verified.is_some() => ready::ready(&mut run).await?,
            // A host that reboots while it settles, or is taken over then, is verified again.
            Step::Verify | Step::Settle | Step::Ready => verify::verify(&mut run).await?,
            Step::Uncordon => uncordon::uncordon(&run).await?,
            // An operation with an unknown step is not taken over.
            Step::Pending | Step::Done | Step::Failed | Step::Skipped | Step::Unknown => {
                return Ok(());
            }
        }
    }
}
