//! The state of a node.

use serde::{Deserialize, Serialize};

use super::CordonOwner;
use crate::Stamp;

/// What precedes a list of nodes with the reasons why they are unavailable, in sentences. The list is left out where not all
/// clusters may be seen.
pub const UNAVAILABLE_NODES: &str = "these nodes are unavailable: ";

/// The state of a node, as the API server shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeState {
    /// Its name.
    pub name: String,
    /// Its uid: another node of the same name has another one.
    pub uid: String,
    /// The version of the object, as a precondition of changes.
    #[serde(default)]
    pub version: String,
    /// Its addresses and host names.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// The machine id of the machine whose kubelet reports it; empty before the first report.
    #[serde(default)]
    pub machine_id: String,
    /// The boot id that its kubelet reported.
    #[serde(default)]
    pub boot_id: String,
    /// Whether it has the control plane's label, or runs a mirror pod of the API server or of etcd.
    #[serde(default)]
    pub is_control_plane: bool,
    /// Whether its condition `Ready` is `True`.
    #[serde(default)]
    pub is_ready: bool,
    /// When the condition `Ready` changed last.
    #[serde(default)]
    pub ready_changed: Stamp,
    /// When its kubelet reported last.
    #[serde(default)]
    pub heartbeat: Stamp,
    /// Conditions and taints because of which it is not fit for pods although it is ready: `DiskPressure`.
    #[serde(default)]
    pub problems: Vec<String>,
    /// Whether it is cordoned.
    #[serde(default)]
    pub unschedulable: bool,
    /// Its annotation with the [`CordonOwner`](super::CordonOwner); empty without one.
    #[serde(default)]
    pub cordoned_by: String,
    /// The field manager that wrote `spec.unschedulable` last; empty if the API server does not show it.
    #[serde(default)]
    pub cordon_manager: String,
    /// When it did.
    #[serde(default)]
    pub cordoned_at: Stamp,
    /// The taint by which an autoscaler announces the deletion of the node; empty without one.
    #[serde(default)]
    pub deletion_taint: String,
    /// The state that OpenShift's machine config daemon reports; empty without one.
    #[serde(default)]
    pub machine_config: String,
    /// The number of volumes that are attached to it.
    #[serde(default)]
    pub volumes_attached: usize,
}

impl NodeState {
    /// Why the node counts as unavailable; `None` if pods can be scheduled on it.
    pub fn unavailable_because(&self) -> Option<String> {
        if !self.is_ready {
            return Some("not Ready".to_owned());
        }
        if let Some(problem) = self.problems.first() {
            return Some(problem.clone());
        }
        self.unschedulable.then(|| "unschedulable".to_owned())
    }

    /// Who has cordoned the node, and since when, for a sentence.
    pub fn cordon(&self) -> String {
        let by = match (self.cordoned_by.parse(), self.cordon_manager.as_str()) {
            (Ok(CordonOwner::Manual { principal, .. }), _) => {
                format!("{principal} with `commctl host cordon`")
            }
            (Ok(CordonOwner::Operation { instance, operation }), _) => {
                format!("the operation {operation} of the installation {instance}")
            }
            (Err(()), "") => "others".to_owned(),
            (Err(()), manager) => manager.to_owned(),
        };
        if self.cordoned_at.is_empty() {
            format!("cordoned by {by}")
        } else {
            format!("cordoned by {by} since {}", self.cordoned_at)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unavailable_nodes_have_a_reason() {
        let ready = NodeState { is_ready: true, ..NodeState::default() };
        let pressed = NodeState { problems: vec!["DiskPressure".to_owned()], ..ready.clone() };
        let cordoned = NodeState { unschedulable: true, ..ready.clone() };
        for (node, reason) in [
            (&ready, None),
            (&NodeState::default(), Some("not Ready")),
            (&pressed, Some("DiskPressure")),
            (&cordoned, Some("unschedulable")),
        ] {
            assert_eq!(node.unavailable_because().as_deref(), reason);
        }
    }

    #[test]
    fn cordons_name_their_owner_or_their_field_manager() {
        let mut node = NodeState { unschedulable: true, ..NodeState::default() };
        assert_eq!(node.cordon(), "cordoned by others");
        node.cordon_manager = "kubectl-cordon".to_owned();
        node.cordoned_at = "2026-11-30T12:00:00.000000".into();
        assert_eq!(node.cordon(), "cordoned by kubectl-cordon since 2026-11-30T12:00:00.000000");
        node.cordoned_by = "i2/manual/ann".to_owned();
        assert!(node.cordon().starts_with("cordoned by ann with `commctl host cordon` since "));
        node.cordoned_by = "i2/o1".to_owned();
        let expected = "cordoned by the operation o1 of the installation i2 since ";
        assert!(node.cordon().starts_with(expected));
    }
}
