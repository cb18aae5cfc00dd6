//! The state of a pod, and what a drain does with it.

use serde::{Deserialize, Serialize};

use crate::{DrainOptions, Stamp};

/// The state of a pod on a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct PodState {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid: a replacement of the same name has another one.
    pub uid: String,
    /// What kind of pod it is.
    #[serde(default)]
    pub kind: PodKind,
    /// The object that replaces it; `None` if nothing does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controller: Option<Controller>,
    /// Whether its condition `Ready` is `True`.
    #[serde(default)]
    pub is_ready: bool,
    /// When its condition `Ready` changed last.
    #[serde(default)]
    pub ready_changed: Stamp,
    /// When it is to be gone, if it is being deleted; empty otherwise.
    #[serde(default)]
    pub deleted_at: Stamp,
    /// The seconds that it gets to end.
    #[serde(default)]
    pub grace_period: u64,
    /// Whether it tolerates the taint of a cordon.
    #[serde(default)]
    pub tolerates_cordon: bool,
    /// Whether it has an emptyDir volume.
    #[serde(default)]
    pub local_data: bool,
    /// Whether the option `drain.skip_selector` selects it.
    #[serde(default)]
    pub is_skipped: bool,
}

/// What kind of pod it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PodKind {
    /// None of the following.
    #[default]
    Plain,
    /// The mirror of a pod that its kubelet runs by itself.
    Mirror,
    /// Controlled by a DaemonSet, which starts it again on the same node.
    DaemonSet,
    /// Controlled by a DaemonSet that does not exist any more.
    Orphan,
    /// It has ended.
    Finished,
}

/// The object that replaces a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Controller {
    /// Its kind, such as `ReplicaSet`.
    pub kind: String,
    /// Its name, in the namespace of the pod.
    pub name: String,
}

/// What a drain does with a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PodClass {
    /// It stays on the node.
    Stays,
    /// It is evicted, until it is gone.
    Evict,
    /// It is evicted, and a replacement on the same node stays.
    EvictOnce,
    /// It is being deleted: the drain waits for it.
    Terminating,
    /// It has no controller, and blocks the drain.
    NoController,
    /// It has local data, and blocks the drain.
    LocalData,
}

impl PodState {
    /// What a drain with these options does with the pod: the first rule that applies.
    pub fn class(&self, options: &DrainOptions) -> PodClass {
        match self.kind {
            PodKind::Mirror | PodKind::DaemonSet => return PodClass::Stays,
            PodKind::Orphan | PodKind::Finished if self.deleted_at.is_empty() => {
                return PodClass::Evict;
            }
            _ => {}
        }
        if !self.deleted_at.is_empty() {
            PodClass::Terminating
        } else if self.tolerates_cordon {
            PodClass::EvictOnce
        } else if self.controller.is_none() && options.force != Some(true) {
            PodClass::NoController
        } else if self.is_skipped {
            PodClass::Stays
        } else if self.local_data && options.keep_local_data == Some(true) {
            PodClass::LocalData
        } else {
            PodClass::Evict
        }
    }

    /// `NAMESPACE/NAME`.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn class(pod: Value, options: Value) -> PodClass {
        let base = json!({"namespace": "shop", "name": "web-1", "uid": "1",
                          "controller": {"kind": "ReplicaSet", "name": "web"}});
        let Value::Object(mut all) = base else { panic!("an object") };
        let Value::Object(pod) = pod else { panic!("an object") };
        all.extend(pod);
        all.retain(|_, value| !value.is_null());
        let pod: PodState = serde_json::from_value(Value::Object(all)).unwrap();
        pod.class(&serde_json::from_value(options).unwrap())
    }

    #[test]
    fn first_rule_that_applies_decides() {
        let deleted = "2026-11-30T12:00:00.000000";
        let none = json!({});
        for (pod, options, expected) in [
            (json!({}), &none, PodClass::Evict),
            (json!({"kind": "mirror", "deleted_at": deleted}), &none, PodClass::Stays),
            (json!({"kind": "daemon_set"}), &none, PodClass::Stays),
            (json!({"kind": "orphan"}), &none, PodClass::Evict),
            (json!({"kind": "orphan", "deleted_at": deleted}), &none, PodClass::Terminating),
            (json!({"kind": "finished", "controller": null}), &none, PodClass::Evict),
            (json!({"deleted_at": deleted, "controller": null}), &none, PodClass::Terminating),
            (json!({"tolerates_cordon": true, "controller": null}), &none, PodClass::EvictOnce),
            (json!({"controller": null}), &none, PodClass::NoController),
            (json!({"controller": null, "is_skipped": true}), &none, PodClass::NoController),
            (json!({"controller": null}), &json!({"force": true}), PodClass::Evict),
            (json!({"is_skipped": true, "local_data": true}), &none, PodClass::Stays),
            (json!({"local_data": true}), &none, PodClass::Evict),
            (json!({"local_data": true}), &json!({"keep_local_data": true}), PodClass::LocalData),
        ] {
            assert_eq!(class(pod.clone(), options.clone()), expected, "{pod} {options}");
        }
    }
}
