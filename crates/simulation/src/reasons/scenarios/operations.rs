//! Reasons of operations and of their hosts.

use std::time::Duration;

use host_access::generation::signed_text;
use host_access::{Hosts as _, Mark, Os};
use model::{Host, ServerKeys};
use serde_json::{Map, Value, json};
use simulated_hosts::{Apply, FINGERPRINT, LogIn, OWN_KEY};
use storage_client::queries;

use crate::reasons::{Stage, provokes};
use crate::scenario::address;

pub(super) const RESTARTS: &[&str] = &[
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

pub(super) const FENCED: &[&str] = &["fenced"];

#[test]
fn fenced_hosts() {
    provokes("fences", FENCED, async || {
        let mut stage = Stage::start(1).await;
        stage.storage.save(&ServerKeys::of(FINGERPRINT)).await.unwrap();
        let instance = queries::instance(&stage.storage).await.unwrap();
        let id = runtime::random::uuid().to_string();
        let text = signed_text(&instance.id, 2, &id);
        let signature = stage.hosts.sign(&OWN_KEY.into(), &text).await.unwrap();
        let mark = Mark { generation: 2, id, signature };
        stage.edit(0, |host| drop(host.marks.insert(instance.id, format!("{mark}\n"))));
        stage.start_operation("restart", json!({})).await;
        stage.until(FENCED).await;
        stage
    });
}

pub(super) const WAITING: &[&str] = &["hosts-wait"];

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

pub(super) const LOST: &[&str] = &["lost-after", "unexpected-reboot"];

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

pub(super) const DEPLOYMENTS: &[&str] = &["not-booted", "not-ostree"];

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

pub(super) const UPGRADES: &[&str] = &["applying", "package-lock"];

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

pub(super) const ROLLOUT: &[&str] =
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

pub(super) const OPERATORS: &[&str] =
    &["aborted", "aborting", "all-frozen", "frozen", "gate", "paused"];

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

pub(super) const BUDGET: &[&str] = &["budget", "budget-timeout", "host-budget"];

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

pub(super) const SHRINKING: &[&str] = &["others-under-way"];

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
