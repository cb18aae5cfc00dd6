//! Before the node of a host is cordoned for an upgrade or a deployment: what it installs is downloaded, and a host on which
//! there is nothing to do is found out.

use std::time::Duration;

use host_access::os::packages;
use host_access::{AccessError, Facts, Session};
use model::{FailureReason, OperationKind, RebootWhen};
use serde_json::Value;

use super::host::HostRun;
use crate::host_error::{HostError, HostFailure};

/// Limit of the output of a host in a message, in characters.
const OUTPUT: usize = 400;

/// Timeout of the state of an OSTree host.
const STATUS_TIMEOUT: Duration = Duration::from_mins(1);

/// Downloads what the operation installs on the host.
///
/// # Errors
/// The host is skipped if there is nothing to do, and it is not rebooted in any case; it has failed if the download has.
pub(super) async fn stage(
    run: &HostRun<'_>,
    session: &dyn Session,
    facts: &Facts,
) -> Result<(), HostError> {
    let operation = &run.journal.operation;
    let version = &operation.version;
    let reboots_always = operation.options.reboot == Some(RebootWhen::Always);
    let script = match operation.kind {
        OperationKind::Upgrade => {
            let commands = facts.os.commands(&facts.version, facts.ostree);
            let excludes = !operation.options.upgrades_kubernetes();
            packages::stage(facts.os, &commands, facts.ostree, excludes)
        }
        // On other hosts the deployment fails with the reason.
        OperationKind::Deploy if facts.ostree => {
            let status = session.run_privileged(packages::OSTREE_STATUS, STATUS_TIMEOUT).await;
            let is_booted = status.is_ok_and(|status| is_booted(&status.stdout, version));
            if is_booted && !reboots_always {
                return Err(HostError::Skipped(format!("{version} is booted already")));
            }
            packages::stage_version(version)
        }
        _ => return Ok(()),
    };
    let timeout = run.context().config.apply_timeout();
    let output = match session.run_privileged(&script, timeout).await {
        Ok(output) => output,
        // The operation itself continues over several connections; without a download it takes longer on the drained node.
        Err(error) if error.heals() || matches!(error, AccessError::TooMuchOutput { .. }) => {
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    if output.stdout.trim() == packages::NOTHING {
        if reboots_always {
            return Ok(());
        }
        return Err(HostError::Skipped("there is nothing to upgrade".to_owned()));
    }
    if output.status == 0 {
        return Ok(());
    }
    let said: String = output.stderr.trim().chars().take(OUTPUT).collect();
    let noun = operation.kind.facts().noun;
    let message = format!(
        "what the {noun} installs on {} could not be downloaded (exit status {}): {said}; nothing was done to it: once the \
         cause is gone, start the {noun} again",
        run.address(),
        output.status
    );
    Err(HostFailure::new(FailureReason::PlaybookFailed, message).into())
}

/// Whether a version is booted on an OSTree host, and stays so with the next reboot.
fn is_booted(status: &str, version: &str) -> bool {
    let status: Value = serde_json::from_str(status).unwrap_or_default();
    let next = &status["deployments"][0];
    next["booted"] == true && (next["version"] == version || next["checksum"] == version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_booted_if_the_next_boot_takes_it_too() {
        let deployment = |version: &str, booted: bool| {
            format!(r#"{{"version":"{version}","checksum":"c{version}","booted":{booted}}}"#)
        };
        let status =
            |deployments: &[String]| format!(r#"{{"deployments":[{}]}}"#, deployments.join(","));
        let plain = status(&[deployment("41", true), deployment("40", false)]);
        assert!(is_booted(&plain, "41") && is_booted(&plain, "c41") && !is_booted(&plain, "40"));
        let staged = status(&[deployment("42", false), deployment("41", true)]);
        assert!(!is_booted(&staged, "41") && !is_booted(&staged, "42"));
        assert!(!is_booted("no JSON", "41"));
    }
}
