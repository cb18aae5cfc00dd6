//! A minimal client (requests and responses as JSON) and test objects.

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::{Request, Response};
use serde_json::{Value, json};
use simulated_kubernetes::{
    AnswerBody, ConnectionClosed, KubernetesService, MASTERS, NodeSettings, Settings,
    SimulatedKubernetes,
};
use tower::ServiceExt as _;

/// The token of the administrator.
pub(crate) const ADMIN: &str = "admin-token";

pub(crate) fn kubernetes() -> SimulatedKubernetes {
    let start = "2026-12-01T10:00:00Z".parse().unwrap();
    let kubernetes = SimulatedKubernetes::new(Settings { seed: 1, start });
    kubernetes.add_user(ADMIN, "admin", &[MASTERS]);
    kubernetes
}

/// A received response.
#[derive(Debug, Clone)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) text: String,
}

impl Answered {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }
}

pub(crate) async fn send(
    service: KubernetesService,
    request: Request<Full<Bytes>>,
) -> Result<Answered, ConnectionClosed> {
    let response: Response<AnswerBody> = service.oneshot(request).await?;
    let (head, body) = response.into_parts();
    let body = body.collect().await?.to_bytes();
    let headers = head.headers.iter();
    let headers =
        headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
    Ok(Answered {
        status: head.status.as_u16(),
        headers: headers.collect(),
        text: String::from_utf8(body.to_vec()).unwrap(),
    })
}

/// Sends a JSON request as the user with this token.
pub(crate) async fn call_as(
    kubernetes: &SimulatedKubernetes,
    token: &str,
    method: &str,
    path: &str,
    body: Value,
) -> Answered {
    let media = match method {
        "PATCH" if body.is_array() => "application/json-patch+json",
        "PATCH" => "application/merge-patch+json",
        _ => "application/json",
    };
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let request = Request::builder().method(method).uri(path);
    let request = request.header("authorization", format!("Bearer {token}"));
    let request = request.header("content-type", media);
    let request = request.body(Full::new(Bytes::from(body))).unwrap();
    send(kubernetes.service(), request).await.unwrap()
}

/// The same as the administrator.
pub(crate) async fn call(
    kubernetes: &SimulatedKubernetes,
    method: &str,
    path: &str,
    body: Value,
) -> Answered {
    call_as(kubernetes, ADMIN, method, path, body).await
}

/// Evicts a pod in the namespace `default`.
pub(crate) async fn evict(kubernetes: &SimulatedKubernetes, pod: &str) -> Answered {
    let path = format!("/api/v1/namespaces/default/pods/{pod}/eviction");
    let eviction =
        json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}});
    call(kubernetes, "POST", &path, eviction).await
}

/// Kubernetes with kubelets and controllers that run, and these workers.
#[expect(clippy::disallowed_methods, reason = "the runtime of a test ends all tasks")]
pub(crate) fn running(workers: &[&str]) -> SimulatedKubernetes {
    let kubernetes = kubernetes();
    for (number, worker) in workers.iter().enumerate() {
        kubernetes.add_node(&NodeSettings::new(worker, &format!("10.0.0.{number}")));
    }
    let controllers = kubernetes.clone();
    tokio::task::spawn(async move { controllers.run().await });
    kubernetes
}

/// Waits for this time and half a second, so that controllers have run.
pub(crate) async fn seconds(count: u64) {
    tokio::time::sleep(std::time::Duration::from_millis(count * 1000 + 500)).await;
}

/// A deployment, a stateful set or a daemon set whose pods are labelled `app=NAME`.
pub(crate) fn workload(kind: &str, name: &str, replicas: u32) -> Value {
    let mut workload = json!({"apiVersion": "apps/v1", "kind": kind,
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "c", "image": "example.invalid/app:1"}]}}}});
    if kind != "DaemonSet" {
        workload["spec"]["replicas"] = replicas.into();
    }
    workload
}

/// A budget for the pods that are labelled `app=NAME`.
pub(crate) fn budget(app: &str, spec: &Value) -> Value {
    let mut budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": {"name": app, "namespace": "default"}, "spec": spec});
    budget["spec"]["selector"] = json!({"matchLabels": {"app": app}});
    budget
}

/// The pods whose names begin so.
pub(crate) fn pods(kubernetes: &SimulatedKubernetes, prefix: &str) -> Vec<Value> {
    let pods = kubernetes.objects("pods").into_iter();
    pods.filter(|pod| name(pod).starts_with(prefix)).collect()
}

pub(crate) fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap().to_owned()
}

pub(crate) fn is_ready(object: &Value) -> bool {
    let conditions = object["status"]["conditions"].as_array().unwrap();
    conditions.iter().any(|known| known["type"] == "Ready" && known["status"] == "True")
}
