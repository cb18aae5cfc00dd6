//! Daemon set controller: one pod per tolerated node, including cordoned and not-ready nodes.

use serde_json::{Value, json};

use super::pods::{Pod, from_template, is_active, is_ready};
use super::scheduler::{matches_node_selector, tolerates};
use crate::cluster::Cluster;
use crate::object::{is_terminating, items, text};

const USER: &str = "system:serviceaccount:kube-system:daemon-set-controller";

/// Tolerations that are added to all daemon pods: taint key and effect.
const TOLERATED: &[(&str, &str)] = &[
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];

/// Keys of node taints that daemon pods always tolerate.
const CONDITIONS: &[&str] = &[
    "node.kubernetes.io/not-ready",
    "node.kubernetes.io/unreachable",
    "node.kubernetes.io/unschedulable",
    "node.kubernetes.io/disk-pressure",
];

impl Cluster {
    pub(super) fn reconcile_daemon_sets(&mut self) {
        let nodes = self.snapshot("nodes");
        for (key, set) in self.snapshot("daemonsets") {
            if is_terminating(&set) {
                continue;
            }
            let pods = self.pods_of(&set);
            let is_on = |(_, pod): &&Pod, node: &str| text(pod, "/spec/nodeName") == node;
            let mut pod = from_template(&set);
            pod["metadata"]["generateName"] = format!("{}-", key.name).into();
            tolerate(&mut pod);
            let (mut desired, mut current, mut ready, mut misscheduled) = (0, 0, 0, 0);
            for (node_key, node) in &nodes {
                let here = pods.iter().filter(|pod| is_on(pod, &node_key.name));
                let here: Vec<&Pod> = here.filter(|(_, pod)| is_active(pod)).collect();
                if !is_wanted(&pod, node) {
                    misscheduled += i32::from(!here.is_empty());
                    continue;
                }
                desired += 1;
                current += i32::from(!here.is_empty());
                ready += i32::from(here.iter().any(|(_, pod)| is_ready(pod)));
                if here.is_empty() {
                    pod["spec"]["nodeName"] = node_key.name.clone().into();
                    self.create_as(USER, pod.clone());
                }
                for (key, _) in here.iter().skip(1) {
                    self.delete_as(USER, key, None);
                }
            }
            let has_node = |pod: &Value| {
                nodes.iter().any(|(node, _)| node.name == text(pod, "/spec/nodeName"))
            };
            for (key, _) in pods.iter().filter(|(_, pod)| !has_node(pod)) {
                self.delete_as(USER, key, Some(0));
            }
            let status = json!({"desiredNumberScheduled": desired,
                "currentNumberScheduled": current, "numberReady": ready, "numberAvailable": ready,
                "numberUnavailable": desired - ready, "numberMisscheduled": misscheduled,
                "updatedNumberScheduled": current});
            self.set_status(USER, &key, &status);
        }
    }
}

fn is_wanted(pod: &Value, node: &Value) -> bool {
    let mut taints = items(node, "/spec/taints").iter();
    matches_node_selector(pod, node)
        && taints.all(|taint| {
            taint["effect"] == "PreferNoSchedule"
                || CONDITIONS.contains(&text(taint, "/key"))
                || tolerates(pod, taint).is_some()
        })
}

fn tolerate(pod: &mut Value) {
    let added = TOLERATED
        .iter()
        .map(|(key, effect)| json!({"key": key, "operator": "Exists", "effect": effect}));
    let tolerations = items(pod, "/spec/tolerations").iter().cloned().chain(added);
    pod["spec"]["tolerations"] = tolerations.collect();
}
