//! The state of a pod, digested from its object. Pure.

use k8s_openapi::api::core::v1::{Pod, PodCondition, Volume};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::core::{Selector, SelectorExt as _};
use model::{Controller, PodKind, PodState};

use super::node_state::{stamp, text};
use super::tolerations::tolerate;

/// The annotation of the mirror of a pod that its kubelet runs by itself.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// The taint of a cordon.
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// The kind of controllers whose pods stay on their nodes.
const DAEMON_SET: &str = "DaemonSet";

/// The seconds that a pod gets to end where it does not say so.
const GRACE_PERIOD: i64 = 30;

/// The state of a pod. Every DaemonSet counts as existing until [`Kubernetes::mark_orphans`](super::Kubernetes::mark_orphans).
pub(super) fn digest(pod: &Pod, skip: Option<&Selector>) -> PodState {
    let metadata = &pod.metadata;
    let controller = controller(pod);
    let ready = condition(pod, "Ready");
    let labels = metadata.labels.clone().unwrap_or_default();
    let grace_period = metadata.deletion_grace_period_seconds.or_else(|| {
        let spec = pod.spec.as_ref();
        spec.and_then(|spec| spec.termination_grace_period_seconds)
    });
    PodState {
        namespace: text(metadata.namespace.as_ref()),
        name: text(metadata.name.as_ref()),
        uid: text(metadata.uid.as_ref()),
        kind: kind(pod),
        controller: controller
            .map(|owner| Controller { kind: owner.kind.clone(), name: owner.name.clone() }),
        is_ready: ready.is_some_and(|ready| ready.status == "True"),
        ready_changed: stamp(ready.and_then(|ready| ready.last_transition_time.as_ref())),
        deleted_at: stamp(metadata.deletion_timestamp.as_ref()),
        grace_period: grace_period.unwrap_or(GRACE_PERIOD).try_into().unwrap_or(0),
        tolerates_cordon: tolerates_cordon(pod),
        local_data: volumes(pod).any(|volume| volume.empty_dir.is_some()),
        is_skipped: skip.is_some_and(|selector| selector.matches(&labels)),
    }
}

/// The uid of the DaemonSet that controls a pod.
pub(super) fn daemon_set(pod: &Pod) -> Option<&str> {
    controller(pod).filter(|owner| owner.kind == DAEMON_SET).map(|owner| owner.uid.as_str())
}

/// The names of the claims of a pod, in its namespace.
pub(super) fn claims(pod: &Pod) -> Vec<String> {
    let name = text(pod.metadata.name.as_ref());
    volumes(pod)
        .filter_map(|volume| match (&volume.persistent_volume_claim, &volume.ephemeral) {
            (Some(claim), _) => Some(claim.claim_name.clone()),
            // The claim of a generic ephemeral volume is named after its pod and itself.
            (None, Some(_)) => Some(format!("{name}-{}", volume.name)),
            (None, None) => None,
        })
        .collect()
}

/// Whether a pod is the mirror of a server of the control plane on this node.
pub(super) fn is_control_plane(pod: &PodState, node: &str) -> bool {
    let mut servers = ["etcd", "kube-apiserver"].into_iter();
    pod.kind == PodKind::Mirror
        && servers.any(|server| {
            pod.name.strip_prefix(server).and_then(|name| name.strip_prefix('-')) == Some(node)
        })
}

fn kind(pod: &Pod) -> PodKind {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    let annotations = pod.metadata.annotations.as_ref();
    if annotations.is_some_and(|annotations| annotations.contains_key(MIRROR)) {
        PodKind::Mirror
    } else if daemon_set(pod).is_some() {
        PodKind::DaemonSet
    } else if matches!(phase, Some("Succeeded" | "Failed")) {
        PodKind::Finished
    } else {
        PodKind::Plain
    }
}

fn controller(pod: &Pod) -> Option<&OwnerReference> {
    let owners = pod.metadata.owner_references.as_ref()?;
    owners.iter().find(|owner| owner.controller == Some(true))
}

fn condition<'a>(pod: &'a Pod, name: &str) -> Option<&'a PodCondition> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == name)
}

fn volumes(pod: &Pod) -> impl Iterator<Item = &Volume> {
    pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten())
}

