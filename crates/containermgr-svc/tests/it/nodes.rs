//! Nodes of a Kubernetes, and what is on them.

use bus::Kind;
use model::PodKind;
use model::messages::{KubernetesNodes, NodeContents, WorkloadsAnswer};
use serde_json::{Value, json};
use simulated_kubernetes::{FaultAction, NodeSettings};

use crate::support::Fixture;
use crate::support::simulated::{Simulated, fault_once, workload};

#[tokio::test]
async fn nodes_are_listed_with_the_id_of_their_kubernetes() {
    let simulated = Simulated::start(&["w2", "w1"]).await;
    simulated.kubernetes.add_node(&NodeSettings::new("c1", "10.0.1.1").control_plane());
    simulated.requests();
    let all = simulated.nodes().await;
    let system = simulated.kubernetes.object("namespaces", "", "kube-system").unwrap();
    assert_eq!(
        (all.kubernetes.as_str(), all.server.as_str()),
        (system["metadata"]["uid"].as_str().unwrap(), "api.test")
    );
    let names: Vec<_> = all.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["c1", "w1", "w2"]);
    let node = &all.nodes[1];
    assert_eq!(node.boot_id, "first-boot-of-w1");
    assert_eq!((node.addresses[0].as_str(), node.uid.clone()), ("10.0.0.1", simulated.uid("w1")));
    assert!(node.is_ready && node.heartbeat.is_valid() && !node.is_control_plane);
    assert!(all.nodes[0].is_control_plane);
    assert_eq!(simulated.requests(), ["get namespaces", "list nodes", "list pods"]);
    // The id is remembered, and so are the nodes of the control plane.
    simulated.nodes().await;
    assert_eq!(simulated.requests(), ["list nodes"]);
}

#[tokio::test]
async fn node_that_runs_etcd_belongs_to_the_control_plane_without_a_label() {
    let simulated = Simulated::start(&["w1", "w2", "w3"]).await;
    simulated.kubernetes.add_mirror_pod("w1", "kube-proxy");
    simulated.kubernetes.add_mirror_pod("w2", "etcd");
    simulated.kubernetes.add_mirror_pod("w3", "kube-apiserver");
    for _ in 0..2 {
        let all = simulated.nodes().await;
        let found: Vec<_> = all.nodes.iter().map(|node| node.is_control_plane).collect();
        assert_eq!(found, [false, true, true]);
    }
}

#[tokio::test]
async fn writer_of_a_cordon_is_named() {
    let simulated = Simulated::start(&["w1"]).await;
    simulated.cordon("w1", "i/1", "").await;
    let all = simulated.nodes().await;
    let node = &all.nodes[0];
    assert_eq!((node.cordoned_by.as_str(), node.cordon_manager.as_str()), ("i/1", "commissaire"));
    assert!(node.unschedulable && node.cordoned_at.is_valid());
}

#[tokio::test]
async fn drains_are_forecast() {
    let simulated = Simulated::start(&["w1"]).await;
    simulated.kubernetes.apply(workload("Deployment", "web", 2));
    simulated.until_ready("web", 2).await;
    simulated.apply_budget("web", 2).await;
    let bare = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "bare", "namespace": "default"},
        "spec": {"nodeName": "w1", "containers": [{"name": "c", "image": "example.invalid/app:1"}]}});
    simulated.kubernetes.apply(bare);
    let params = json!({"drain": {}, "forecast": ["w1", "unknown"]});
    let all: KubernetesNodes = simulated.ask("nodes", params).await;
    assert_eq!(all.forecasts.len(), 1);
    let forecast = &all.forecasts["w1"];
    assert_eq!(forecast.blockers, ["default/bare has no controller"]);
    assert_eq!((forecast.blocked, forecast.evicted), (1, 2));
    let budget =
        "disruption budget default/web allows 0 disruptions now, and 2 pods of the node are in it";
    assert_eq!(forecast.warnings[0], budget);
    // There is no other node.
    assert_eq!(forecast.warnings.len(), 3);
    assert!(forecast.warnings[1].contains("may run on no other node"), "{:?}", forecast.warnings);
}

