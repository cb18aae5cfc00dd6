//! A Kubernetes in the same process, and requests about its nodes.

use std::sync::Arc;
use std::time::Duration;

use containermgr_svc::ClientFactory;
use model::messages::{CordonAnswer, EvictAnswer, Eviction, KubernetesNodes, NodeContents};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use simulated_kubernetes::{Fault, FaultAction, NodeSettings, Settings, SimulatedKubernetes};

use super::{Fixture, TOKEN};

/// The manifests of the account, which hold all its rights.
const RBAC: &str = include_str!("../../../../../conf/kubernetes/rbac.yaml");

/// The service with a Kubernetes as its container manager `k`.
pub(crate) struct Simulated {
    pub(crate) fixture: Fixture,
    pub(crate) kubernetes: SimulatedKubernetes,
}

impl Simulated {
    /// A Kubernetes with these workers, whose kubelets and controllers run. The account of the service has the rights of
    /// `conf/kubernetes/rbac.yaml`.
    #[expect(clippy::disallowed_methods, reason = "the runtime of a test ends all tasks")]
    pub(crate) async fn start(workers: &[&str]) -> Self {
        let start = "2026-12-01T10:00:00Z".parse().unwrap();
        let kubernetes = SimulatedKubernetes::new(Settings { seed: 1, start });
        kubernetes.add_service_account_token(TOKEN, "commissaire", "commissaire");
        for manifest in RBAC.split("\n---\n") {
            kubernetes.apply(serde_saphyr::from_str(manifest).unwrap());
        }
        for (number, worker) in workers.iter().enumerate() {
            kubernetes.add_node(&NodeSettings::new(worker, &format!("10.0.0.{number}")));
        }
        let running = kubernetes.clone();
        tokio::task::spawn(async move { running.run().await });
        let fixture = Fixture::without_service().await;
        fixture.start_service_with(clients(&kubernetes)).await;
        fixture.configure("k", "kubernetes", json!({"server_url": "https://api.test"})).await;
        Self { fixture, kubernetes }
    }

    /// The answer to a method of `container`.
    pub(crate) async fn ask<T: DeserializeOwned>(&self, method: &str, params: Value) -> T {
        serde_json::from_value(self.try_ask(method, params).await.unwrap()).unwrap()
    }

    pub(crate) async fn try_ask(&self, method: &str, params: Value) -> Result<Value, bus::Error> {
        let mut all = json!({"container_manager_name": "k"});
        let Value::Object(params) = params else { panic!("an object") };
        all.as_object_mut().unwrap().extend(params);
        self.fixture.ask(&format!("container.{method}"), all).await
    }

    pub(crate) async fn nodes(&self) -> KubernetesNodes {
        self.ask("nodes", json!({})).await
    }

    /// The pods on a node.
    pub(crate) async fn pods(&self, node: &str) -> NodeContents {
        self.ask("node", json!({"node": node, "pods": true})).await
    }

    pub(crate) async fn cordon(&self, node: &str, owner: &str, takes_over: &str) -> CordonAnswer {
        let params = json!({"node": node, "uid": self.uid(node), "cordoned_by": owner,
                            "takes_over": takes_over});
        self.ask("cordon", params).await
    }

    pub(crate) async fn uncordon(&self, node: &str, owner: &str) -> CordonAnswer {
        let params = json!({"node": node, "uid": self.uid(node), "cordoned_by": owner});
        self.ask("uncordon", params).await
    }

    /// Evicts pods with these names and uids in the namespace `default`.
    pub(crate) async fn evict(&self, pods: &[(String, String)]) -> Vec<Eviction> {
        let pods: Vec<_> = pods
            .iter()
            .map(|(name, uid)| json!({"namespace": "default", "name": name, "uid": uid}))
            .collect();
        self.ask::<EvictAnswer>("evict", json!({"pods": pods})).await.pods
    }

    pub(crate) fn node(&self, name: &str) -> Value {
        self.kubernetes.object("nodes", "", name).unwrap()
    }

    pub(crate) fn uid(&self, node: &str) -> String {
        self.node(node)["metadata"]["uid"].as_str().unwrap().to_owned()
    }

    /// Applies a change of a node as an administrator.
    pub(crate) fn change_node(&self, name: &str, change: impl Fn(&mut Value)) {
        let mut node = self.node(name);
        change(&mut node);
        self.kubernetes.apply(node);
    }

    /// The names and uids of the pods that are labelled `app=APP`.
    pub(crate) fn pods_of(&self, app: &str) -> Vec<(String, String)> {
        let pods = self.kubernetes.objects("pods").into_iter();
        pods.filter(|pod| pod["metadata"]["labels"]["app"] == app)
            .map(|pod| {
                let text = |field: &str| pod["metadata"][field].as_str().unwrap().to_owned();
                (text("name"), text("uid"))
            })
            .collect()
    }

    /// Waits until so many pods that are labelled `app=APP` are ready.
    pub(crate) async fn until_ready(&self, app: &str, count: usize) {
        self.until(|kubernetes| {
            let is_ready = |pod: &Value| {
                let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
                let mut conditions = conditions.map(|known| (&known["type"], &known["status"]));
                conditions.any(|(kind, status)| kind == "Ready" && status == "True")
            };
            let pods = kubernetes.objects("pods").into_iter();
            let pods = pods.filter(|pod| pod["metadata"]["labels"]["app"] == app);
            pods.filter(is_ready).count() == count
        })
        .await;
    }

    /// Applies a disruption budget of pods that are labelled `app=web`, and waits until it counts two healthy ones.
    pub(crate) async fn apply_budget(&self, name: &str, min_available: u32) {
        self.kubernetes.apply(json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"minAvailable": min_available, "selector": {"matchLabels": {"app": "web"}}}}));
        self.until(|kubernetes| {
            let budget = kubernetes.object("poddisruptionbudgets", "default", name).unwrap();
            budget["status"]["currentHealthy"] == 2
        })
        .await;
    }

    /// Waits until controllers and kubelets have brought about this state.
    pub(crate) async fn until(&self, is_reached: impl Fn(&SimulatedKubernetes) -> bool) {
        let reached = async {
            while !is_reached(&self.kubernetes) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_mins(1), reached).await.unwrap();
    }

    /// The verbs and resources of the requests since this was last called.
    pub(crate) fn requests(&self) -> Vec<String> {
        let effects = self.kubernetes.take_effects().into_iter();
        let ours = effects.filter(|effect| effect.user.ends_with(":commissaire:commissaire"));
        ours.map(|effect| format!("{} {}", effect.verb, effect.resource)).collect()
    }
}

/// A workload whose pods are labelled `app=NAME`, in the namespace `default`.
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

/// A fault of the next request with this method and the beginning of this path.
pub(crate) fn fault_once(method: &str, path: &str, action: &FaultAction) -> Fault {
    // By its text: a new filter does not have to be named here.
    let fault = json!({"method": method, "path": path, "requests": 1, "action": action});
    serde_json::from_value(fault).unwrap()
}

/// Clients of this Kubernetes, with the token of the service's account.
pub(crate) fn clients(kubernetes: &SimulatedKubernetes) -> ClientFactory {
    let kubernetes = kubernetes.clone();
    ClientFactory::Function(Arc::new(move |_| Ok(kubernetes.client(TOKEN))))
}
