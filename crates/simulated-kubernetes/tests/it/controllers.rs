//! Controllers: workloads, scheduling, garbage, nodes that fall silent.

use serde_json::{Value, json};

use crate::support::{call, is_ready, name, pods, running, seconds, workload};

fn node_of(pod: &Value) -> &str {
    pod["spec"]["nodeName"].as_str().unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn deployment_spreads_its_pods_and_counts_the_ready_ones() {
    let kubernetes = running(&["w1", "w2", "w3"]);
    kubernetes.apply(workload("Deployment", "web", 6));
    seconds(8).await;
    let web = pods(&kubernetes, "web-");
    for node in ["w1", "w2", "w3"] {
        assert_eq!(web.iter().filter(|pod| node_of(pod) == node).count(), 2);
    }
    let status = &kubernetes.object("deployments", "default", "web").unwrap()["status"];
    assert_eq!(status["readyReplicas"], 6);
    assert_eq!(status["unavailableReplicas"], 0);
    assert_eq!(web[0]["metadata"]["ownerReferences"][0]["kind"], "ReplicaSet");
}

#[tokio::test(start_paused = true)]
async fn pods_stay_pending_when_no_node_has_room_or_is_schedulable() {
    let kubernetes = running(&["w1"]);
    let mut large = workload("Deployment", "large", 3);
    large["spec"]["template"]["spec"]["containers"][0]["resources"] =
        json!({"requests": {"cpu": "1500m", "memory": "1Gi"}});
    kubernetes.apply(large);
    seconds(8).await;
    let count =
        |node: &str| pods(&kubernetes, "large-").iter().filter(|pod| node_of(pod) == node).count();
    assert_eq!((count("w1"), count("")), (2, 1));
    let cordon = json!({"spec": {"unschedulable": true}});
    call(&kubernetes, "PATCH", "/api/v1/nodes/w1", cordon).await;
    kubernetes.apply(workload("Deployment", "small", 1));
    seconds(3).await;
    assert_eq!(node_of(&pods(&kubernetes, "small-")[0]), "");
    let node = kubernetes.object("nodes", "", "w1").unwrap();
    assert_eq!(node["spec"]["taints"][0]["key"], "node.kubernetes.io/unschedulable");
    let mut tolerant = workload("Deployment", "tolerant", 1);
    tolerant["spec"]["template"]["spec"]["tolerations"] = json!([{"operator": "Exists"}]);
    kubernetes.apply(tolerant);
    seconds(3).await;
    assert_eq!(node_of(&pods(&kubernetes, "tolerant-")[0]), "w1");
}

#[tokio::test(start_paused = true)]
async fn stateful_set_replaces_a_pod_only_when_its_predecessor_is_removed() {
    let kubernetes = running(&["w1"]);
    let mut db = workload("StatefulSet", "db", 2);
    db["spec"]["template"]["metadata"]["annotations"] = json!({"stand-in/terminates-after": "10"});
    kubernetes.apply(db);
    seconds(12).await;
    let uid = |name: &str| {
        let pod = kubernetes.object("pods", "default", name).unwrap();
        pod["metadata"]["uid"].as_str().unwrap().to_owned()
    };
    let first = uid("db-0");
    call(&kubernetes, "DELETE", "/api/v1/namespaces/default/pods/db-0", json!(null)).await;
    seconds(8).await;
    assert_eq!(uid("db-0"), first);
    seconds(8).await;
    assert_ne!(uid("db-0"), first);
    assert!(is_ready(&kubernetes.object("pods", "default", "db-0").unwrap()));
}

#[tokio::test(start_paused = true)]
async fn daemon_set_has_a_pod_on_each_node_cordoned_ones_included() {
    let kubernetes = running(&["w1", "w2"]);
    let cordon = json!({"spec": {"unschedulable": true}});
    call(&kubernetes, "PATCH", "/api/v1/nodes/w1", cordon).await;
    kubernetes.apply(workload("DaemonSet", "agent", 0));
    seconds(8).await;
    assert_eq!(pods(&kubernetes, "agent-").len(), 2);
    let status = &kubernetes.object("daemonsets", "default", "agent").unwrap()["status"];
    assert_eq!(status["numberReady"], 2);
    assert_eq!(status["desiredNumberScheduled"], 2);
}

#[tokio::test(start_paused = true)]
async fn pods_of_a_deleted_owner_are_collected() {
    let kubernetes = running(&["w1"]);
    kubernetes.apply(workload("Deployment", "web", 2));
    seconds(8).await;
    let path = "/apis/apps/v1/namespaces/default/deployments/web";
    call(&kubernetes, "DELETE", path, json!(null)).await;
    seconds(8).await;
    assert!(kubernetes.objects("replicasets").is_empty());
    assert!(kubernetes.objects("pods").is_empty());
}

#[tokio::test(start_paused = true)]
async fn pods_of_a_deleted_node_are_replaced_elsewhere() {
    let kubernetes = running(&["w1", "w2"]);
    kubernetes.apply(workload("Deployment", "web", 4));
    seconds(60).await;
    call(&kubernetes, "DELETE", "/api/v1/nodes/w1", json!(null)).await;
    seconds(10).await;
    let web = pods(&kubernetes, "web-");
    assert_eq!(web.len(), 4);
    assert!(web.iter().all(|pod| node_of(pod) == "w2" && is_ready(pod)));
}

#[tokio::test(start_paused = true)]
async fn silent_node_is_unknown_after_40_s_and_its_pods_stay_terminating_after_300_s() {
    let kubernetes = running(&["w1", "w2"]);
    kubernetes.apply(workload("Deployment", "web", 2));
    seconds(8).await;
    kubernetes.kubelet_down("w1");
    seconds(30).await;
    assert!(is_ready(&kubernetes.object("nodes", "", "w1").unwrap()));
    seconds(20).await;
    let node = kubernetes.object("nodes", "", "w1").unwrap();
    assert!(!is_ready(&node));
    assert!(node["spec"]["taints"].to_string().contains("node.kubernetes.io/unreachable"));
    seconds(320).await;
    let left: Vec<_> =
        pods(&kubernetes, "web-").into_iter().filter(|pod| node_of(pod) == "w1").collect();
    assert_eq!(left.len(), 1);
    assert!(left[0]["metadata"]["deletionTimestamp"].is_string());
    let others = pods(&kubernetes, "web-");
    assert_eq!(others.iter().filter(|pod| node_of(pod) == "w2").count(), 2);
}

#[tokio::test(start_paused = true)]
async fn same_requests_give_the_same_state() {
    async fn state() -> (Vec<Value>, usize) {
        let kubernetes = running(&["w1", "w2"]);
        kubernetes.apply(workload("Deployment", "web", 3));
        kubernetes.apply(workload("DaemonSet", "agent", 0));
        seconds(20).await;
        let web = pods(&kubernetes, "web-").iter().map(name).next().unwrap();
        crate::support::evict(&kubernetes, &web).await;
        seconds(20).await;
        let all = ["nodes", "pods", "replicasets", "deployments", "daemonsets", "namespaces"];
        let objects = all.iter().flat_map(|resource| kubernetes.objects(resource)).collect();
        (objects, kubernetes.effects().len())
    }
    assert_eq!(state().await, state().await);
}