#[tokio::test]
async fn plan_warns_of_machines_that_health_checks_may_replace() {
    let simulated = Simulated::start(&["w1", "w2"]).await;
    let warnings = async || {
        let params = json!({"drain": {}, "forecast": ["w1"]});
        simulated.ask::<KubernetesNodes>("nodes", params).await.warnings
    };
    // That of a node that is not drained does not matter.
    for (node, namespace) in [("w1", ""), ("w2", "default")] {
        simulated.change_node(node, |node| {
            node["metadata"]["annotations"] = json!({"cluster.x-k8s.io/machine": "m1",
                "cluster.x-k8s.io/cluster-namespace": namespace});
        });
    }
    assert_eq!(warnings().await, Vec::<String>::new());
    simulated.change_node("w1", |node| {
        node["metadata"]["annotations"]["cluster.x-k8s.io/cluster-namespace"] = "default".into();
    });
    let found = warnings().await;
    assert!(found[0].contains("this Kubernetes has no such Machines): w1;"), "{found:?}");
    simulated.kubernetes.apply(json!({"apiVersion": "cluster.x-k8s.io/v1beta1", "kind": "Machine",
        "metadata": {"name": "m1", "namespace": "default"}, "spec": {}}));
    assert_eq!(warnings().await, Vec::<String>::new());
    let role = |verbs: &[&str]| {
        simulated.kubernetes.apply(json!({"apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole", "metadata": {"name": "commissaire-machines"},
            "rules": [{"apiGroups": ["cluster.x-k8s.io"], "resources": ["machines"], "verbs": verbs}]}));
    };
    role(&["get"]);
    let found = warnings().await;
    assert!(found[0].contains("may not patch machines"), "{found:?}");
    role(&["patch"]);
    let found = warnings().await;
    assert!(found[0].contains("cannot get resource"), "{found:?}");
}

#[tokio::test]
async fn plan_warns_of_pods_whose_volume_is_on_their_node() {
    let simulated = Simulated::start(&["w1", "w2"]).await;
    let mut database = workload("StatefulSet", "db", 1);
    database["spec"]["template"]["spec"]["volumes"] =
        json!([{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]);
    simulated.kubernetes.apply(database);
    simulated.until_ready("db", 1).await;
    let pod = simulated.kubernetes.object("pods", "default", "db-0").unwrap();
    let node = pod["spec"]["nodeName"].as_str().unwrap();
    let warnings = async || {
        let params = json!({"drain": {}, "forecast": [node]});
        let all: KubernetesNodes = simulated.ask("nodes", params).await;
        all.forecasts[node].warnings.clone()
    };
    assert_eq!(warnings().await, Vec::<String>::new());
    let terms = json!([{"matchExpressions": [
        {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}]);
    simulated.kubernetes.apply(json!({"apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": {"name": "v1"},
        "spec": {"claimRef": {"namespace": "default", "name": "data"},
                 "nodeAffinity": {"required": {"nodeSelectorTerms": terms}}}}));
    let found = warnings().await;
    assert!(found[0].starts_with("default/db-0 may run on no other node"), "{found:?}");
}

#[tokio::test]
async fn list_of_the_pods_on_a_node_takes_one_request() {
    let simulated = Simulated::start(&["w1", "w2"]).await;
    simulated.kubernetes.apply(workload("DaemonSet", "agent", 0));
    simulated.kubernetes.add_mirror_pod("w1", "kube-proxy");
    simulated.until_ready("agent", 2).await;
    simulated.requests();
    for requests in [&["list pods", "list daemonsets"][..], &["list pods"], &["list pods"]] {
        let contents = simulated.pods("w1").await;
        let kinds: Vec<_> = contents.pods.iter().map(|pod| pod.kind).collect();
        assert_eq!(kinds, [PodKind::DaemonSet, PodKind::Mirror]);
        assert!(contents.exists && contents.state.is_none());
        assert_eq!(simulated.requests(), requests);
    }
}

#[tokio::test]
async fn pods_of_a_missing_daemon_set_are_orphans() {
    let simulated = Simulated::start(&["w1"]).await;
    let pod = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "agent-1", "namespace": "default", "labels": {"app": "agent"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "agent",
                "uid": "11111111-2222-3333-4444-555555555555", "controller": true}]},
        "spec": {"nodeName": "w1", "containers": [{"name": "c", "image": "example.invalid/app:1"}]}});
    simulated.kubernetes.apply(pod);
    let params = json!({"node": "w1", "pods": true, "skip_selector": "app in (agent)"});
    let contents: NodeContents = simulated.ask("node", params).await;
    assert_eq!((contents.pods[0].kind, contents.pods[0].is_skipped), (PodKind::Orphan, true));
    let params = json!({"node": "w1", "pods": true, "skip_selector": "app in"});
    let error = simulated.try_ask("node", params).await.unwrap_err();
    assert_eq!(error.kind(), Kind::InvalidParams);
    assert!(error.to_string().contains("label selector"), "{error}");
}

#[tokio::test]
async fn volumes_and_drivers_are_listed() {
    let simulated = Simulated::start(&["w1", "w2"]).await;
    for (name, node) in [("a1", "w1"), ("a2", "w2")] {
        simulated.kubernetes.apply(
            json!({"apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttachment",
            "metadata": {"name": name},
            "spec": {"attacher": "csi.example", "nodeName": node,
                "source": {"persistentVolumeName": name}}}),
        );
    }
    simulated.kubernetes.apply(json!({"apiVersion": "storage.k8s.io/v1", "kind": "CSINode",
        "metadata": {"name": "w1"}, "spec": {"drivers": [{"name": "csi.example", "nodeID": "w1"}]}}));
    simulated.requests();
    let params = json!({"node": "w1", "state": true, "volumes": true, "drivers": true});
    let contents: NodeContents = simulated.ask("node", params).await;
    assert_eq!(contents.volumes.len(), 1);
    assert_eq!((contents.volumes[0].name.as_str(), contents.volumes[0].pods.len()), ("a1", 0));
    assert_eq!(contents.drivers, ["csi.example"]);
    assert_eq!(contents.state.unwrap().name, "w1");
    let expected = ["get nodes", "list volumeattachments", "list pods", "get csinodes"];
    assert_eq!(simulated.requests(), expected);
    let params = json!({"node": "w3", "volumes": true});
    let contents: NodeContents = simulated.ask("node", params).await;
    assert!(contents.volumes.is_empty() && contents.drivers.is_empty());
}

