//! Requests to the container manager service about the nodes of a Kubernetes, and their answers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Controller, DrainOptions, Limit, NodeState, PodState};

/// The parameters of `container.nodes`: all nodes of a Kubernetes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct NodesRequest {
    /// The name of the container manager.
    pub container_manager_name: String,
    /// With these options also a [`DrainForecast`] of each of `forecast`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<DrainOptions>,
    /// The names of nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forecast: Vec<String>,
}

/// The nodes of a Kubernetes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct KubernetesNodes {
    /// The uid of the namespace `kube-system`: the same through all container managers.
    pub kubernetes: String,
    /// The host name or address of the API server, from the configuration.
    #[serde(default)]
    pub server: String,
    /// How many nodes may be unavailable at a time, if the container manager's configuration says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_unavailable: Option<Limit>,
    /// Whether the last node on which pods can be scheduled may be rebooted, without a drain.
    #[serde(default)]
    pub single_node: bool,
    /// All of its nodes, by name.
    pub nodes: Vec<NodeState>,
    /// What a drain of nodes would meet, by their names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub forecasts: BTreeMap<String, DrainForecast>,
    /// Others who reboot or drain nodes and run in the Kubernetes, such as `kured`; looked for with forecasts only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rivals: Vec<String>,
    /// What else may go wrong in a drain, in sentences; looked for with forecasts only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// What a drain of a node would meet now.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DrainForecast {
    /// Pods that block it, each with the reason; the first ones by name.
    #[serde(default)]
    pub blockers: Vec<String>,
    /// The number of pods that block it.
    #[serde(default)]
    pub blocked: usize,
    /// The number of pods that would be evicted.
    #[serde(default)]
    pub evicted: usize,
    /// What may delay it, in sentences: disruption budgets that allow nothing now, long grace periods, pods that fit on no
    /// other node.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// The parameters of `container.node`: one node, what is on it, or both.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each asks for a part of its own")]
pub struct NodeRequest {
    /// The name of the container manager.
    pub container_manager_name: String,
    /// The name of the node.
    pub node: String,
    /// Whether the state of the node is read.
    #[serde(default)]
    pub state: bool,
    /// Whether its pods are listed.
    #[serde(default)]
    pub pods: bool,
    /// Whether its attached volumes are listed.
    #[serde(default)]
    pub volumes: bool,
    /// Whether the drivers of its CSINode are read.
    #[serde(default)]
    pub drivers: bool,
    /// The option `drain.skip_selector`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip_selector: Option<String>,
}

/// A node and what is on it: the parts that were asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeContents {
    /// Whether the node exists; true also if its state was not asked for.
    pub exists: bool,
    /// Its state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<NodeState>,
    /// Its pods.
    #[serde(default)]
    pub pods: Vec<PodState>,
    /// The volumes that are attached to it.
    #[serde(default)]
    pub volumes: Vec<AttachedVolume>,
    /// The drivers of its CSINode.
    #[serde(default)]
    pub drivers: Vec<String>,
}

/// A volume that is attached to a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachedVolume {
    /// The name of the VolumeAttachment.
    pub name: String,
    /// The uids of the pods on the node that use it.
    #[serde(default)]
    pub pods: Vec<String>,
}

/// The parameters of `container.cordon`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CordonRequest {
    /// The name of the container manager.
    pub container_manager_name: String,
    /// The name of the node.
    pub node: String,
    /// Its uid.
    pub uid: String,
    /// The annotation: a [`CordonOwner`](crate::CordonOwner).
    pub cordoned_by: String,
    /// The annotation of a cordon of this installation that is taken over; empty for none.
    #[serde(default)]
    pub takes_over: String,
}

/// The answer to `container.cordon` and `container.uncordon`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum CordonAnswer {
    /// The node is in the wanted state.
    Done {
        /// What could not be done along, in sentences.
        #[serde(default)]
        warnings: Vec<String>,
    },
    /// It has a cordon of another owner, which was left as it is.
    Foreign {
        /// The state of the node.
        state: Box<NodeState>,
    },
    /// There is no such node, or another one has its name.
    Missing,
}

/// The parameters of `container.uncordon`: the cordon is removed only if it has this annotation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UncordonRequest {
    /// The name of the container manager.
    pub container_manager_name: String,
    /// The name of the node.
    pub node: String,
    /// Its uid.
    pub uid: String,
    /// The annotation; empty to remove any cordon.
    pub cordoned_by: String,
}

/// The parameters of `container.evict`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvictRequest {
    /// The name of the container manager.
    pub container_manager_name: String,
    /// The pods.
    pub pods: Vec<EvictedPod>,
}

/// A pod to be evicted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvictedPod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid: another pod of the same name is not evicted.
    pub uid: String,
    /// The seconds that it gets to end, in place of its own grace period.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_period: Option<u64>,
}

/// The answers to `container.evict`, in the order of the pods.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvictAnswer {
    /// One for each pod.
    pub pods: Vec<Eviction>,
}

/// The outcome of an eviction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Eviction {
    /// The pod is being deleted.
    Accepted,
    /// The pod does not exist any more.
    Gone,
    /// A disruption budget does not allow it now.
    Budget {
        /// What the API server says about it.
        message: String,
    },
    /// It has to be requested again, after these seconds at least.
    Later {
        /// The number of seconds.
        seconds: u64,
        /// What the API server says about it.
        message: String,
    },
    /// It cannot be evicted until its configuration is repaired, such as two disruption budgets for one pod.
    Impossible {
        /// What the API server says about it.
        message: String,
    },
    /// The account of the container manager may not evict it.
    Denied {
        /// What the API server says about it.
        message: String,
    },
}

/// The parameters of `container.control_plane`: whether the control plane is complete without one of its nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlPlaneRequest {
    /// The name of the container manager.
    pub container_manager_name: String,
    /// The name of the node that does not count.
    pub except: String,
}

/// The answer to `container.control_plane`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlPlaneAnswer {
    /// Why the control plane is not ready, in a sentence; `None` if the API server and the static pods of all other nodes are.
    pub problem: Option<String>,
}

/// The parameters of `container.workloads`: how many ready pods controllers have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkloadsRequest {
    /// The name of the container manager.
    pub container_manager_name: String,
    /// The controllers, each with its namespace.
    pub workloads: Vec<Workload>,
}

/// A controller of pods.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Workload {
    /// Its namespace.
    pub namespace: String,
    /// Its kind and name.
    #[serde(flatten)]
    pub controller: Controller,
}

/// The answer to `container.workloads`: the ready pods of each controller, in the same order; `None` for one that does not
/// exist or of which that is not known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkloadsAnswer {
    /// The numbers of ready pods.
    pub ready: Vec<Option<u64>>,
}
