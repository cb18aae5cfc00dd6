//! Deployment and replica set controllers. A template change replaces all pods at once.

use serde_json::{Value, json};

use super::pods::{Pod, from_template, is_active, is_ready, owner_reference, ready_count};
use crate::cluster::Cluster;
use crate::object::{self, is_controlled_by, is_terminating, number};

const DEPLOYMENTS: &str = "system:serviceaccount:kube-system:deployment-controller";
const REPLICA_SETS: &str = "system:serviceaccount:kube-system:replicaset-controller";
const HASH: &str = "pod-template-hash";

/// The `pod-template-hash` of a template (FNV-1a over its JSON).
fn hash(template: &Value) -> String {
    let bytes = template.to_string().into_bytes();
    let hash = bytes
        .iter()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    format!("{hash:08x}")
}

impl Cluster {
    pub(super) fn reconcile_deployments(&mut self) {
        for (key, deployment) in self.snapshot("deployments") {
            if is_terminating(&deployment) {
                continue;
            }
            let hash = hash(&deployment["spec"]["template"]);
            let name = format!("{}-{hash}", key.name);
            let uid = object::uid(&deployment);
            let sets = self.snapshot("replicasets");
            let sets = sets.into_iter().filter(|(_, set)| is_controlled_by(set, uid));
            let (current, older): (Vec<_>, Vec<_>) = sets.partition(|(key, _)| key.name == name);
            let replicas = &deployment["spec"]["replicas"];
            if current.is_empty() {
                self.create_as(DEPLOYMENTS, replica_set(&deployment, &name, &hash));
            }
            for (key, _) in &current {
                self.update_as(DEPLOYMENTS, key, "", |set| {
                    set["spec"]["replicas"] = replicas.clone();
                });
            }
            for (key, _) in &older {
                self.update_as(DEPLOYMENTS, key, "", |set| set["spec"]["replicas"] = 0.into());
            }
            let count = |field: &str| {
                let sets = current.iter().chain(&older);
                let counts = sets.map(|(_, set)| number(&set["status"], field).unwrap_or_default());
                counts.sum::<i64>()
            };
            let updated = current.first().and_then(|(_, set)| number(set, "/status/replicas"));
            let (all, ready) = (count("/replicas"), count("/readyReplicas"));
            let wanted = replicas.as_i64().unwrap_or(1);
            let status = json!({"replicas": all, "updatedReplicas": updated.unwrap_or_default(),
                "readyReplicas": ready, "availableReplicas": ready,
                "unavailableReplicas": (wanted - ready).max(0)});
            self.set_status(DEPLOYMENTS, &key, &status);
        }
    }

    pub(super) fn reconcile_replica_sets(&mut self) {
        for (key, set) in self.snapshot("replicasets") {
            if is_terminating(&set) {
                continue;
            }
            let pods = self.pods_of(&set);
            let mut active: Vec<Pod> = pods.into_iter().filter(|(_, pod)| is_active(pod)).collect();
            let wanted = number(&set, "/spec/replicas").unwrap_or(1);
            let wanted = usize::try_from(wanted).unwrap_or_default();
            for _ in active.len()..wanted {
                let mut pod = from_template(&set);
                pod["metadata"]["generateName"] = format!("{}-", key.name).into();
                self.create_as(REPLICA_SETS, pod);
            }
            // Unready pods are deleted first.
            active.sort_by_key(|(_, pod)| !is_ready(pod));
            for (key, _) in active.split_off(wanted.min(active.len())) {
                self.delete_as(REPLICA_SETS, &key, None);
            }
            let pods = self.pods_of(&set);
            let active: Vec<Pod> = pods.into_iter().filter(|(_, pod)| is_active(pod)).collect();
            let ready = ready_count(&active);
            let status = json!({"replicas": active.len(), "fullyLabeledReplicas": active.len(),
                "readyReplicas": ready, "availableReplicas": ready});
            self.set_status(REPLICA_SETS, &key, &status);
        }
    }
}

fn replica_set(deployment: &Value, name: &str, hash: &str) -> Value {
    let spec = &deployment["spec"];
    let mut set = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {"name": name, "namespace": object::namespace(deployment),
            "labels": spec["template"]["metadata"]["labels"],
            "ownerReferences": owner_reference(deployment)},
        "spec": {"replicas": spec["replicas"], "selector": spec["selector"],
            "template": spec["template"]}});
    set["metadata"]["labels"][HASH] = hash.into();
    set["spec"]["selector"]["matchLabels"][HASH] = hash.into();
    set["spec"]["template"]["metadata"]["labels"][HASH] = hash.into();
    set
}
