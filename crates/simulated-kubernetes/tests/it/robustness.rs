//! Objects with fields of wrong types: requests may be rejected, but neither the server nor controllers may panic.

use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use serde_json::{Value, json};

use crate::support::{ADMIN, budget, call, running, seconds, send, workload};

/// The JSON pointers of all values inside of a value.
fn pointers(value: &Value) -> Vec<String> {
    let inner: Vec<(String, &Value)> = match value {
        Value::Object(fields) => {
            let escaped = |name: &String| name.replace('~', "~0").replace('/', "~1");
            fields.iter().map(|(name, value)| (format!("/{}", escaped(name)), value)).collect()
        }
        Value::Array(elements) => {
            let numbered = elements.iter().enumerate();
            numbered.map(|(index, value)| (format!("/{index}"), value)).collect()
        }
        _ => Vec::new(),
    };
    let of = |(name, value): (String, &Value)| {
        let deeper = pointers(value).into_iter().map(|pointer| format!("{name}{pointer}"));
        let deeper: Vec<_> = deeper.collect();
        [name].into_iter().chain(deeper)
    };
    inner.into_iter().flat_map(of).collect()
}

fn objects() -> Vec<(String, Value)> {
    let node = json!({"kind": "Node", "metadata": {"name": "n", "labels": {"a": "b"},
            "annotations": {"a": "b"}, "finalizers": ["a/b"],
            "ownerReferences": [{"kind": "Node", "name": "w1", "uid": "u", "controller": true}]},
        "spec": {"unschedulable": true, "podCIDR": "10.0.0.0/24", "podCIDRs": ["10.0.0.0/24"],
            "taints": [{"key": "a", "effect": "NoExecute", "timeAdded": "2026-12-01T10:00:00Z"}]},
        "status": {"capacity": {"cpu": "1"}, "nodeInfo": {"bootID": "b"},
            "conditions": [{"type": "Ready", "status": "True",
                "lastHeartbeatTime": "2026-12-01T10:00:00Z"}]}});
    let pod = json!({"kind": "Pod", "metadata": {"name": "p", "labels": {"app": "web"},
            "annotations": {"stand-in/terminates-after": "1"}},
        "spec": {"nodeName": "w1", "nodeSelector": {"a": "b"},
            "tolerations": [{"key": "a", "effect": "NoExecute", "tolerationSeconds": 1}],
            "containers": [{"name": "c", "image": "i:1",
                "resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "1", "memory": "1"}}}]}});
    let apps = "/apis/apps/v1/namespaces/default";
    let paths = [
        "/api/v1/nodes".to_owned(),
        "/api/v1/namespaces/default/pods".to_owned(),
        format!("{apps}/deployments"),
        format!("{apps}/statefulsets"),
        format!("{apps}/daemonsets"),
        "/apis/policy/v1/namespaces/default/poddisruptionbudgets".to_owned(),
        "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings".to_owned(),
    ];
    let binding = json!({"metadata": {"name": "b"}, "roleRef": {"kind": "ClusterRole", "name": "r"},
        "subjects": [{"kind": "Group", "name": "system:authenticated"}]});
    let objects = [
        node,
        pod,
        workload("Deployment", "web", 1),
        workload("StatefulSet", "db", 1),
        workload("DaemonSet", "agent", 1),
        budget("web", &json!({"maxUnavailable": "50%"})),
        binding,
    ];
    paths.into_iter().zip(objects).collect()
}

#[tokio::test(start_paused = true)]
async fn values_of_wrong_types_stop_neither_requests_nor_controllers() {
    for (path, object) in objects() {
        let kubernetes = running(&["w1"]);
        for pointer in pointers(&object) {
            for wrong in
                [json!(null), json!(5), json!("x"), json!([1]), json!({"x": {}}), json!(true)]
            {
                let mut sent = object.clone();
                *sent.pointer_mut(&pointer).unwrap() = wrong.clone();
                let answer = call(&kubernetes, "POST", &path, sent).await;
                assert!(answer.status < 501, "{pointer} {wrong}: {answer:?}");
                let name = object["metadata"]["name"].as_str().unwrap();
                let patch = json!([{"op": "replace", "path": pointer, "value": wrong}]);
                if !pointer.starts_with("/metadata/name") {
                    call(&kubernetes, "POST", &path, object.clone()).await;
                    call(&kubernetes, "PATCH", &format!("{path}/{name}"), patch).await;
                }
                let applied = Request::patch(format!("{path}/{name}?fieldManager=m&force=true"));
                let applied = applied.header("authorization", format!("Bearer {ADMIN}"));
                let applied = applied.header("content-type", "application/apply-patch+yaml");
                let mut config = object.clone();
                *config.pointer_mut(&pointer).unwrap() = wrong.clone();
                let config = Full::new(Bytes::from(config.to_string()));
                send(kubernetes.service(), applied.body(config).unwrap()).await.unwrap();
                seconds(2).await;
                call(&kubernetes, "DELETE", &path, json!(null)).await;
                let finalizers = json!({"metadata": {"finalizers": null}});
                call(&kubernetes, "PATCH", &format!("{path}/{name}"), finalizers).await;
            }
        }
        kubernetes.apply(workload("Deployment", "last", 1));
        if path != "/api/v1/nodes" {
            seconds(60).await;
            let last = kubernetes.object("deployments", "default", "last").unwrap();
            assert_eq!(last["status"]["readyReplicas"], 1, "after wrong objects at {path}");
        }
    }
}