#[tokio::test]
async fn missing_node_does_not_exist() {
    let simulated = Simulated::start(&[]).await;
    for node in ["w1", "../pods", ""] {
        let params = json!({"node": node, "state": true, "pods": true});
        let contents: NodeContents = simulated.ask("node", params).await;
        assert_eq!(contents, NodeContents::default(), "{node}");
    }
}

#[tokio::test]
async fn ready_pods_of_controllers_are_counted() {
    let simulated = Simulated::start(&["w1"]).await;
    simulated.kubernetes.apply(workload("Deployment", "web", 2));
    simulated.kubernetes.apply(workload("StatefulSet", "db", 1));
    simulated.until_ready("web", 2).await;
    simulated.until_ready("db", 1).await;
    simulated
        .until(|kubernetes| {
            let ready = |resource: &str, name: &str| {
                kubernetes.object(resource, "default", name).unwrap()["status"]["readyReplicas"]
                    .clone()
            };
            ready("deployments", "web") == 2 && ready("statefulsets", "db") == 1
        })
        .await;
    let sets = simulated.kubernetes.objects("replicasets");
    let set = sets[0]["metadata"]["name"].as_str().unwrap();
    let workload =
        |kind: &str, name: &str| json!({"namespace": "default", "kind": kind, "name": name});
    let workloads = json!([
        workload("ReplicaSet", set),
        workload("StatefulSet", "db"),
        workload("Deployment", "web"),
        workload("Deployment", "gone"),
        workload("Job", "web"),
        workload("ReplicaSet", "../x"),
    ]);
    let answer: WorkloadsAnswer = simulated.ask("workloads", json!({"workloads": workloads})).await;
    assert_eq!(answer.ready, [Some(2), Some(1), Some(2), None, None, None]);
}

#[tokio::test]
async fn missing_right_is_named() {
    let simulated = Simulated::start(&["w1"]).await;
    let mut role = simulated.kubernetes.object("clusterroles", "", "commissaire").unwrap();
    role["rules"] = json!([]);
    simulated.kubernetes.apply(role);
    let error = simulated.try_ask("node", json!({"node": "w1", "pods": true})).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.data()),
        (Kind::ContainerManager, Some(&json!({"status": 403})))
    );
    let message = error.to_string();
    for part in ["cannot list resource \"pods\"", "conf/kubernetes/rbac.yaml"] {
        assert!(message.contains(part), "{message}");
    }
    let unauthorized = simulated.kubernetes.clone();
    unauthorized.remove_user(crate::support::TOKEN);
    let error = simulated.try_ask("nodes", json!({})).await.unwrap_err();
    assert_eq!(error.data(), Some(&json!({"status": 401})));
}

#[tokio::test]
async fn list_that_expires_is_started_again() {
    let simulated = Simulated::start(&["w1"]).await;
    let expired = FaultAction::Answer {
        status: 410,
        headers: Vec::new(),
        body: json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "expired", "reason": "Expired", "code": 410})
        .to_string(),
    };
    simulated.kubernetes.fault(fault_once("GET", "/api/v1/nodes", &expired));
    assert_eq!(simulated.nodes().await.nodes.len(), 1);
}

#[tokio::test]
async fn trivial_container_manager_has_no_nodes() {
    let fixture = Fixture::start().await;
    fixture.configure("k", "trivial", json!({})).await;
    let nodes = fixture.ask("container.nodes", json!({"container_manager_name": "k"})).await;
    let nodes: KubernetesNodes = serde_json::from_value(nodes.unwrap()).unwrap();
    assert_eq!(nodes, KubernetesNodes::default());
    for (method, params) in [
        ("node", json!({"node": "w1"})),
        ("cordon", json!({"node": "w1", "uid": "u", "cordoned_by": "i/1"})),
        ("uncordon", json!({"node": "w1", "uid": "u", "cordoned_by": "i/1"})),
        ("evict", json!({"pods": []})),
        ("workloads", json!({"workloads": []})),
    ] {
        let mut all = params;
        all["container_manager_name"] = Value::from("k");
        let error = fixture.ask(&format!("container.{method}"), all).await.unwrap_err();
        assert_eq!(error.kind(), Kind::ContainerManager, "{method}");
        let expected = "the container manager k has no nodes that can be cordoned";
        assert_eq!(error.to_string(), expected);
    }
}
