//! Pages, watches, rights, faults and the log of effects.

use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::body::Bytes;
use serde_json::{Value, json};
use simulated_kubernetes::{Fault, FaultAction, NodeSettings, SimulatedKubernetes};
use tokio::time::{Instant, timeout};
use tower::ServiceExt as _;

use crate::support::{ADMIN, call, call_as, kubernetes, seconds, send};

fn with_nodes(count: u32) -> SimulatedKubernetes {
    let kubernetes = kubernetes();
    for number in 0..count {
        kubernetes.add_node(&NodeSettings::new(&format!("w{number}"), &format!("10.0.0.{number}")));
    }
    kubernetes
}

fn names(list: &Value) -> Vec<String> {
    list["items"].as_array().unwrap().iter().map(crate::support::name).collect()
}

fn get(path: &str) -> Request<Full<Bytes>> {
    let request = Request::builder().uri(path).header("authorization", format!("Bearer {ADMIN}"));
    request.body(Full::default()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn pages_show_one_revision_and_expire_with_it() {
    let kubernetes = with_nodes(5);
    let first = call(&kubernetes, "GET", "/api/v1/nodes?limit=2", json!(null)).await.json();
    assert_eq!(names(&first), ["w0", "w1"]);
    assert_eq!(first["metadata"]["remainingItemCount"], 3);
    call(&kubernetes, "DELETE", "/api/v1/nodes/w3", json!(null)).await;
    let token = first["metadata"]["continue"].as_str().unwrap();
    let path = format!("/api/v1/nodes?limit=2&continue={token}");
    let second = call(&kubernetes, "GET", &path, json!(null)).await.json();
    assert_eq!(names(&second), ["w2", "w3"]);
    kubernetes.compact();
    call(&kubernetes, "DELETE", "/api/v1/nodes/w4", json!(null)).await;
    let expired = call(&kubernetes, "GET", &path, json!(null)).await;
    assert_eq!(expired.status, 410);
    let token = expired.json()["metadata"]["continue"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/nodes?limit=2&continue={token}");
    let rest = call(&kubernetes, "GET", &path, json!(null)).await.json();
    assert_eq!(names(&rest), ["w2"]);
}

#[tokio::test(start_paused = true)]
async fn set_based_selectors_select() {
    let kubernetes = with_nodes(3);
    for (node, zone) in [("w0", "a"), ("w1", "b")] {
        let patch = json!({"metadata": {"labels": {"zone": zone}}});
        call(&kubernetes, "PATCH", &format!("/api/v1/nodes/{node}"), patch).await;
    }
    for (selector, expected) in [
        ("zone+in+(a,b)", vec!["w0", "w1"]),
        ("zone+notin+(a)", vec!["w1", "w2"]),
        ("!zone", vec!["w2"]),
        ("zone,zone!=a", vec!["w1"]),
    ] {
        let path = format!("/api/v1/nodes?labelSelector={selector}");
        let list = call(&kubernetes, "GET", &path, json!(null)).await.json();
        assert_eq!(names(&list), expected, "{selector}");
    }
}

#[tokio::test(start_paused = true)]
async fn watch_delivers_changes_of_selected_objects_and_ends_with_the_connection() {
    let kubernetes = with_nodes(1);
    let path = "/api/v1/nodes?watch=true&labelSelector=zone&allowWatchBookmarks=true";
    let response = kubernetes.service().oneshot(get(path)).await.unwrap();
    let mut body = response.into_body();
    for labels in [json!({"zone": "a"}), json!({"zone": "b"}), json!({"zone": null})] {
        let change = json!({"metadata": {"labels": labels}});
        call(&kubernetes, "PATCH", "/api/v1/nodes/w0", change).await;
    }
    let mut next = async || {
        let frame = timeout(Duration::from_mins(2), body.frame()).await.unwrap().unwrap();
        frame.map(|frame| String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap())
    };
    let text = next().await.unwrap();
    let kinds =
        text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["type"].clone());
    assert_eq!(kinds.collect::<Vec<_>>(), ["ADDED", "MODIFIED", "DELETED"]);
    assert!(next().await.unwrap().contains("BOOKMARK"));
    kubernetes.set_api_unavailable(true);
    assert!(next().await.is_err());
    assert!(send(kubernetes.service(), get("/api/v1/nodes")).await.is_err());
    kubernetes.set_api_unavailable(false);
    assert_eq!(call(&kubernetes, "GET", "/api/v1/nodes", json!(null)).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn one_verb_short_is_denied_with_the_verb() {
    let kubernetes = with_nodes(1);
    kubernetes.add_service_account_token("agent-token", "default", "agent");
    kubernetes.apply(json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": "drain"}, "rules": [
            {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list"]},
            {"apiGroups": [""], "resources": ["nodes"], "resourceNames": ["w0"], "verbs": ["delete"]},
            {"apiGroups": [""], "resources": ["pods/eviction"], "verbs": ["create"]}]}));
    kubernetes.apply(json!({"apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding", "metadata": {"name": "drain"},
        "roleRef": {"kind": "ClusterRole", "name": "drain"},
        "subjects": [{"kind": "ServiceAccount", "namespace": "default", "name": "agent"}]}));
    let status = async |method: &str, path: &str| {
        call_as(&kubernetes, "agent-token", method, path, json!({"metadata": {"name": "p"}})).await
    };
    assert_eq!(status("GET", "/api/v1/nodes").await.status, 200);
    let denied = status("PATCH", "/api/v1/nodes/w0").await;
    assert_eq!(denied.status, 403);
    let message = denied.json()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("\"system:serviceaccount:default:agent\" cannot patch"), "{message}");
    let path = "/api/v1/namespaces/default/pods/p/eviction";
    assert_eq!(status("POST", path).await.status, 404);
    assert_eq!(status("DELETE", "/api/v1/nodes/w1").await.status, 403);
    assert_eq!(status("DELETE", "/api/v1/nodes/w0").await.status, 200);
    let path = "/api/v1/namespaces/default/pods";
    assert_eq!(status("GET", path).await.status, 403);
    kubernetes.apply(json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": {"name": "read", "namespace": "default"},
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]}));
    kubernetes.apply(json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": "read", "namespace": "default"},
        "roleRef": {"kind": "Role", "name": "read"},
        "subjects": [{"kind": "User", "name": "system:serviceaccount:default:agent"}]}));
    assert_eq!(status("GET", path).await.status, 200);
    assert_eq!(status("GET", "/api/v1/pods").await.status, 403);
    kubernetes.remove_user("agent-token");
    assert_eq!(status("GET", "/api/v1/nodes").await.status, 401);
}

