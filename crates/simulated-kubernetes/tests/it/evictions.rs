//! Evictions, with budgets that the disruption controller keeps.

use serde_json::json;

use crate::support::{budget, evict, name, pods, running, seconds, workload};

#[tokio::test(start_paused = true)]
async fn budget_allows_one_eviction_until_the_replacement_is_ready() {
    let kubernetes = running(&["w1", "w2"]);
    kubernetes.apply(workload("Deployment", "web", 3));
    kubernetes.apply(budget("web", &json!({"minAvailable": 2})));
    seconds(8).await;
    let web: Vec<_> = pods(&kubernetes, "web-").iter().map(name).collect();
    assert_eq!(web.len(), 3);
    assert_eq!(evict(&kubernetes, &web[0]).await.status, 201);
    let refused = evict(&kubernetes, &web[1]).await;
    assert_eq!(refused.status, 429);
    let cause = &refused.json()["details"]["causes"][0];
    assert_eq!(cause["reason"], "DisruptionBudget");
    assert_eq!(refused.header("retry-after"), None);
    seconds(8).await;
    assert!(kubernetes.object("pods", "default", &web[0]).is_none());
    assert_eq!(pods(&kubernetes, "web-").len(), 3);
    assert_eq!(evict(&kubernetes, &web[1]).await.status, 201);
}

#[tokio::test(start_paused = true)]
async fn budget_in_percent_counts_the_replicas_of_the_controller() {
    let kubernetes = running(&["w1"]);
    kubernetes.apply(workload("StatefulSet", "db", 4));
    kubernetes.apply(budget("db", &json!({"maxUnavailable": "25%"})));
    seconds(20).await;
    let status = kubernetes.object("poddisruptionbudgets", "default", "db").unwrap();
    let status = &status["status"];
    assert_eq!(status["expectedPods"], 4);
    assert_eq!(status["desiredHealthy"], 3);
    assert_eq!(status["currentHealthy"], 4);
    assert_eq!(status["disruptionsAllowed"], 1);
    assert_eq!(status["observedGeneration"], 1);
}

#[tokio::test(start_paused = true)]
async fn evicted_pod_terminates_for_the_shorter_of_its_grace_period_and_its_annotation() {
    let kubernetes = running(&["w1"]);
    for (name, after) in [("slow", "20"), ("stuck", "600")] {
        kubernetes.apply(json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "annotations": {"stand-in/terminates-after": after}},
            "spec": {"terminationGracePeriodSeconds": 60,
                "containers": [{"name": "c", "image": "i:1"}]}}));
    }
    seconds(5).await;
    for name in ["slow", "stuck"] {
        assert_eq!(evict(&kubernetes, name).await.status, 201);
        assert_eq!(evict(&kubernetes, name).await.status, 201);
    }
    let exists = |name: &str| kubernetes.object("pods", "default", name).is_some();
    seconds(18).await;
    assert!(exists("slow") && exists("stuck"));
    seconds(5).await;
    assert!(!exists("slow") && exists("stuck"));
    seconds(40).await;
    assert!(!exists("stuck"));
}

#[tokio::test(start_paused = true)]
async fn terminating_namespace_rejects_new_content_with_a_cause() {
    let kubernetes = running(&["w1"]);
    kubernetes
        .apply(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}));
    let path = "/api/v1/namespaces/shop";
    assert_eq!(crate::support::call(&kubernetes, "DELETE", path, json!(null)).await.status, 200);
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c"}]}});
    let path = "/api/v1/namespaces/shop/pods";
    let refused = crate::support::call(&kubernetes, "POST", path, pod).await;
    assert_eq!(refused.status, 403);
    assert_eq!(refused.json()["details"]["causes"][0]["reason"], "NamespaceTerminating");
    seconds(2).await;
    assert!(kubernetes.object("namespaces", "", "shop").is_none());
}
