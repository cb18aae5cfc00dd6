//! What a scenario with Kubernetes has in addition: nodes, container managers, workloads, and what happens to them.
//!
//! - `draw`: how it is drawn from a seed

pub(super) mod draw;

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A Kubernetes whose nodes hosts are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct KubernetesTraits {
    /// The node of each host; `None` for a host that is no node.
    pub(crate) nodes: Vec<Option<NodeTraits>>,
    /// The number of nodes that are none of the hosts.
    pub(crate) other_nodes: usize,
    pub(crate) managers: Vec<ManagerTraits>,
    /// The container manager of each cluster.
    pub(crate) manager_of: Vec<usize>,
    pub(crate) workloads: Vec<Workload>,
    /// The members of each quorum group.
    pub(crate) quorum_groups: Vec<Vec<usize>>,
}

/// The node of a host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct NodeTraits {
    pub(crate) is_control_plane: bool,
    /// From the boot of the host until its kubelet reports.
    pub(crate) kubelet_start: Duration,
    /// From the start of a pod until it is ready.
    pub(crate) pod_start: Duration,
    /// Its machine id; cloned machines have the same one.
    pub(crate) machine_id: usize,
    /// The host whose identity it reports over SSH in place of its own.
    pub(crate) lie: Option<Lie>,
    /// Whether an administrator has set the name of its node.
    pub(crate) is_pinned: bool,
}

/// What a host reports falsely.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Lie {
    /// The machine id of another host.
    MachineId(usize),
    /// The boot id of another host.
    BootId(usize),
}

/// A container manager; all reach the same Kubernetes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ManagerTraits {
    pub(crate) max_unavailable: Option<usize>,
    pub(crate) single_node: bool,
}

/// What runs in the Kubernetes. Workloads are named by their kind and place in the list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Workload {
    pub(crate) kind: WorkloadKind,
    /// Whether its pods tolerate a cordon.
    pub(crate) tolerates_cordon: bool,
    /// Whether its pods have an emptyDir volume.
    pub(crate) has_local_data: bool,
    /// Whether its pods have the label `tier=stays`.
    pub(crate) is_skipped: bool,
    /// How long its pods take to terminate, in seconds.
    pub(crate) terminates_after: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum WorkloadKind {
    /// With a disruption budget, if it has one: how many pods may be unavailable.
    Deployment {
        replicas: usize,
        max_unavailable: Option<usize>,
    },
    StatefulSet {
        replicas: usize,
    },
    DaemonSet,
    /// A pod without a controller, on the node of a host.
    NakedPod {
        host: usize,
    },
}

/// A node that something happens to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum NodeChoice {
    /// That of a host.
    OfHost(usize),
    /// The one at this place, modulo their number, among the nodes that an operation has cordoned at that moment.
    Cordoned(usize),
    /// That of the next host that is drained and at its reboot; the event happens then.
    AtReboot,
}

/// A fault of the Kubernetes, or something that others do to its nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum KubernetesEvent {
    /// The API server is unavailable for some time.
    ApiOutage(Duration),
    /// The API server cannot reach its store for some time.
    ApiStoreOutage(Duration),
    /// The next requests to the API server meet a fault.
    ApiFault { fault: ApiFault, requests: u32 },
    /// The history of the API server is compacted: lists that are under way start over.
    Compaction,
    /// Others cordon a node.
    Cordon(NodeChoice),
    /// Others uncordon a node.
    Uncordon(NodeChoice),
    /// Others delete a node; its kubelet registers it again after some time, if at all.
    Delete { node: NodeChoice, recreated_after: Option<Duration> },
    /// An autoscaler marks a node for deletion, for some time.
    DeletionTaint { node: NodeChoice, lasts: Duration },
    /// A kubelet reports that it is not ready, for some time.
    NotReady { node: NodeChoice, lasts: Duration },
    /// A kubelet stops until the next boot of its host.
    KubeletStops(NodeChoice),
    /// A pod without a controller is created on a node.
    NakedPod(NodeChoice),
    /// A pod with a controller is bound to a node without the scheduler; its replacement is scheduled.
    BoundPod(NodeChoice),
    /// A DaemonSet is deleted.
    DaemonSetDeleted(usize),
    /// A disruption budget changes.
    Budget { workload: usize, max_unavailable: usize },
    /// The address of a host is given to another machine.
    AddressMoves { host: usize, runs_kubelet: bool },
}

/// A fault of requests to the API server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ApiFault {
    /// 429 with `Retry-After`.
    Throttled,
    /// 500.
    InternalError,
    /// There is no answer, and the request is not executed.
    Hangs,
    /// The request is executed, and the connection closed.
    AnswerLost,
}

impl KubernetesTraits {
    /// The same with one thing less.
    pub(super) fn smaller(&self) -> Vec<Self> {
        let mut smaller = Vec::new();
        for index in 0..self.workloads.len() {
            // Others are named by their places.
            let mut it = self.clone();
            if index + 1 == it.workloads.len() {
                it.workloads.pop();
            } else if it.workloads[index].kind != WorkloadKind::DaemonSet {
                it.workloads[index].kind = WorkloadKind::DaemonSet;
            } else {
                continue;
            }
            smaller.push(it);
        }
        for index in 0..self.quorum_groups.len() {
            let mut it = self.clone();
            it.quorum_groups.remove(index);
            smaller.push(it);
        }
        if self.other_nodes > 0 {
            smaller.push(Self { other_nodes: 0, ..self.clone() });
        }
        smaller
    }

    /// Removes what is about hosts from this number on.
    pub(super) fn truncate(&mut self, hosts: usize) {
        self.nodes.truncate(hosts);
        for node in self.nodes.iter_mut().flatten() {
            node.lie = node.lie.filter(|lie| lie.of() < hosts);
        }
        for group in &mut self.quorum_groups {
            group.retain(|member| *member < hosts);
        }
        for workload in &mut self.workloads {
            if let WorkloadKind::NakedPod { host } = &mut workload.kind {
                *host = (*host).min(hosts.saturating_sub(1));
            }
        }
    }
}

impl Lie {
    /// The host whose identity is reported.
    pub(crate) fn of(self) -> usize {
        match self {
            Self::MachineId(host) | Self::BootId(host) => host,
        }
    }
}

impl KubernetesEvent {
    /// The host that it is about.
    pub(super) fn host(&self) -> Option<usize> {
        let node = match self {
            Self::AddressMoves { host, .. } => return Some(*host),
            Self::Cordon(node)
            | Self::Uncordon(node)
            | Self::Delete { node, .. }
            | Self::DeletionTaint { node, .. }
            | Self::NotReady { node, .. }
            | Self::KubeletStops(node)
            | Self::NakedPod(node)
            | Self::BoundPod(node) => node,
            _ => return None,
        };
        match node {
            NodeChoice::OfHost(host) => Some(*host),
            NodeChoice::Cordoned(_) | NodeChoice::AtReboot => None,
        }
    }
}
