//! Helpers for the pods of controllers.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::object::{self, fields, has_condition, is_controlled_by, is_terminating, text};
use crate::store::Key;

/// A pod with its key.
pub(super) type Pod = (Key, Arc<Value>);

/// Whether the pod counts toward the replicas of its controller: not terminating and not finished.
pub(super) fn is_active(pod: &Value) -> bool {
    !is_terminating(pod) && !["Succeeded", "Failed"].contains(&text(pod, "/status/phase"))
}

pub(super) fn is_ready(pod: &Value) -> bool {
    has_condition(pod, "Ready")
}

pub(super) fn ready_count<'a>(pods: impl IntoIterator<Item = &'a Pod>) -> usize {
    pods.into_iter().filter(|(_, pod)| is_ready(pod)).count()
}

/// A reference to the controller that owns an object.
pub(super) fn owner_reference(owner: &Value) -> Value {
    json!([{"apiVersion": owner["apiVersion"], "kind": owner["kind"],
        "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"], "controller": true,
        "blockOwnerDeletion": true}])
}

/// A pod from the template of its controller.
pub(super) fn from_template(owner: &Value) -> Value {
    let template = &owner["spec"]["template"];
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": object::namespace(owner)}, "spec": template["spec"]});
    for map in ["labels", "annotations"] {
        if let Some(values) = fields(template, &format!("/metadata/{map}")) {
            pod["metadata"][map] = values.clone().into();
        }
    }
    pod["metadata"]["ownerReferences"] = owner_reference(owner);
    pod
}

impl Cluster {
    /// The pods that an object controls.
    pub(super) fn pods_of(&self, owner: &Value) -> Vec<Pod> {
        let (uid, namespace) = (object::uid(owner), object::namespace(owner));
        let pods = crate::actor::resource_named("pods");
        let pods = self.store.list(pods, Some(namespace));
        let pods = pods.filter(|(_, pod)| is_controlled_by(pod, uid));
        pods.map(|(key, pod)| (key.clone(), Arc::clone(pod))).collect()
    }

    /// Writes the status of a controller's object, with the generation that it is about.
    pub(super) fn set_status(&mut self, user: &str, key: &Key, status: &Value) {
        self.update_as(user, key, "status", |object| {
            for (field, value) in status.as_object().into_iter().flatten() {
                object["status"][field] = value.clone();
            }
            object["status"]["observedGeneration"] = object["metadata"]["generation"].clone();
        });
    }
}