#[tokio::test(start_paused = true)]
async fn faults_meet_the_requests_that_they_are_for() {
    let kubernetes = with_nodes(1);
    let cordon = || {
        let request = Request::patch("/api/v1/nodes/w0");
        let request = request.header("authorization", format!("Bearer {ADMIN}"));
        let request = request.header("content-type", "application/merge-patch+json");
        let body = json!({"spec": {"unschedulable": true}}).to_string();
        send(kubernetes.service(), request.body(Full::new(body.into())).unwrap())
    };
    let is_cordoned =
        || kubernetes.object("nodes", "", "w0").unwrap()["spec"]["unschedulable"] == true;
    let fault = |action| {
        let fault = Fault::new(action).on_method("PATCH").on_path("/api/v1/nodes");
        fault.on_path_containing("/w0").times(1)
    };
    kubernetes.fault(Fault::new(FaultAction::Hang).on_path_containing("/eviction"));
    kubernetes.fault(fault(FaultAction::CloseBefore));
    assert!(cordon().await.is_err());
    assert!(!is_cordoned());
    kubernetes.fault(fault(FaultAction::Throttle { retry_after: 7 }));
    let throttled = cordon().await.unwrap();
    assert_eq!((throttled.status, throttled.header("retry-after")), (429, Some("7")));
    kubernetes.fault(fault(FaultAction::Hang).of_user("admin"));
    assert!(timeout(Duration::from_mins(10), cordon()).await.is_err());
    kubernetes.fault(fault(FaultAction::Delay(Duration::from_secs(30))));
    let before = Instant::now();
    kubernetes.fault(Fault::new(FaultAction::CloseBefore).of_user("another"));
    assert_eq!(cordon().await.unwrap().status, 200);
    assert_eq!(before.elapsed(), Duration::from_secs(30));
    call(&kubernetes, "PATCH", "/api/v1/nodes/w0", json!({"spec": {"unschedulable": null}})).await;
    kubernetes.fault(fault(FaultAction::CloseAfter));
    assert!(cordon().await.is_err());
    assert!(is_cordoned());
    let answer = FaultAction::Answer { status: 502, headers: Vec::new(), body: "bad".to_owned() };
    kubernetes.fault(Fault::new(answer));
    assert_eq!(cordon().await.unwrap().status, 502);
    kubernetes.clear_faults();
    assert_eq!(cordon().await.unwrap().status, 200);
}

