//! Reasons of hosts that are investigated and bootstrapped.

use std::io;
use std::time::Duration;

use host_access::os::OsReleaseError;
use host_access::playbook::CoreVersion;
use host_access::target::TargetError;
use host_access::{AccessError, FactsError, Playbook, PlaybookError, Target};

use model::{Host, HostState, Network, NetworkType, Status};
use serde_json::{Map, json};
use simulated_hosts::{LogIn, Machine};
use storage_client::Transaction;

use super::of;
use crate::reasons::{Stage, provokes};
use crate::scenario::address;

/// A key that no host has at the beginning.
const OTHER_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEE";

pub(super) const LOG_INS: &[&str] = &[
    "auth-refused",
    "bad-key",
    "controller-error",
    "disconnected",
    "host-key-changed",
    "invalid-target",
    "no-shell",
    "no-sudo",
    "timeout",
    "too-much-output",
    "unexpected-answer",
    "unreachable",
    "investigating",
];

/// Has hosts investigated that behave like this, one after the other.
async fn investigated(reasons: &[&str], flaws: &[fn(&mut Machine)]) -> Stage {
    let mut stage = Stage::start(flaws.len()).await;
    for (host, flaw) in flaws.iter().enumerate() {
        stage.edit(host, flaw);
        let address = address(host);
        let host = Host {
            address: address.clone().into(),
            status: Status::Investigating,
            ..Host::default()
        };
        let known: HostState = of(json!({"address": address, "bootstrap": "full"}));
        let again = Transaction::default().save(&host).unwrap().save(&known).unwrap();
        stage.storage.transact(&again).await.unwrap();
    }
    stage.until(reasons).await;
    stage
}

#[test]
fn log_ins() {
    let flaws: [fn(&mut Machine); 12] = [
        |host| host.log_in = LogIn::Refused,
        |host| {
            host.log_in_error = Some(|target| AccessError::BadKey {
                address: target.address.clone(),
                detail: "Load key: error in libcrypto".to_owned(),
            });
        },
        |host| {
            host.log_in_error = Some(|_| AccessError::Io {
                what: "run ssh".to_owned(),
                source: io::Error::from(io::ErrorKind::NotFound),
            });
        },
        |host| {
            host.log_in_error =
                Some(|target| AccessError::Disconnected { address: target.address.clone() });
        },
        |host| OTHER_KEY.clone_into(&mut host.host_key),
        |host| {
            host.log_in_error = Some(|_| AccessError::InvalidTarget(TargetError::Port));
        },
        |host| host.log_in_error = Some(no_shell),
        |host| host.log_in_error = Some(no_sudo),
        |host| {
            host.log_in_error = Some(|target| AccessError::Timeout {
                address: target.address.clone(),
                what: "the log-in",
                after: Duration::from_secs(10),
            });
        },
        |host| {
            host.log_in_error = Some(|target| AccessError::TooMuchOutput {
                address: target.address.clone(),
                limit: 1 << 20,
            });
        },
        |host| {
            host.log_in_error = Some(|target| AccessError::Remote {
                address: target.address.clone(),
                detail: "no boot id".to_owned(),
            });
        },
        |host| host.has_sshd = false,
    ];
    provokes("log-ins", LOG_INS, async || investigated(LOG_INS, &flaws).await);
}

fn no_shell(target: &Target) -> AccessError {
    let (address, user) = (target.address.clone(), target.user.clone());
    AccessError::NoShell { address, user, detail: "This account is not available.".to_owned() }
}

fn no_sudo(target: &Target) -> AccessError {
    let (address, user) = (target.address.clone(), target.user.clone());
    AccessError::NoSudo { address, user, detail: "sudo: a password is required".to_owned() }
}

pub(super) const FACTS: &[&str] = &["no-facts", "unknown-os"];

#[test]
fn facts() {
    let flaws: [fn(&mut Machine); 2] = [
        |host| {
            host.facts_error =
                Some(|address| FactsError::Missing { address: address.to_owned(), what: "memory" });
        },
        |host| {
            host.facts_error = Some(|address| FactsError::Os {
                address: address.to_owned(),
                problem: OsReleaseError::NoId,
            });
        },
    ];
    provokes("facts", FACTS, async || investigated(FACTS, &flaws).await);
}

pub(super) const PLAYBOOKS: &[&str] = &[
    "ansible-missing",
    "ansible-too-old",
    "bad-variable",
    "bootstrapping",
    "disk-full",
    "no-python",
    "out-of-memory",
    "playbook-broken",
    "playbook-failed",
    "python-too-old",
];

/// Sets the type of the network that the hosts are set up for.
async fn with_network(stage: &Stage, kind: NetworkType) {
    let options = json!({"address": "10.0.9.9:8080"}).as_object().unwrap().clone();
    let options = if kind == NetworkType::FlannelServer { options } else { Map::new() };
    let network = Network { name: Network::DEFAULT.to_owned(), kind, options };
    stage.storage.save(&network).await.unwrap();
}

/// Has all hosts of a stage investigated again.
async fn investigate(stage: &Stage, count: usize) {
    for host in 0..count {
        let path = format!("/host/{}/investigate", address(host));
        let known: HostState = of(json!({"address": address(host), "bootstrap": "full"}));
        stage.storage.save(&known).await.unwrap();
        stage.ask("POST", &path, json!({})).await;
    }
}

#[test]
fn playbooks() {
    let errors: [fn(Playbook) -> PlaybookError; 8] = [
        |_| PlaybookError::AnsibleMissing { detail: "no ansible-playbook in PATH".to_owned() },
        |_| PlaybookError::AnsibleTooOld {
            found: CoreVersion { major: 2, minor: 14 },
            needed: CoreVersion { major: 2, minor: 17 },
            python: (3, 13),
        },
        |_| PlaybookError::BadVariable { name: "evil".to_owned() },
        |playbook| PlaybookError::DiskFull {
            playbook,
            task: "install packages".to_owned(),
            message: "No space left on device".to_owned(),
        },
        |playbook| PlaybookError::OutOfMemory { playbook, limit: 512 },
        |playbook| PlaybookError::Broken {
            playbook,
            detail: "it ended without a result".to_owned(),
        },
        |playbook| PlaybookError::Failed {
            playbook,
            task: "install packages".to_owned(),
            message: "No package flannel".to_owned(),
        },
        |_| PlaybookError::PythonTooOld {
            found: CoreVersion { major: 2, minor: 18 },
            python: (3, 6),
        },
    ];
    provokes("playbooks", PLAYBOOKS, async || {
        let count = errors.len() + 1;
        let mut stage = Stage::start(count).await;
        with_network(&stage, NetworkType::FlannelServer).await;
        for (host, error) in errors.into_iter().enumerate() {
            stage.edit(host, |machine| machine.playbook_error = Some(error));
        }
        stage.edit(count - 1, |host| host.facts.python = None);
        investigate(&stage, count).await;
        stage.until(PLAYBOOKS).await;
        stage
    });
}

pub(super) const BOOTSTRAPS: &[&str] = &["bootstrap-impossible"];

#[test]
fn bootstraps() {
    provokes("bootstraps", BOOTSTRAPS, async || {
        let mut stage = Stage::start(1).await;
        with_network(&stage, NetworkType::FlannelEtcd).await;
        investigate(&stage, 1).await;
        stage.until(BOOTSTRAPS).await;
        stage
    });
}
