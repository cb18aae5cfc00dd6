//! The playbooks of upgrades and deployments, and messages about them. Pure.
//!
//! These playbooks never reboot: a reboot is a step of the executor, guarded by the boot id. Their commands run on the
//! host as a systemd unit with a name of the operation and the step. The unit continues when the connection is lost or
//! this process ends; the next run of the playbook waits for it and gets its result.

use bus::error::chain;
use host_access::os::packages;
use host_access::{Facts, Playbook, PlaybookError};
use model::{FailureReason, Operation, OperationKind, Step};
use serde_json::{Map, Value, json};

use crate::host_error::HostFailure;

/// A playbook with its variables.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) playbook: Playbook,
    pub(super) vars: Map<String, Value>,
}

impl Work {
    /// The upgrade or deployment of a host with these facts; that of a node leaves the packages of Kubernetes alone.
    ///
    /// # Errors
    /// When such a host does not support it.
    pub(super) fn of(
        operation: &Operation,
        facts: &Facts,
        address: &str,
        is_node: bool,
    ) -> Result<Self, HostFailure> {
        if operation.kind == OperationKind::Upgrade {
            let commands = facts.os.commands(&facts.version, facts.ostree);
            let excludes = is_node && !operation.options.upgrades_kubernetes();
            let upgrade = packages::upgrade(facts.os, &commands, excludes);
            let vars = [
                // Without a command of its own, the refresh of the package lists is part of the upgrade.
                ("commissaire_refresh_command", commands.refresh.unwrap_or("true")),
                ("commissaire_upgrade_command", upgrade.as_str()),
                ("commissaire_recover_command", commands.recover.unwrap_or_default()),
            ];
            return Ok(Self::new(Playbook::Upgrade, operation, &vars));
        }
        if !facts.ostree {
            let message = format!(
                "{address} is no OSTree host: a version can be deployed on those only, and nothing was done to it"
            );
            return Err(HostFailure::new(FailureReason::NotOstree, message));
        }
        Ok(Self::deployment(operation))
    }

    /// The check after the reboot that the host has booted the tree with this checksum; `None` for a restart.
    pub(super) fn check(operation: &Operation, checksum: &str) -> Option<Self> {
        match operation.kind {
            OperationKind::Restart | OperationKind::Drain => None,
            OperationKind::Upgrade => {
                let expected = ("commissaire_expected_checksum", checksum);
                Some(Self::new(Playbook::Upgrade, operation, &[expected]))
            }
            OperationKind::Deploy => Some(Self::deployment(operation)),
        }
    }

    fn deployment(operation: &Operation) -> Self {
        let vars = [("commissaire_deploy_version", operation.version.as_str())];
        Self::new(Playbook::Deploy, operation, &vars)
    }

    fn new(playbook: Playbook, operation: &Operation, own: &[(&str, &str)]) -> Self {
        let unit = unit(operation);
        let shared = [("commissaire_reboot", "never"), ("commissaire_unit", unit.as_str())];
        let vars = own.iter().chain(&shared);
        let vars = vars.map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        Self { playbook, vars }
    }
}

/// The name of the unit that runs on each host of an operation.
pub(super) fn unit(operation: &Operation) -> String {
    format!("commissaire-{}-{}", operation.id, Step::Apply)
}

/// The failure of a playbook, with what to do next.
pub(super) fn failure(operation: &Operation, address: &str, error: &PlaybookError) -> HostFailure {
    let (unit, noun) = (unit(operation), operation.kind.facts().noun);
    let next = match error {
        PlaybookError::Failed { .. }
        | PlaybookError::NoSudo { .. }
        | PlaybookError::DiskFull { .. } => {
            format!("; once the cause is gone, start the {noun} again")
        }
        PlaybookError::Timeout { .. } => format!(
            "; it goes on there: look at it with `systemctl status {unit}` on the host, and start the {noun} \
             again when it has ended"
        ),
        _ => String::new(),
    };
    let message = format!("the {noun} of {address} failed: {}{next}", chain(error));
    HostFailure::new(error.reason(), message)
}
