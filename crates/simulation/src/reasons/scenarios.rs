//! The scenarios.

use std::io;
use std::time::Duration;

use host_access::os::OsReleaseError;
use host_access::playbook::CoreVersion;
use host_access::target::TargetError;
use host_access::{AccessError, FactsError, Os, Playbook, PlaybookError, Target};
use model::{Cluster, ClusterChange, ClusterHead, Host, HostState, Network, NetworkType, Status};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use simulated_hosts::{Apply, LogIn, Machine};
use storage_client::Transaction;
use tokio::time::sleep;

use super::{Stage, provokes};
use crate::scenario::{Service, address};

/// The scenarios with the reasons that they provoke.
pub(super) const PROVOKED: &[(&str, &[&str])] = &[
    ("log-ins", LOG_INS),
    ("facts", FACTS),
    ("playbooks", PLAYBOOKS),
    ("bootstraps", BOOTSTRAPS),
    ("restarts", RESTARTS),
    ("waiting-alone", WAITING),
    ("done-hosts", LOST),
    ("deployments", DEPLOYMENTS),
    ("upgrades", UPGRADES),
    ("rollout", ROLLOUT),
    ("operators", OPERATORS),
    ("budget", BUDGET),
    ("shrinking-cluster", SHRINKING),
    ("alarms", ALARMS),
    ("members", MEMBERS),
    ("refusals", REFUSALS),
    ("services", SERVICES),
    ("outages", OUTAGES),
];

/// Reasons that these services, hosts and stores cannot have, and where they are shown.
pub(super) const ELSEWHERE: &[(&str, &str)] = &[
    ("internal", "a defect of Commissaire"),
    (
        "broker-away",
        "model explain::tests::installation_is_explained_by_the_worst_and_names_the_rest",
    ),
    ("store-away", "the same test, and http-gateway health.rs"),
    ("store-read-only", "the same test, and http-gateway health.rs"),
    ("audit-log-failed", "the same test"),
    ("no-usable-user", "the same test"),
    ("container-manager-refuses", "http-gateway nodes.rs and investigator-svc registration.rs"),
    ("container-manager-unavailable", "the same files"),
    ("node-unknown", "clusterexec-svc identity.rs and node_plan.rs"),
    ("node-ambiguous", "the same files"),
    ("node-is-another-machine", "the same files"),
    ("node-not-ready", "clusterexec-svc nodes.rs, in the whole system but the gateway"),
    ("kubernetes-denied", "the same file"),
    ("drain-timeout", "the same file"),
    ("pods-block", "the same file"),
    ("kubernetes-unavailable", "the same file"),
    ("quorum-too-small", "the same file"),
    ("drain-paused", "the same file"),
    ("node-budget", "the same file"),
    ("control-plane", "clusterexec-svc node_budget.rs"),
    ("quorum-group", "clusterexec-svc nodes.rs"),
    ("nodes-unknown", "the same file"),
    ("postponed", "the same file"),
    ("cordoning", "the same file"),
    ("draining", "the same file"),
    ("drain-blocked", "the same file"),
    ("kubernetes-away", "the same file"),
    ("node-returning", "the same file"),
    ("uncordoning", "the same file"),
    ("workloads-returning", "the same file"),
    (
        "node-cordoned",
        "model explain::tests::installation_is_explained_by_the_worst_and_names_the_rest",
    ),
];

/// A key that no host has at the beginning.
const OTHER_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEE";

