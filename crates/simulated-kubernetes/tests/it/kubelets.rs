//! Kubelets: heartbeats, boots, pods that restart.

use std::time::Duration;

use serde_json::{Value, json};
use simulated_kubernetes::NodeSettings;

use crate::support::{call, is_ready, pods, running, seconds, workload};

fn ready_condition(node: &Value) -> &Value {
    let conditions = node["status"]["conditions"].as_array().unwrap();
    conditions.iter().find(|known| known["type"] == "Ready").unwrap()
}

#[tokio::test(start_paused = true)]
async fn node_is_ready_at_once_and_reports_every_10_s() {
    let kubernetes = running(&["w1"]);
    let heartbeat = || {
        let node = kubernetes.object("nodes", "", "w1").unwrap();
        assert!(is_ready(&node));
        assert_eq!(node["spec"]["taints"], json!(null));
        ready_condition(&node)["lastHeartbeatTime"].as_str().unwrap().to_owned()
    };
    assert_eq!(heartbeat(), "2026-12-01T10:00:00Z");
    seconds(25).await;
    assert_eq!(heartbeat(), "2026-12-01T10:00:20Z");
}

#[tokio::test(start_paused = true)]
async fn pods_restart_after_a_boot_and_the_new_boot_id_may_be_late() {
    let kubernetes = running(&["w1"]);
    kubernetes.apply(workload("DaemonSet", "agent", 0));
    seconds(8).await;
    kubernetes.kubelet_down("w1");
    seconds(5).await;
    kubernetes.kubelet_up_after("w1", "second-boot", Duration::from_secs(6));
    let boot_id = || {
        let node = kubernetes.object("nodes", "", "w1").unwrap();
        node["status"]["nodeInfo"]["bootID"].as_str().unwrap().to_owned()
    };
    seconds(4).await;
    assert_eq!(boot_id(), "first-boot-of-w1");
    assert!(is_ready(&pods(&kubernetes, "agent-")[0]));
    seconds(2).await;
    assert_eq!(boot_id(), "second-boot");
    assert!(!is_ready(&pods(&kubernetes, "agent-")[0]));
    seconds(4).await;
    let agent = &pods(&kubernetes, "agent-")[0];
    assert!(is_ready(agent));
    assert_eq!(agent["status"]["containerStatuses"][0]["restartCount"], 1);
    let started = &agent["status"]["containerStatuses"][0]["state"]["running"]["startedAt"];
    assert!(started.as_str().unwrap() > "2026-12-01T10:00:20Z", "{started}");
}

#[tokio::test(start_paused = true)]
async fn static_pods_of_the_control_plane_outlive_a_deletion_and_restart_after_a_boot() {
    let kubernetes = running(&["w1"]);
    kubernetes.add_node(&NodeSettings::new("cp1", "10.0.0.100").control_plane());
    seconds(5).await;
    let etcd = || kubernetes.object("pods", "kube-system", "etcd-cp1").unwrap();
    assert!(is_ready(&etcd()));
    let uid = etcd()["metadata"]["uid"].clone();
    let path = "/api/v1/namespaces/kube-system/pods/etcd-cp1";
    call(&kubernetes, "DELETE", path, json!(null)).await;
    seconds(6).await;
    assert_ne!(etcd()["metadata"]["uid"], uid);
    assert!(is_ready(&etcd()));
    kubernetes.kubelet_down("cp1");
    kubernetes.kubelet_up("cp1", "second-boot");
    seconds(1).await;
    assert!(!is_ready(&etcd()));
    seconds(4).await;
    assert!(is_ready(&etcd()));
    assert_eq!(etcd()["status"]["containerStatuses"][0]["restartCount"], 1);
}

#[tokio::test(start_paused = true)]
async fn kubelet_may_stay_not_ready_and_a_patched_condition_stays() {
    let kubernetes = running(&["w1"]);
    kubernetes.set_kubelet_ready("w1", false);
    let pressure =
        json!([{"op": "replace", "path": "/status/conditions/1/status", "value": "True"}]);
    call(&kubernetes, "PATCH", "/api/v1/nodes/w1/status", pressure).await;
    seconds(15).await;
    let node = kubernetes.object("nodes", "", "w1").unwrap();
    assert_eq!(ready_condition(&node)["status"], "False");
    assert_eq!(node["status"]["conditions"][1]["type"], "DiskPressure");
    assert_eq!(node["status"]["conditions"][1]["status"], "True");
    assert_eq!(node["spec"]["taints"][0]["key"], "node.kubernetes.io/not-ready");
    kubernetes.set_kubelet_ready("w1", true);
    seconds(2).await;
    assert!(is_ready(&kubernetes.object("nodes", "", "w1").unwrap()));
}
