//! Node lifecycle controller: missing heartbeats, condition taints, and taint-based eviction.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::scheduler::tolerates;
use crate::cluster::Cluster;
use crate::object::{
    condition, has_condition, is_terminating, is_true, items, set_condition, text, time_at,
};
use crate::store::Key;

const USER: &str = "system:serviceaccount:kube-system:node-controller";

/// Time without a heartbeat after which `Ready` becomes `Unknown` (node monitor grace period).
const GRACE: SignedDuration = SignedDuration::from_secs(40);

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

impl Cluster {
    pub(crate) fn watch_nodes(&mut self) {
        let pods = self.snapshot("pods");
        for (key, node) in self.snapshot("nodes") {
            let heartbeat = condition(&node, "Ready")
                .and_then(|ready| time_at(ready, "/lastHeartbeatTime"))
                .or_else(|| time_at(&node, "/metadata/creationTimestamp"));
            let is_silent = heartbeat.is_some_and(|last| self.now().duration_since(last) > GRACE);
            let is_unknown =
                condition(&node, "Ready").is_some_and(|ready| ready["status"] == "Unknown");
            let is_ready = has_condition(&node, "Ready") && !is_silent;
            if is_silent && !is_unknown {
                self.mark_unknown(&key);
            }
            if !is_ready {
                let here = pods.iter().filter(|(_, pod)| text(pod, "/spec/nodeName") == key.name);
                for (pod_key, _) in here.filter(|(_, pod)| has_condition(pod, "Ready")) {
                    self.mark_not_ready(pod_key);
                }
            }
            self.is_restless |= !is_ready || !self.kubelets.contains_key(&key.name);
            self.set_taints(&key, is_ready, is_silent || is_unknown);
            self.evict_by_taints(&key, &pods);
        }
    }

    fn mark_unknown(&mut self, key: &Key) {
        let time = self.time();
        self.update_as(USER, key, "status", |node| {
            let mut ready = condition(node, "Ready").cloned().unwrap_or_else(|| {
                json!({"type": "Ready", "lastHeartbeatTime": node["metadata"]["creationTimestamp"]})
            });
            ready["status"] = "Unknown".into();
            ready["reason"] = "NodeStatusUnknown".into();
            ready["message"] = "Kubelet stopped posting node status.".into();
            ready["lastTransitionTime"] = time.into();
            set_condition(node, ready);
        });
    }

    fn mark_not_ready(&mut self, key: &Key) {
        let time = self.time();
        self.update_as(USER, key, "status", |pod| {
            let condition = json!({"type": "Ready", "status": "False", "lastProbeTime": null,
                "lastTransitionTime": time});
            set_condition(pod, condition);
        });
    }

    /// Updates the condition taints of a node and the taint of a cordon.
    fn set_taints(&mut self, key: &Key, is_ready: bool, is_unreachable: bool) {
        let Some(node) = self.store.get(key) else { return };
        let is_not_ready = !is_ready && !is_unreachable;
        let wanted = [
            (NOT_READY, "NoSchedule", is_not_ready),
            (NOT_READY, "NoExecute", is_not_ready),
            (UNREACHABLE, "NoSchedule", is_unreachable),
            (UNREACHABLE, "NoExecute", is_unreachable),
            (UNSCHEDULABLE, "NoSchedule", is_true(node, "/spec/unschedulable")),
        ];
        let is_of = |taint: &Value, key: &str, effect: &str| {
            taint["key"] == key && taint["effect"] == effect
        };
        let mut taints = items(node, "/spec/taints").to_vec();
        for (key, effect, is_wanted) in wanted {
            let is_there = taints.iter().any(|taint| is_of(taint, key, effect));
            if is_wanted && !is_there {
                taints.push(json!({"key": key, "effect": effect, "timeAdded": self.time()}));
            }
            if !is_wanted {
                taints.retain(|taint| !is_of(taint, key, effect));
            }
        }
        if taints != items(node, "/spec/taints") {
            self.update_as(USER, key, "", |node| node["spec"]["taints"] = taints.into());
        }
    }

    /// Deletes pods whose toleration of a `NoExecute` taint has expired.
    fn evict_by_taints(&mut self, key: &Key, pods: &[(Key, std::sync::Arc<Value>)]) {
        let Some(node) = self.store.get(key).cloned() else { return };
        let taints = items(&node, "/spec/taints").iter();
        let taints: Vec<_> = taints.filter(|taint| taint["effect"] == "NoExecute").collect();
        if taints.is_empty() {
            return;
        }
        self.is_restless = true;
        let here = pods.iter().filter(|(_, pod)| text(pod, "/spec/nodeName") == key.name);
        for (pod_key, pod) in here.filter(|(_, pod)| !is_terminating(pod)) {
            let is_over = |taint: &&Value| is_over(pod, taint, self.now());
            if taints.iter().any(is_over) {
                self.delete_as(USER, pod_key, None);
            }
        }
    }
}

fn is_over(pod: &Value, taint: &Value, now: Timestamp) -> bool {
    let Some(tolerated) = tolerates(pod, taint) else { return true };
    let Some(added) = time_at(taint, "/timeAdded") else { return false };
    let since = now.duration_since(added);
    Duration::try_from(since).is_ok_and(|since| since >= tolerated)
}
