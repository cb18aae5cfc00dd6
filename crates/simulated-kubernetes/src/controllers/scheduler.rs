//! The scheduler: among the nodes with sufficient allocatable resources and tolerated taints, the one with the fewest
//! pods.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::pods::is_active;
use crate::actor::resource_named;
use crate::cluster::Cluster;
use crate::object::{
    condition, fields, has_condition, is_terminating, is_true, items, number, set_condition, text,
};
use crate::quantity;

const USER: &str = "system:kube-scheduler";

/// Sum of the resource requests of the pods on a node.
#[derive(Debug, Clone, Default)]
struct Usage {
    pods: usize,
    cpu: f64,
    memory: f64,
}

impl Usage {
    fn add(&mut self, pod: &Value) {
        self.pods += 1;
        self.cpu += request(pod, "cpu");
        self.memory += request(pod, "memory");
    }

    fn fits(&self, pod: &Value, node: &Value) -> bool {
        let allocatable = |resource: &str| {
            let quantity = &node["status"]["allocatable"][resource];
            quantity.as_str().and_then(quantity::parse).unwrap_or(f64::INFINITY)
        };
        let count = f64::from(u32::try_from(self.pods).unwrap_or(u32::MAX));
        count + 1.0 <= allocatable("pods")
            && self.cpu + request(pod, "cpu") <= allocatable("cpu")
            && self.memory + request(pod, "memory") <= allocatable("memory")
    }
}

fn request(pod: &Value, resource: &str) -> f64 {
    let containers = items(pod, "/spec/containers").iter();
    let requests = containers.filter_map(|container| {
        let quantity = &container["resources"]["requests"][resource];
        quantity.as_str().and_then(quantity::parse)
    });
    requests.sum()
}

/// Duration for which a pod tolerates a taint; `None` if it does not.
pub(super) fn tolerates(pod: &Value, taint: &Value) -> Option<Duration> {
    let tolerations = items(pod, "/spec/tolerations").iter();
    let times = tolerations.filter_map(|toleration| {
        let key = text(toleration, "/key");
        let is_key = key.is_empty() || taint["key"] == key;
        let is_effect = toleration["effect"].is_null()
            || toleration["effect"] == ""
            || toleration["effect"] == taint["effect"];
        let is_value = text(toleration, "/operator") == "Exists"
            || text(toleration, "/value") == text(taint, "/value");
        let seconds = number(toleration, "/tolerationSeconds");
        let time = seconds.map_or(Duration::MAX, |seconds| {
            Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
        });
        (is_key && is_effect && is_value).then_some(time)
    });
    times.max()
}

/// Whether the node matches the `nodeSelector` of the pod.
pub(super) fn matches_node_selector(pod: &Value, node: &Value) -> bool {
    let mut wanted = fields(pod, "/spec/nodeSelector").into_iter().flatten();
    wanted.all(|(label, value)| node["metadata"]["labels"][label] == *value)
}

fn is_candidate(pod: &Value, node: &Value) -> bool {
    let mut taints = items(node, "/spec/taints").iter();
    let cordon = json!({"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"});
    (!is_true(node, "/spec/unschedulable") || tolerates(pod, &cordon).is_some())
        && has_condition(node, "Ready")
        && matches_node_selector(pod, node)
        && taints
            .all(|taint| taint["effect"] == "PreferNoSchedule" || tolerates(pod, taint).is_some())
}

impl Cluster {
    pub(super) fn schedule(&mut self) {
        let pods = self.snapshot("pods");
        let nodes = self.snapshot("nodes");
        let mut usage: BTreeMap<String, Usage> = BTreeMap::new();
        for (_, pod) in pods.iter().filter(|(_, pod)| is_active(pod)) {
            usage.entry(text(pod, "/spec/nodeName").to_owned()).or_default().add(pod);
        }
        let is_waiting =
            |pod: &Value| text(pod, "/spec/nodeName").is_empty() && !is_terminating(pod);
        for (key, pod) in pods.iter().filter(|(_, pod)| is_waiting(pod)) {
            let used = |name: &str| usage.get(name).cloned().unwrap_or_default();
            let candidates = nodes
                .iter()
                .filter(|(key, node)| is_candidate(pod, node) && used(&key.name).fits(pod, node));
            let best = candidates.min_by_key(|(key, _)| (used(&key.name).pods, key.name.clone()));
            if let Some((node, _)) = best {
                if self.bind_pod(resource_named("pods"), key, &node.name).is_ok() {
                    self.log(USER, "create", key, "binding", &format!("nodeName={}", node.name));
                }
                usage.entry(node.name.clone()).or_default().add(pod);
            } else if condition(pod, "PodScheduled").is_none() {
                let message = format!("0/{} nodes are available", nodes.len());
                let time = self.time();
                self.update_as(USER, key, "status", |pod| {
                    let condition = json!({"type": "PodScheduled", "status": "False",
                        "reason": "Unschedulable", "message": message, "lastProbeTime": null,
                        "lastTransitionTime": time});
                    set_condition(pod, condition);
                });
            }
        }
    }
}
