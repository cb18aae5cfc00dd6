//! Before the node of a host is cordoned for an upgrade: the packages are downloaded, and a host on which there is nothing to
//! upgrade is found out.

use host_access::os::packages;
use host_access::{AccessError, Facts, Session};
use model::{FailureReason, OperationKind, RebootWhen};

use super::host::HostRun;
use crate::host_error::{HostError, HostFailure};

/// Limit of the output of a host in a message, in characters.
const OUTPUT: usize = 400;

/// Downloads what the upgrade of the host installs.
///
/// # Errors
/// The host is skipped if there is nothing to upgrade, and it is not rebooted in any case; it has failed if the download has.
pub(super) async fn stage(
    run: &HostRun<'_>,
    session: &dyn Session,
    facts: &Facts,
) -> Result<(), HostError> {
    let operation = &run.journal.operation;
    if operation.kind != OperationKind::Upgrade {
        return Ok(());
    }
    let commands = facts.os.commands(&facts.version, facts.ostree);
    let excludes = !operation.options.upgrades_kubernetes();
    let script = packages::stage(facts.os, &commands, facts.ostree, excludes);
    let timeout = run.context().config.apply_timeout();
    let output = match session.run_privileged(&script, timeout).await {
        Ok(output) => output,
        // The upgrade itself continues over several connections; without a download it takes longer on the drained node.
        Err(error) if error.heals() || matches!(error, AccessError::TooMuchOutput { .. }) => {
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    if output.stdout.trim() == packages::NOTHING {
        if operation.options.reboot == Some(RebootWhen::Always) {
            return Ok(());
        }
        return Err(HostError::Skipped("there is nothing to upgrade".to_owned()));
    }
    if output.status == 0 {
        return Ok(());
    }
    let said: String = output.stderr.trim().chars().take(OUTPUT).collect();
    let message = format!(
        "the packages of {} could not be downloaded (exit status {}): {said}; nothing was done to it: once the cause is \
         gone, start the upgrade again",
        run.address(),
        output.status
    );
    Err(HostFailure::new(FailureReason::PlaybookFailed, message).into())
}