#[tokio::test(start_paused = true)]
async fn effects_say_who_did_what_when() {
    let kubernetes = with_nodes(1);
    seconds(4).await;
    let patch = json!({"spec": {"unschedulable": true},
        "metadata": {"annotations": {"commissaire.io/cordoned-by": "i/o"}}});
    call(&kubernetes, "PATCH", "/api/v1/nodes/w0", patch).await;
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c"}]}});
    let dry_run = "/api/v1/namespaces/default/pods?dryRun=All";
    call(&kubernetes, "POST", dry_run, pod).await;
    let mut effects = kubernetes.effects();
    let dry_run = effects.pop().unwrap();
    assert_eq!(dry_run.summary.as_deref(), Some("create pods default/p (dry run)"));
    let last = effects.last().unwrap();
    assert_eq!(last.at, Duration::from_millis(4500));
    assert_eq!((last.user.as_str(), last.verb.as_str(), last.status), ("admin", "patch", 200));
    let summary = last.summary.as_deref().unwrap();
    assert_eq!(summary, "patch nodes w0 commissaire.io/cordoned-by=i/o unschedulable=true");
    assert!(effects.iter().any(|effect| effect.user == "system:node:w0"));
    assert_eq!(kubernetes.requests_of("admin"), 2);
    let managed = &kubernetes.object("nodes", "", "w0").unwrap()["metadata"]["managedFields"];
    let owner = managed
        .as_array()
        .unwrap()
        .iter()
        .find(|entry| entry["fieldsV1"]["f:spec"]["f:unschedulable"].is_object());
    assert_eq!(owner.unwrap()["manager"], "unknown");
}

#[tokio::test(start_paused = true)]
async fn json_patch_tests_guard_the_cordon() {
    let kubernetes = with_nodes(1);
    let path = "/api/v1/nodes/w0";
    let version = call(&kubernetes, "GET", path, json!(null)).await.json();
    let version = version["metadata"]["resourceVersion"].clone();
    let cordon = json!([
        {"op": "test", "path": "/metadata/resourceVersion", "value": version},
        {"op": "test", "path": "/metadata/annotations", "value": null},
        {"op": "add", "path": "/metadata/annotations", "value": {"commissaire.io/cordoned-by": "x"}},
        {"op": "add", "path": "/spec/unschedulable", "value": true}]);
    assert_eq!(call(&kubernetes, "PATCH", path, cordon.clone()).await.status, 200);
    assert_eq!(call(&kubernetes, "PATCH", path, cordon).await.status, 422);
}

#[tokio::test(start_paused = true)]
async fn custom_resources_reject_strategic_merge_patches() {
    let kubernetes = kubernetes();
    let path = "/apis/cluster.x-k8s.io/v1beta1/namespaces/default/machines";
    let machine = json!({"metadata": {"name": "m", "finalizers": ["machine.cluster.x-k8s.io"]}});
    assert_eq!(call(&kubernetes, "POST", path, machine).await.status, 422);
    let machine = json!({"metadata": {"name": "m"}, "spec": {"clusterName": "c"}});
    assert_eq!(call(&kubernetes, "POST", path, machine).await.status, 201);
    let path = format!("{path}/m");
    let annotations = json!({"cluster.x-k8s.io/skip-remediation": ""});
    let change = json!({"metadata": {"annotations": annotations}});
    let patched = call(&kubernetes, "PATCH", &path, change.clone()).await;
    assert_eq!(patched.json()["metadata"]["annotations"], annotations);
    assert_eq!(patched.json()["metadata"]["generation"], 1);
    let request = Request::patch(&path).header("authorization", format!("Bearer {ADMIN}"));
    let request = request.header("content-type", "application/strategic-merge-patch+json");
    let request = request.body(Full::new(change.to_string().into())).unwrap();
    assert_eq!(send(kubernetes.service(), request).await.unwrap().status, 415);
}

#[tokio::test(start_paused = true)]
async fn token_review_names_the_user_of_a_token() {
    let kubernetes = kubernetes();
    kubernetes.add_user("t", "operator", &["operators"]);
    let path = "/apis/authentication.k8s.io/v1/tokenreviews";
    let review = async |token: &str| {
        call(&kubernetes, "POST", path, json!({"spec": {"token": token}})).await.json()
    };
    let known = review("t").await;
    assert_eq!(known["status"]["authenticated"], true);
    assert_eq!(known["status"]["user"]["username"], "operator");
    assert_eq!(review("x").await["status"]["authenticated"], json!(null));
}
