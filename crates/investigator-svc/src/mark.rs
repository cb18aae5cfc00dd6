//! The generation mark of a host: which installation works on it.

use std::time::Duration;

use host_access::{AccessError, Claim, ClaimMode, Fence, Refusal, Session};
use jiff::Timestamp;

use crate::context::Context;
use crate::investigation::{Obstacle, state_of};

/// The claim of this installation, and what the host has made of it.
#[derive(Debug)]
pub(crate) struct Marked {
    /// For the set-up.
    pub(crate) claim: Claim,
    /// Whether the host has the mark of this installation now.
    pub(crate) is_ours: bool,
}

/// Marks a host, or confirms its mark. That of a host which was registered without one replaces any that is older than its
/// registration. A host that is not to be taken over is left without one: it may be looked at.
///
/// # Errors
/// When another generation has the host, or it cannot be marked.
pub(crate) async fn mark(context: &Context, session: &dyn Session) -> Result<Marked, Obstacle> {
    let instance = context.fencing.instance().await?;
    let claim = context.fencing.claim(&instance).await?;
    let state = state_of(context, session.address()).await?;
    let registered = state.registered_at.timestamp().filter(|_| state.is_new_in(&instance));
    let mode = registered.and_then(|at| registered_ago(context.deps.clock.wall(), at));
    let mode = mode.unwrap_or(claim.mode);
    match session.claim(&Claim { mode, ..claim.clone() }).await? {
        None => Ok(Marked { claim, is_ours: true }),
        Some(Refusal { fence: Fence::NotTakenOver, .. }) => Ok(Marked { claim, is_ours: false }),
        Some(refusal) => Err(fenced(context, session, &refusal).await?.into()),
    }
}

/// The claim to a host that was registered at that time; `None` if that is in the future.
fn registered_ago(now: Timestamp, at: Timestamp) -> Option<ClaimMode> {
    let passed = Duration::try_from(now.duration_since(at)).ok()?;
    // Rounded up: a mark from the same second may be newer.
    Some(ClaimMode::Register(passed.as_secs() + 1))
}

/// The error for a host that has refused the claim.
pub(crate) async fn fenced(
    context: &Context,
    session: &dyn Session,
    refusal: &Refusal,
) -> Result<AccessError, bus::Error> {
    context.fencing.explain(session.address(), refusal).await
}
