//! Garbage collection: objects without their owners, pods without their node, deletions that wait for dependents,
//! content of namespaces.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::object::{self, is_terminating, items, text, time_at};
use crate::store::Key;

const USER: &str = "system:serviceaccount:kube-system:generic-garbage-collector";
const PODS: &str = "system:serviceaccount:kube-system:pod-garbage-collector";

/// Minimum age of a pod before it is deleted because its node does not exist.
const QUARANTINE: SignedDuration = SignedDuration::from_secs(40);
const NAMESPACES: &str = "system:serviceaccount:kube-system:namespace-controller";

fn is_owned_by(object: &Value, uid: &str) -> bool {
    items(object, "/metadata/ownerReferences").iter().any(|owner| owner["uid"] == uid)
}

impl Cluster {
    pub(super) fn collect_garbage(&mut self) {
        self.delete_orphans();
        self.delete_pods_without_node();
        self.finish_deletions();
        self.empty_namespaces();
    }

    /// Deletes the objects none of whose owners exists.
    fn delete_orphans(&mut self) {
        let all = self.store.all();
        let uids: BTreeSet<&str> = all.values().map(|object| object::uid(object)).collect();
        let is_orphan = |object: &Value| {
            let owners = items(object, "/metadata/ownerReferences");
            let exists =
                |owner: &Value| owner["uid"].as_str().is_some_and(|uid| uids.contains(uid));
            !owners.is_empty() && !owners.iter().any(exists) && !is_terminating(object)
        };
        let orphans = all.iter().filter(|(_, object)| is_orphan(object));
        let orphans: Vec<Key> = orphans.map(|(key, _)| key.clone()).collect();
        for key in orphans {
            self.delete_as(USER, &key, None);
        }
    }

    /// Deletes the pods that have been bound for a while to a node that does not exist.
    fn delete_pods_without_node(&mut self) {
        let nodes = self.snapshot("nodes");
        let has_node =
            |pod: &Value| nodes.iter().any(|(key, _)| key.name == text(pod, "/spec/nodeName"));
        for (key, pod) in self.snapshot("pods") {
            if text(&pod, "/spec/nodeName").is_empty() || has_node(&pod) {
                continue;
            }
            let created = time_at(&pod, "/metadata/creationTimestamp");
            if created.is_some_and(|created| self.now().duration_since(created) < QUARANTINE) {
                self.is_restless = true;
            } else {
                self.delete_as(PODS, &key, Some(0));
            }
        }
    }

    /// Carries on with deletions that wait for dependents: these are deleted first, or get rid of their owner.
    fn finish_deletions(&mut self) {
        let has = |object: &Value, finalizer: &str| {
            items(object, "/metadata/finalizers").iter().any(|known| known == finalizer)
        };
        let all = self.store.all().iter();
        let waiting = all.filter(|(_, object)| {
            is_terminating(object) && (has(object, "orphan") || has(object, "foregroundDeletion"))
        });
        let waiting: Vec<_> =
            waiting.map(|(key, object)| (key.clone(), Value::clone(object))).collect();
        for (key, owner) in waiting {
            let uid = object::uid(&owner);
            let dependents = self.store.all().iter().filter(|(_, other)| is_owned_by(other, uid));
            let dependents: Vec<Key> = dependents.map(|(key, _)| key.clone()).collect();
            let is_orphaning = has(&owner, "orphan");
            for dependent in &dependents {
                if is_orphaning {
                    self.update_as(USER, dependent, "", |object| {
                        let owners = items(object, "/metadata/ownerReferences").iter();
                        let others = owners.filter(|owner| owner["uid"] != uid).cloned();
                        object["metadata"]["ownerReferences"] = others.collect();
                    });
                } else {
                    self.delete_as(USER, dependent, None);
                }
            }
            if is_orphaning || dependents.is_empty() {
                self.update_as(USER, &key, "", |object| {
                    let finalizers = items(object, "/metadata/finalizers").iter();
                    let others = finalizers
                        .filter(|known| *known != "orphan" && *known != "foregroundDeletion");
                    object["metadata"]["finalizers"] = others.cloned().collect();
                });
            }
        }
    }

    /// Deletes the content of terminating namespaces, and then the namespaces.
    fn empty_namespaces(&mut self) {
        for (key, namespace) in self.snapshot("namespaces") {
            if !is_terminating(&namespace) {
                continue;
            }
            let content = self.store.all().iter();
            let content = content.filter(|(other, _)| other.namespace == key.name);
            let content: Vec<_> =
                content.map(|(key, object)| (key.clone(), is_terminating(object))).collect();
            if content.is_empty() {
                self.store.remove(&key);
            }
            for (key, _) in content.iter().filter(|(_, is_terminating)| !is_terminating) {
                self.delete_as(NAMESPACES, key, None);
            }
        }
    }
}
