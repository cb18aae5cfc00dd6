//! Stateful set controller: pods with stable names, created in order.

use serde_json::{Value, json};

use super::pods::{Pod, from_template, is_active, is_ready, ready_count};
use crate::cluster::Cluster;
use crate::object::{is_terminating, number};

const USER: &str = "system:serviceaccount:kube-system:statefulset-controller";

impl Cluster {
    pub(super) fn reconcile_stateful_sets(&mut self) {
        for (key, set) in self.snapshot("statefulsets") {
            if is_terminating(&set) {
                continue;
            }
            let wanted = number(&set, "/spec/replicas").unwrap_or(1);
            let pods = self.pods_of(&set);
            self.create_next(&set, &key.name, wanted, &pods);
            let ordinal = |(key, _): &&Pod| {
                key.name.rsplit('-').next().and_then(|ordinal| ordinal.parse::<i64>().ok())
            };
            let surplus = pods.iter().filter(|pod| ordinal(pod).is_some_and(|it| it >= wanted));
            if let Some((key, pod)) = surplus.max_by_key(ordinal)
                && !is_terminating(pod)
            {
                self.delete_as(USER, key, None);
            }
            let ready = ready_count(pods.iter().filter(|(_, pod)| is_active(pod)));
            let status = json!({"replicas": pods.len(), "readyReplicas": ready,
                "availableReplicas": ready, "currentReplicas": pods.len(),
                "updatedReplicas": pods.len()});
            self.set_status(USER, &key, &status);
        }
    }

    /// Creates missing pods. The name of a terminating pod cannot be reused until the pod is removed.
    fn create_next(&mut self, set: &Value, name: &str, wanted: i64, pods: &[Pod]) {
        let is_parallel = set["spec"]["podManagementPolicy"] == "Parallel";
        for ordinal in 0..wanted {
            let pod_name = format!("{name}-{ordinal}");
            let known = pods.iter().find(|(key, _)| key.name == pod_name);
            if known.is_none() {
                let mut pod = from_template(set);
                pod["metadata"]["name"] = pod_name.clone().into();
                pod["metadata"]["labels"]["statefulset.kubernetes.io/pod-name"] = pod_name.into();
                pod["metadata"]["labels"]["apps.kubernetes.io/pod-index"] =
                    ordinal.to_string().into();
                self.create_as(USER, pod);
            }
            let is_settled = known.is_some_and(|(_, pod)| is_ready(pod) && !is_terminating(pod));
            if !is_parallel && !is_settled {
                return;
            }
        }
    }
}
