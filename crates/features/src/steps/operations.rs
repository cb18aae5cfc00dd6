//! Hosts that are upgraded and checked, and how the reboots of a rollout follow each other.

use std::time::Duration;

use cucumber::{given, then, when};
use host_access::os::Os;
use serde_json::{Map, Value, json};

use super::addresses;
use crate::world::World;

fn set_result(world: &World, address: &str, result: &Value) {
    let result: Map<String, Value> = result.as_object().unwrap().clone();
    world.fleet.simulated().hosts.edit(address, |machine| machine.apply.result = Ok(result));
}

/// They run 41.1. A deployment or an upgrade stages the version, which they boot next.
#[given(
    regex = r"^the hosts? (\S+(?: to \S+)?) (?:is an OSTree host|are OSTree hosts) for which there is the version (\S+)$"
)]
fn ostree(world: &mut World, list: String, version: String) {
    let staged = json!({
        "commissaire_checksum_before": "aa", "commissaire_version_before": "41.1",
        "commissaire_checksum": "bb", "commissaire_version": version,
        "commissaire_reboot_required": true,
    });
    for address in addresses(&list) {
        set_result(world, &address, &staged);
        world.fleet.simulated().hosts.edit(&address, |machine| {
            (machine.facts.os, machine.facts.ostree) = (Os::Fedora, true);
        });
    }
}

#[given(regex = r"^the host (\S+) runs the version (\S+) already$")]
fn runs_version(world: &mut World, address: String, version: String) {
    let unchanged = json!({
        "commissaire_checksum_before": "bb", "commissaire_version_before": version,
        "commissaire_checksum": "bb", "commissaire_version": version,
        "commissaire_reboot_required": false,
    });
    set_result(world, &address, &unchanged);
}

#[given(regex = r"^the host (\S+) boots its former version again$")]
fn falls_back(world: &mut World, address: String) {
    world.fleet.simulated().hosts.edit(&address, |machine| machine.falls_back = true);
}

#[given(regex = r"^the upgrade of (\S+) takes effect with a reboot$")]
fn needs_reboot_for_upgrade(world: &mut World, address: String) {
    set_result(world, &address, &json!({"commissaire_reboot_required": true}));
}

#[given(regex = r"^another program holds the package lock of (\S+)$")]
fn package_lock(world: &mut World, address: String) {
    let holder = "the package lock is held by apt-get (pid 711)".to_owned();
    world.fleet.simulated().hosts.edit(&address, |machine| {
        machine.apply.waits = vec![holder];
        machine.apply.takes = Duration::from_mins(30);
    });
}

/// With any command as the health check.
#[given(
    regex = r"^the hosts? (\S+(?: to \S+)?) (fails? the health check|passes the health check again)$"
)]
#[when(
    regex = r"^the hosts? (\S+(?: to \S+)?) (fails? the health check|passes the health check again)$"
)]
fn health(world: &mut World, list: String, how: String) {
    for address in addresses(&list) {
        let status = i32::from(how.starts_with("fail"));
        world.fleet.simulated().hosts.edit(&address, |machine| machine.command_status = status);
    }
}

/// By itself, after the reboot that an operation has asked for.
#[given(regex = r"^the host (\S+) reboots once more (\d+) seconds after its boot$")]
fn reboots_again(world: &mut World, address: String, seconds: u64) {
    let after = Duration::from_secs(seconds);
    world.fleet.simulated().hosts.edit(&address, |machine| machine.reboots_again = Some(after));
}

/// The most that were.
#[then(regex = r"^(\d+) hosts were down at once$")]
fn down_at_once(world: &mut World, count: usize) {
    assert_eq!(world.fleet.most_down(), count);
}

/// Between each two commands to reboot that follow each other.
#[then(regex = r"^at least (\d+) (second|minute)s passed between two reboots$")]
fn pause_between_reboots(world: &mut World, count: u64, unit: String) {
    let least = Duration::from_secs(if unit == "minute" { count * 60 } else { count });
    let commands = world.fleet.simulated().hosts.commands();
    assert!(commands.len() > 1, "{commands:?}");
    for pair in commands.windows(2) {
        assert!(pair[1].at - pair[0].at >= least, "{commands:?}");
    }
}
