//! The claim of this installation to a host: nothing is done to a host that another generation has.

use host_access::{Claim, Refusal, Session};

use super::host::HostRun;
use crate::host_error::HostError;

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

/// The failure of a host that has refused the claim.
pub(super) async fn fenced(run: &HostRun<'_>, refusal: &Refusal) -> HostError {
    let fencing = &run.context().fencing;
    match run.journal.retry(|| fencing.explain(run.address(), refusal)).await {
        Ok(error) => error.into(),
        Err(error) => HostError::Internal(error),
    }
}