const LOG_INS: &[&str] = &[
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

/// A record of these members.
fn of<T: DeserializeOwned>(members: Value) -> T {
    serde_json::from_value(members).unwrap()
}

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

const FACTS: &[&str] = &["no-facts", "unknown-os"];

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

const PLAYBOOKS: &[&str] = &[
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

const BOOTSTRAPS: &[&str] = &["bootstrap-impossible"];

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

const RESTARTS: &[&str] = &[
    "deleted",
    "go-ahead-late",
    "go-ahead-missed",
    "health-check",
    "hosts-failed",
    "not-back",
    "not-restarted",
    "not-settled",
    "throttled",
    "unhealthy",
    "units-failed",
];

/// All hosts at once, also when some of them fail.
fn at_once() -> Value {
    json!({"max_unavailable": "100%", "max_failures": 100, "strict_units": true})
}

#[test]
fn restarts() {
    provokes("restarts", RESTARTS, async || {
        let mut stage = Stage::start(9).await;
        stage.edit(8, |host| host.log_in = LogIn::Throttled);
        stage.edit(1, |host| host.boot = None);
        stage.edit(2, |host| host.ignores_commands = true);
        stage.edit(3, |host| host.start = Duration::from_hours(9));
        stage.edit(4, |host| host.go_ahead_delay = Duration::from_hours(1));
        stage.edit(5, |host| host.command_status = 1);
        let mut options = at_once();
        options["health_command"] = json!("systemctl is-active web");
        stage.start_operation("restart", options).await;
        stage.at_step(6, "verify").await;
        stage.edit(6, |host| host.failed_units = vec!["web.service".to_owned()]);
        stage.storage.delete::<Host>(&address(7)).await.unwrap();
        stage.until(RESTARTS).await;
        stage
    });
}

const WAITING: &[&str] = &["hosts-wait"];

#[test]
fn host_that_waits_alone() {
    provokes("waiting-alone", WAITING, async || {
        let mut stage = Stage::start(1).await;
        stage.edit(0, |host| host.go_ahead_delay = Duration::from_mins(5));
        stage.start_operation("restart", json!({})).await;
        stage.until_every(Duration::from_millis(200), WAITING).await;
        stage
    });
}

const LOST: &[&str] = &["lost-after", "unexpected-reboot"];

#[test]
fn done_hosts() {
    provokes("done-hosts", LOST, async || {
        let mut stage = Stage::start(3).await;
        stage.start_operation("restart", json!({})).await;
        stage.at_step(1, "verify").await;
        stage.hosts.reboot(&address(0));
        stage.until(&["unexpected-reboot"]).await;
        stage.control("resume").await;
        stage.at_step(2, "settle").await;
        stage.hosts.power_off(&address(0));
        stage.until(LOST).await;
        stage
    });
}

const DEPLOYMENTS: &[&str] = &["not-booted", "not-ostree"];

#[test]
fn deployments() {
    provokes("deployments", DEPLOYMENTS, async || {
        let mut stage = Stage::start(3).await;
        let staged = json!({
            "commissaire_checksum_before": "aa", "commissaire_version_before": "41.1",
            "commissaire_checksum": "bb", "commissaire_version": "42.1",
            "commissaire_reboot_required": true,
        });
        for host in [0, 1] {
            stage.edit(host, |host| {
                (host.facts.os, host.facts.ostree) = (Os::Fedora, true);
                host.apply.result = Ok(staged.as_object().unwrap().clone());
            });
        }
        stage.edit(1, |host| host.falls_back = true);
        let mut options = at_once();
        options["version"] = json!("42.1");
        stage.start_operation("deploy", options).await;
        stage.until(DEPLOYMENTS).await;
        stage
    });
}

const UPGRADES: &[&str] = &["applying", "package-lock"];

#[test]
fn upgrades() {
    provokes("upgrades", UPGRADES, async || {
        let mut stage = Stage::start(2).await;
        let waits = vec!["the package lock is held by apt-get (pid 711)".to_owned()];
        let (takes, result) = (Duration::from_mins(2), Ok(Map::new()));
        stage.edit(1, |host| host.apply = Apply { takes, result, waits });
        stage.start_operation("upgrade", json!({})).await;
        stage.until(UPGRADES).await;
        stage
    });
}

const ROLLOUT: &[&str] =
    &["probing", "rebooting", "returning", "settling", "soak", "turn", "under-way"];

#[test]
fn rollout() {
    provokes("rollout", ROLLOUT, async || {
        let mut stage = Stage::start(3).await;
        stage.start_operation("restart", json!({"soak": 60})).await;
        stage.until_every(Duration::from_millis(20), &["probing"]).await;
        stage.until(ROLLOUT).await;
        stage
    });
}

const OPERATORS: &[&str] = &["aborted", "aborting", "all-frozen", "frozen", "gate", "paused"];

#[test]
fn operators() {
    provokes("operators", OPERATORS, async || {
        let mut stage = Stage::start(2).await;
        stage.edit(0, |host| host.play_start = Duration::from_secs(30));
        stage.start_operation("restart", json!({})).await;
        stage.at_step(0, "reboot").await;
        stage.control("pause").await;
        stage.until(&["gate", "paused"]).await;
        stage.control("resume").await;
        stage.ask("PUT", "/freeze", json!({"reason": "floods"})).await;
        stage.until(&["all-frozen", "frozen"]).await;
        stage.ask("DELETE", "/freeze", json!({})).await;
        stage.control("abort").await;
        stage.until_every(Duration::from_millis(100), &["aborting", "aborted"]).await;
        stage
    });
}

const BUDGET: &[&str] = &["budget", "budget-timeout", "host-budget"];

#[test]
fn budget() {
    provokes("budget", BUDGET, async || {
        let mut stage = Stage::start(3).await;
        stage.start_operation("restart", json!({})).await;
        stage.at_step(1, "reboot").await;
        stage.hosts.power_off(&address(2));
        stage.until(&["host-budget"]).await;
        stage.hosts.power_on(&address(2));
        stage.at_step(1, "settle").await;
        stage.hosts.power_off(&address(0));
        stage.until(BUDGET).await;
        stage
    });
}

const SHRINKING: &[&str] = &["others-under-way"];

#[test]
fn shrinking_cluster() {
    provokes("shrinking-cluster", SHRINKING, async || {
        let mut stage = Stage::start(4).await;
        stage.edit(2, |host| host.play_start = Duration::from_secs(30));
        let options =
            json!({"max_unavailable": "50%", "hosts": [address(0), address(1), address(2)]});
        stage.start_operation("restart", options).await;
        stage.at_step(2, "reboot").await;
        stage.ask("DELETE", &format!("/cluster/web/hosts/{}", address(3)), json!({})).await;
        stage.until_every(Duration::from_millis(200), SHRINKING).await;
        stage
    });
}

const ALARMS: &[&str] =
    &["alarm", "alarm-raised", "alarm-timeout", "checks-failing", "status-held"];

#[test]
fn alarms() {
    provokes("alarms", ALARMS, async || {
        let mut stage = Stage::start(10).await;
        sleep(Duration::from_mins(3)).await;
        stage.start_operation("restart", json!({"max_unavailable": "90%"})).await;
        for host in 6..10 {
            stage.hosts.power_off(&address(host));
        }
        stage.until(ALARMS).await;
        stage
    });
}

const MEMBERS: &[&str] = &["deleting", "empty", "members-changing", "members-failed"];

#[test]
fn members() {
    provokes("members", MEMBERS, async || {
        let mut stage = Stage::start(2).await;
        stage.hosts.power_off(&address(0));
        stage.until(&["members-failed"]).await;
        // The job that carries a change out looks for it only now and then.
        let head = stage.storage.get::<ClusterHead>("web").await.unwrap().record;
        for change in
            [ClusterChange::Changing { hostset: vec![address(1).into()] }, ClusterChange::Deleting]
        {
            let change = Some(change);
            stage.storage.save(&ClusterHead { change, ..head.clone() }).await.unwrap();
            stage.look().await;
        }
        let cluster = Cluster::new(head, Vec::new());
        stage.storage.save(&cluster).await.unwrap();
        stage.until(MEMBERS).await;
        stage
    });
}

const REFUSALS: &[&str] = &[
    "budget-used-up",
    "cluster-is-changing",
    "controller-is-member",
    "in-process",
    "none-reachable",
];

/// Notes why a restart would be refused.
async fn refused(stage: &mut Stage, options: Value) {
    let mut options = options;
    options["dry_run"] = json!(true);
    let plan = stage.ask("PUT", "/cluster/web/restart", options).await;
    stage.note(&json!({"reason": plan["reason"], "sentence": plan["refused"]}));
}

#[test]
fn refusals() {
    provokes("refusals", REFUSALS, async || {
        let mut stage = Stage::start(2).await;
        let own: HostState =
            of(json!({"address": address(0), "boot_id": crate::processes::OWN_BOOT_ID}));
        stage.storage.save(&own).await.unwrap();
        refused(&mut stage, json!({})).await;
        let other = HostState { boot_id: String::new(), ..own };
        stage.storage.save(&other).await.unwrap();
        let head = stage.storage.get::<ClusterHead>("web").await.unwrap().record;
        let change = Some(ClusterChange::Deleting);
        stage.storage.save(&ClusterHead { change, ..head.clone() }).await.unwrap();
        refused(&mut stage, json!({})).await;
        stage.storage.save(&head).await.unwrap();
        stage.ask("PUT", "/cluster/web/restart", json!({})).await;
        refused(&mut stage, json!({})).await;
        let all = stage.ask("GET", "/cluster/web/operations", json!({})).await;
        stage.operation = Some(all[0]["id"].as_str().unwrap().to_owned());
        stage.ended().await;
        for host in [0, 1] {
            stage.hosts.power_off(&address(host));
        }
        refused(&mut stage, json!({})).await;
        stage.hosts.power_on(&address(1));
        sleep(Duration::from_mins(1)).await;
        let options = json!({
            "hosts": [address(0)], "skip_unreachable": true, "max_unavailable": "100%",
        });
        refused(&mut stage, options).await;
        stage
    });
}

const SERVICES: &[&str] =
    &["executor-away", "investigator-away", "service-missing", "unproven", "watcher-away"];

#[test]
fn services() {
    provokes("services", SERVICES, async || {
        let mut stage = Stage::start(3).await;
        stage.start_operation("restart", json!({})).await;
        stage.hosts.power_off(&address(2));
        let host =
            Host { address: address(2).into(), status: Status::Investigating, ..Host::default() };
        let enrolled = json!({"id": "e1", "since": "2026-11-28T12:00:00.000000"});
        let known: HostState = of(json!({"address": address(2), "enrolled": enrolled}));
        let again = Transaction::default().save(&host).unwrap().save(&known).unwrap();
        stage.storage.transact(&again).await.unwrap();
        stage.until(&["unproven"]).await;
        for service in [Service::Executor, Service::Investigator, Service::Watcher] {
            stage.crash(service);
        }
        stage.until(SERVICES).await;
        stage
    });
}

const OUTAGES: &[&str] = &["storage-away"];

#[test]
fn outages() {
    provokes("outages", OUTAGES, async || {
        let mut stage = Stage::start(1).await;
        stage.look().await;
        stage.crash(Service::Storage);
        stage.until(OUTAGES).await;
        stage
    });
}
