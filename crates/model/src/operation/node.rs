//! The node of a host in an operation.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::Stamp;
use super::super::messages::Workload;

/// The node of a host in an operation: which it is, and its state before the reboot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct HostNode {
    /// The id of the Kubernetes.
    #[schema(required)]
    pub kubernetes: String,
    /// Its name.
    #[schema(required)]
    pub name: String,
    /// Its uid.
    #[schema(ignore)]
    pub uid: String,
    /// Whether it belongs to the control plane.
    #[schema(required)]
    pub is_control_plane: bool,
    /// Whether it was ready before: it has to be ready again.
    #[schema(required)]
    pub was_ready: bool,
    /// Whether others had cordoned it before: it is never uncordoned.
    #[schema(required)]
    pub was_cordoned: bool,
    /// Whether it is cordoned by this operation, or may be.
    #[schema(required)]
    pub is_cordoned: bool,
    /// When that was requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub cordoned_at: Option<Stamp>,
    /// When the drain in process began.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub drain_began: Option<Stamp>,
    /// The longest grace period of an evicted pod, in seconds.
    #[schema(ignore)]
    pub grace_period: u64,
    /// Whether its drain did not end in time, and it is rebooted all the same.
    #[schema(ignore)]
    pub is_forced: bool,
    /// Whether others have uncordoned it in this turn, and it was cordoned again.
    #[schema(ignore)]
    pub was_uncordoned: bool,
    /// When its kubelet reported last before the reboot.
    #[schema(ignore)]
    pub heartbeat: Stamp,
    /// The DaemonSet and mirror pods that were ready before the reboot, `NAMESPACE/NAME` of the DaemonSet or the pod.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(ignore)]
    pub pods: Vec<String>,
    /// The drivers of its CSINode before the reboot.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(ignore)]
    pub drivers: Vec<String>,
    /// The controllers of evicted pods, each with its ready pods before.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(ignore)]
    pub workloads: Vec<(Workload, u64)>,
}
