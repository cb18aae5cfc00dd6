//! Reasons of hosts that are nodes of a Kubernetes, and of operations on them.

use std::time::Duration;

use model::{Host, HostPlacement, HostState};
use serde_json::{Value, json};
use simulated_kubernetes::NodeSettings;

use super::{of, refused};
use crate::kubernetes::node_name;
use crate::reasons::nodes::Nodes;
use crate::reasons::{Stage, provokes};
use crate::scenario::address;

/// The pause between two looks at what is over soon.
const CLOSE: Duration = Duration::from_millis(200);

pub(super) const DRAINS: &[&str] = &["drain-blocked", "drain-paused", "node-cordoned", "postponed"];

#[test]
fn drains() {
    provokes("kubernetes-drains", DRAINS, async || {
        let nodes = Nodes { pods: Some((4, 0)), ..Nodes::default() };
        let mut stage = Stage::on_nodes(2, nodes).await;
        let options = json!({"drain": {"timeout": 60, "attempts": 2}});
        stage.start_operation("restart", options).await;
        stage.until(&["drain-blocked"]).await;
        // The node of a postponed host is uncordoned once the API server accepts that.
        stage.slow_patches(Duration::from_secs(3));
        stage.until_every(CLOSE, DRAINS).await;
        stage
    });
}

pub(super) const STEPS: &[&str] =
    &["cordoning", "draining", "node-returning", "uncordoning", "workloads-returning"];

#[test]
fn steps() {
    provokes("kubernetes-steps", STEPS, async || {
        let pods = Some((6, 6));
        let pod_start = Duration::from_mins(2);
        let nodes = Nodes { pods, pod_start, terminates_after: 20, ..Nodes::default() };
        let mut stage = Stage::on_nodes(3, nodes).await;
        tokio::time::sleep(pod_start).await;
        stage.slow_patches(Duration::from_secs(2));
        stage.start_operation("restart", json!({})).await;
        stage.until_every(CLOSE, &["cordoning", "draining"]).await;
        stage.until_every(CLOSE, STEPS).await;
        stage
    });
}

pub(super) const IDENTITIES: &[&str] =
    &["node-ambiguous", "node-is-another-machine", "node-unknown"];

#[test]
fn identities() {
    provokes("kubernetes-identities", IDENTITIES, async || {
        let mut stage = Stage::on_nodes(4, Nodes::default()).await;
        stage.api().delete("nodes", "", &node_name(0));
        stage.edit(1, |machine| {
            machine.facts.machine_id = "f".repeat(32);
            machine.reported_boot_id = Some("another boot".to_owned());
        });
        let twin = NodeSettings::new("twin", &address(2));
        stage.api().add_node(&twin);
        stage.edit(2, |machine| {
            machine.facts.machine_id = "e".repeat(32);
            machine.reported_boot_id = Some("a third boot".to_owned());
        });
        let options = json!({"max_unavailable": "100%", "max_failures": 100});
        stage.start_operation("restart", options).await;
        stage.until(IDENTITIES).await;
        stage
    });
}

pub(super) const FAILURES: &[&str] = &["drain-timeout", "kubernetes-denied", "node-not-ready"];

#[test]
fn failures() {
    provokes("kubernetes-failures", FAILURES, async || {
        let nodes = Nodes { pods: Some((4, 0)), ..Nodes::default() };
        let mut stage = Stage::on_nodes(3, nodes).await;
        let only = |host: usize| {
            json!({"hosts": [address(host)], "max_unavailable": 3, "ready": {"timeout": 60},
                "drain": {"timeout": 30, "on_timeout": "stop"}})
        };
        stage.start_operation("restart", only(0)).await;
        stage.until(&["drain-timeout"]).await;
        stage.ended().await;
        stage.allow(4);
        stage.start_operation("restart", only(1)).await;
        stage.at_step(1, "verify").await;
        stage.api().set_kubelet_ready(&node_name(1), false);
        stage.until(&["node-not-ready"]).await;
        stage.ended().await;
        stage.api().set_kubelet_ready(&node_name(1), true);
        stage.ask("DELETE", &format!("/host/{}/cordon", address(1)), json!({})).await;
        stage.start_operation("restart", only(2)).await;
        stage.at_step(2, "verify").await;
        stage.set_rights(false);
        stage.until(FAILURES).await;
        stage.set_rights(true);
        stage
    });
}

pub(super) const BUDGETS: &[&str] = &["control-plane", "node-budget"];

