//! What a check does on a host: a log-in and its boot id. Now and then it also confirms the generation mark of the host, or
//! finds out that another installation has the host.

use bus::Result;
use bus::error::chain;
use host_access::credentials::{pin, target};
use host_access::{AccessError, Claim, Deps, Fence, Refusal, Share};
use model::{FailureReason, HostCreds, HostState, Status};

use crate::context::Context;
use crate::decide::{Failure, Finding};

/// What was seen on a host.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) finding: Finding,
    /// Whether its key is pinned with this.
    pub(crate) pinned: bool,
    /// The generation whose mark it was found with; `None` if that was not looked at, or is not ours.
    pub(crate) generation: Option<u64>,
}

/// Looks at a host.
///
/// # Errors
/// The outer one when the storage service fails, the inner one when the host cannot be reached.
pub(crate) async fn look(
    context: &Context,
    creds: &mut HostCreds,
    status: Status,
    state: &HostState,
) -> Result<Result<Seen, AccessError>> {
    let now = context.time.now().line;
    let is_fenced = status == Status::Failed && state.reason == HostState::FENCED;
    if !is_fenced && !context.roster().is_claim_due(&creds.address, now) {
        return Ok(probe(context, creds).await);
    }
    let instance = context.fencing.instance().await?;
    let claim = match context.fencing.claim(&instance).await {
        Ok(claim) => claim,
        // A fault of this machine says nothing about the host.
        Err(error) if !is_fenced => {
            tracing::error!(error = chain(&error), "generation marks are not confirmed");
            context.roster().has_claimed(&creds.address, now);
            return Ok(probe(context, creds).await);
        }
        Err(error) => return Ok(Err(error)),
    };
    let (boot_id, pinned, claimed) = match claimed(context, creds, &claim).await {
        Ok(claimed) => claimed,
        Err(error) => return Ok(Err(error)),
    };
    context.roster().has_claimed(&creds.address, now);
    let well = Finding::Well(boot_id);
    let (finding, generation) = match claimed {
        Ok(None) => (well, Some(instance.generation)),
        // Until this installation takes its hosts over, it only watches them.
        Ok(Some(Refusal { fence: Fence::NotTakenOver, .. })) if !is_fenced => (well, None),
        Ok(Some(refusal)) => {
            let error = context.fencing.explain(&creds.address, &refusal).await?;
            let reason = FailureReason::Fenced.word();
            let failure = Failure { reason, detail: chain(&error), seen_key: String::new() };
            (Finding::Failed(failure), None)
        }
        Err(error) if is_fenced => return Ok(Err(error)),
        // Everything else that a check asks for is well.
        Err(error) => {
            let (address, error) = (creds.address.as_str(), chain(&error));
            tracing::info!(host.address = address, error, "the generation mark was not confirmed");
            (well, None)
        }
    };
    Ok(Ok(Seen { finding, pinned, generation }))
}

/// A log-in and the boot id, over a connection that does not stay.
async fn probe(context: &Context, creds: &mut HostCreds) -> Result<Seen, AccessError> {
    let Deps { hosts, ledger, own_key, .. } = &context.deps;
    let target = target(creds, own_key)?;
    let log_in = hosts.probe(&target, context.config.connect_timeout.0);
    let seen = ledger.log_in(&creds.address, Share::Check, log_in).await?;
    let pinned = pin(creds, &seen.host_keys);
    Ok(Seen { finding: Finding::Well(seen.boot_id), pinned, generation: None })
}

/// The boot id, whether the host's key is pinned with this, and what the host says to the claim.
type Claimed = (String, bool, Result<Option<Refusal>, AccessError>);

async fn claimed(
    context: &Context,
    creds: &mut HostCreds,
    claim: &Claim,
) -> Result<Claimed, AccessError> {
    let Deps { hosts, ledger, own_key, .. } = &context.deps;
    let target = target(creds, own_key)?;
    let log_in = hosts.connect(&target, context.config.connect_timeout.0);
    let session = ledger.log_in(&creds.address, Share::Check, log_in).await?;
    let boot_id = session.boot_id().await?;
    let claimed = session.claim(claim).await;
    let pinned = pin(creds, session.host_keys());
    session.close().await;
    Ok((boot_id, pinned, claimed))
}
