//! Defects of hosts, and their repair.

use cucumber::{given, when};
use host_access::os::OsReleaseError;
use host_access::{AccessError, FactsError, PlaybookError};
use simulated_hosts::LogIn;

use super::addresses;
use crate::world::World;

/// Rejected connections are the answer of an `sshd` with `MaxStartups` or a penalty; refused log-ins are another sentence.
#[given(regex = r"^the host (\S+) (rejects connections|accepts connections again)$")]
#[when(regex = r"^the host (\S+) (rejects connections|accepts connections again)$")]
fn connections(world: &mut World, address: String, how: String) {
    world.fleet.simulated().hosts.edit(&address, |machine| {
        machine.log_in =
            if how == "rejects connections" { LogIn::Throttled } else { LogIn::Accepted };
    });
}

/// Defects that an operator has to repair.
#[given(
    regex = r"^the hosts? (\S+(?: to \S+)?) (does not let its user become root|names? no distribution|has no Python)$"
)]
fn defect(world: &mut World, list: String, what: String) {
    for address in addresses(&list) {
        world.fleet.simulated().hosts.edit(&address, |machine| match what.as_str() {
            "does not let its user become root" => {
                machine.log_in_error = Some(|target| AccessError::NoSudo {
                    address: target.address.clone(),
                    user: target.user.clone(),
                    detail: "sudo: a password is required".to_owned(),
                });
            }
            "has no Python" => machine.playbook_error = Some(|_| PlaybookError::NoPython),
            _ => {
                machine.facts_error = Some(|address| FactsError::Os {
                    address: address.to_owned(),
                    problem: OsReleaseError::NoId,
                });
            }
        });
    }
}

/// Removes all of these defects.
#[given(regex = r"^the hosts? (\S+(?: to \S+)?) (?:is|are) repaired$")]
#[when(regex = r"^the hosts? (\S+(?: to \S+)?) (?:is|are) repaired$")]
fn repaired(world: &mut World, list: String) {
    for address in addresses(&list) {
        world.fleet.simulated().hosts.edit(&address, |machine| {
            machine.log_in_error = None;
            machine.facts_error = None;
            machine.playbook_error = None;
        });
    }
}