/// Has a host restarted alone.
fn only(host: usize) -> Value {
    json!({"hosts": [address(host)], "settle": 0})
}

#[test]
fn budgets() {
    provokes("kubernetes-budgets", BUDGETS, async || {
        let nodes = Nodes { control_plane: 2, ..Nodes::default() };
        let mut stage = Stage::on_nodes(3, nodes).await;
        stage.report_ready("other0", false).await;
        stage.start_operation("restart", only(2)).await;
        stage.until(&["node-budget"]).await;
        stage.control("abort").await;
        stage.ended().await;
        stage.report_ready(&node_name(1), false).await;
        stage.start_operation("restart", only(0)).await;
        stage.until(BUDGETS).await;
        stage
    });
}

pub(super) const QUORUM: &[&str] = &["quorum-group"];

#[test]
fn quorum_group() {
    provokes("kubernetes-quorum", QUORUM, async || {
        let mut stage = Stage::on_nodes(4, Nodes::default()).await;
        in_quorum_group(&stage, &[1, 2, 3]).await;
        // The last host is in no cluster.
        let path = format!("/cluster/web/hosts/{}", address(3));
        stage.ask("DELETE", &path, json!({})).await;
        stage.hosts.power_off(&address(3));
        let options = json!({"hosts": [address(1)], "max_unavailable": 3});
        stage.start_operation("restart", options).await;
        stage.until(QUORUM).await;
        stage
    });
}

/// Puts hosts into a quorum group.
async fn in_quorum_group(stage: &Stage, hosts: &[usize]) {
    for host in hosts {
        let placement = HostPlacement {
            address: address(*host).into(),
            quorum_group: "etcd".to_owned(),
            ..HostPlacement::default()
        };
        stage.storage.save(&placement).await.unwrap();
    }
}

pub(super) const OUTAGES: &[&str] = &["kubernetes-away", "nodes-unknown"];

#[test]
fn outages() {
    provokes("kubernetes-outages", OUTAGES, async || {
        let mut stage = Stage::on_nodes(2, Nodes::default()).await;
        stage.start_operation("restart", json!({"soak": 30})).await;
        stage.at_step(0, "done").await;
        stage.api().set_api_unavailable(true);
        stage.until(&["nodes-unknown"]).await;
        stage.api().set_api_unavailable(false);
        stage.slow_patches(Duration::from_secs(3));
        stage.at_step(1, "cordon").await;
        stage.api().set_api_unavailable(true);
        stage.until(OUTAGES).await;
        stage
    });
}

pub(super) const REFUSALS: &[&str] = &["kubernetes-unavailable", "pods-block", "quorum-too-small"];

#[test]
fn refusals() {
    provokes("kubernetes-refusals", REFUSALS, async || {
        let mut stage = Stage::on_nodes(2, Nodes::default()).await;
        stage.api().set_api_unavailable(true);
        refused(&mut stage, json!({})).await;
        stage.api().set_api_unavailable(false);
        in_quorum_group(&stage, &[0, 1]).await;
        refused(&mut stage, json!({})).await;
        for host in [0, 1] {
            stage.storage.delete::<HostPlacement>(&address(host)).await.unwrap();
        }
        stage.api().apply(json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "naked", "namespace": "default"},
            "spec": {"nodeName": node_name(1), "containers": [{"name": "c", "image": "i"}]}}));
        refused(&mut stage, json!({})).await;
        stage
    });
}

pub(super) const REGISTRATIONS: &[&str] =
    &["container-manager-refuses", "container-manager-unavailable"];

#[test]
fn registrations() {
    provokes("kubernetes-registrations", REGISTRATIONS, async || {
        let mut stage = Stage::on_nodes(2, Nodes::default()).await;
        stage.set_rights(false);
        investigate(&stage, 0).await;
        stage.until(&["container-manager-refuses"]).await;
        stage.set_rights(true);
        stage.api().set_api_unavailable(true);
        investigate(&stage, 1).await;
        stage.until(REGISTRATIONS).await;
        stage
    });
}

/// Has a host investigated again, whose container manager it is registered with at the end.
async fn investigate(stage: &Stage, host: usize) {
    let known: HostState = of(json!({"address": address(host), "bootstrap": "full"}));
    stage.storage.save(&known).await.unwrap();
    let record = stage.storage.get::<Host>(&address(host)).await.unwrap().record;
    let record = Host { status: model::Status::Investigating, ..record };
    stage.storage.save(&record).await.unwrap();
}
