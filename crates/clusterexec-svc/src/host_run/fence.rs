//! The claim of this installation to a host: nothing is done to a host that another generation has.

use bus::error::chain;
use host_access::{Claim, Refusal, Session};
use model::{OperationControl, Wanted};
use tokio::time::sleep;

use super::host::HostRun;
use crate::control::CHECK_AGAIN;
use crate::host_error::HostError;
use crate::journal::Journal;
use crate::log_in::log_in_once;

/// The claim as of at most two seconds ago.
pub(super) async fn claim(run: &HostRun<'_>) -> Result<Claim, HostError> {
    let fencing = &run.context().fencing;
    let instance = run.journal.retry(|| fencing.instance()).await?;
    Ok(fencing.claim(&instance).await?)
}

/// Marks the host, or confirms its mark, before anything is done that it does not compare itself, such as the drain of its
/// node.
///
/// # Errors
/// The host has failed if it refuses the claim.
pub(super) async fn claim_host(run: &HostRun<'_>, session: &dyn Session) -> Result<(), HostError> {
    match session.claim(&claim(run).await?).await? {
        None => Ok(()),
        Some(refusal) => Err(fenced(run, &refusal).await),
    }
}

/// The same over a connection of its own, for work on the node of the host that goes on for long, or goes on later. While the
/// host does not answer, no other installation can have reached it either.
///
/// # Errors
/// The host has failed if it refuses the claim.
pub(super) async fn confirm(run: &HostRun<'_>) -> Result<(), HostError> {
    let claim = claim(run).await?;
    let claimed = async {
        let (session, _) = log_in_once(run.context(), &run.target).await?;
        let claimed = session.claim(&claim).await;
        session.close().await;
        claimed
    };
    match claimed.await {
        Ok(None) => Ok(()),
        Ok(Some(refusal)) => Err(fenced(run, &refusal).await),
        Err(error) => {
            tracing::debug!(host.address = run.address(), error = chain(&error), "not confirmed");
            Ok(())
        }
    }
}

/// Waits while this operation is from before a restore from a backup and an operator has not reviewed it: until this
/// installation has taken its hosts over, and the operation is resumed or aborted. The former installation may have gone on
/// with the host, so that even the cordon of its node would be wrong.
///
/// # Errors
/// When the storage service fails.
pub(super) async fn until_reviewed(journal: &Journal<'_>) -> Result<(), HostError> {
    let (context, operation) = (journal.context, &journal.operation);
    loop {
        let instance = journal.retry(|| context.fencing.instance()).await?;
        let Some(restored) = instance.restored else { return Ok(()) };
        // By the clock of the machine that has restored it, and by that of the one that took the backup.
        if *operation.started_at > *restored.at && *operation.started_at > *restored.taken_at {
            return Ok(());
        }
        let control = journal.retry(|| context.storage.find::<OperationControl>(&operation.id));
        let is_paused = control.await?.is_some_and(|control| {
            control.record.wanted == Wanted::Pause
                && control.record.by == OperationControl::BY_RESTORE
        });
        if restored.takes_over && !is_paused {
            return Ok(());
        }
        sleep(CHECK_AGAIN).await;
    }
}

/// The failure of a host that has refused the claim.
pub(super) async fn fenced(run: &HostRun<'_>, refusal: &Refusal) -> HostError {
    let fencing = &run.context().fencing;
    match run.journal.retry(|| fencing.explain(run.address(), refusal)).await {
        Ok(error) => error.into(),
        Err(error) => HostError::Internal(error),
    }
}