/// The taint of a cordon has no value.
fn tolerates_cordon(pod: &Pod) -> bool {
    let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref());
    tolerate(tolerations.unwrap_or_default(), (UNSCHEDULABLE, "", "NoSchedule"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::kubernetes::recorded::one;

    fn pods() -> Vec<Pod> {
        serde_json::from_value(one("pod-list-mixed-200").response["items"].take()).unwrap()
    }

    fn with(change: impl Fn(&mut Value)) -> Pod {
        let mut pod = one("pod-get-terminating-200").response;
        change(&mut pod);
        serde_json::from_value(pod).unwrap()
    }

    #[test]
    fn recorded_pods_are_digested() {
        let states: Vec<_> = pods().iter().map(|pod| digest(pod, None)).collect();
        let kinds: Vec<_> = states.iter().map(|pod| (pod.name.as_str(), pod.kind)).collect();
        assert_eq!(
            kinds,
            [
                ("agent-x1", PodKind::DaemonSet),
                ("static-worker-1", PodKind::Mirror),
                ("unbound", PodKind::Plain),
                ("web-pending", PodKind::Plain),
            ]
        );
        let set = Controller { kind: "DaemonSet".to_owned(), name: "agent".to_owned() };
        assert_eq!(states[0].controller, Some(set));
        assert!(states[0].is_ready && !states[2].is_ready && states[2].controller.is_none());
        assert_eq!((states[2].grace_period, states[2].deleted_at.as_str()), (30, ""));
        assert_eq!(states[3].deleted_at, "2026-11-21T23:45:14.000000");
        assert!(states.iter().all(|pod| !pod.tolerates_cordon));
        assert_eq!(daemon_set(&pods()[0]), Some("85740ee2-8bfb-4b39-9183-e510b94d396e"));
    }

    #[test]
    fn finished_pods_and_local_data_are_recognized() {
        let scratch = one("pod-succeeded-status-200").response;
        let pod = digest(&serde_json::from_value(scratch).unwrap(), None);
        assert_eq!((pod.kind, pod.local_data), (PodKind::Finished, true));
        let failed = digest(&with(|pod| pod["status"]["phase"] = "Failed".into()), None);
        assert_eq!(failed.kind, PodKind::Finished);
    }

    #[test]
    fn grace_period_of_a_deletion_has_precedence() {
        let grace = |deletion: Value, spec: Value| {
            let pod = with(|pod| {
                pod["metadata"]["deletionGracePeriodSeconds"] = deletion.clone();
                pod["spec"]["terminationGracePeriodSeconds"] = spec.clone();
            });
            digest(&pod, None).grace_period
        };
        assert_eq!(grace(json!(1), json!(600)), 1);
        assert_eq!(grace(Value::Null, json!(600)), 600);
        assert_eq!(grace(Value::Null, Value::Null), 30);
    }

    #[test]
    fn tolerations_of_a_cordon_are_recognized() {
        for (toleration, expected) in [
            (json!({"operator": "Exists"}), true),
            (json!({"operator": "Exists", "effect": "NoSchedule"}), true),
            (json!({"operator": "Exists", "effect": "NoExecute"}), false),
            (json!({"key": UNSCHEDULABLE, "operator": "Exists"}), true),
            (json!({"key": UNSCHEDULABLE, "effect": "NoSchedule"}), true),
            (json!({"key": UNSCHEDULABLE, "operator": "Equal", "value": "x"}), false),
            (json!({"key": "node.kubernetes.io/not-ready", "operator": "Exists"}), false),
        ] {
            let pod = with(|pod| pod["spec"]["tolerations"] = json!([toleration]));
            assert_eq!(digest(&pod, None).tolerates_cordon, expected, "{toleration}");
        }
    }

    #[test]
    fn mirror_pods_of_the_control_plane_are_those_of_their_node() {
        let pod =
            |name: &str, kind| PodState { name: name.to_owned(), kind, ..PodState::default() };
        for (name, kind, expected) in [
            ("etcd-w1", PodKind::Mirror, true),
            ("kube-apiserver-w1", PodKind::Mirror, true),
            ("etcd-w1", PodKind::Plain, false),
            ("etcd-backup-w1", PodKind::Mirror, false),
            ("kube-proxy-w1", PodKind::Mirror, false),
        ] {
            assert_eq!(is_control_plane(&pod(name, kind), "w1"), expected, "{name}");
        }
    }

    #[test]
    fn claims_are_those_of_claims_and_of_generic_ephemeral_volumes() {
        let pod = with(|pod| {
            pod["spec"]["volumes"] = json!([
                {"name": "data", "persistentVolumeClaim": {"claimName": "pg-data"}},
                {"name": "scratch", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}},
                {"name": "config", "configMap": {"name": "c"}},
            ]);
        });
        assert_eq!(claims(&pod), ["pg-data", "web-2-scratch"]);
    }
}
