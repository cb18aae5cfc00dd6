//! The system with hosts that are nodes of a Kubernetes: host 0 is the node `n0`.

use std::time::Duration;

use model::{Cluster, ContainerManagerConfig, HostState};
use serde_json::json;
use simulated_kubernetes::{Fault, FaultAction, MASTERS, SimulatedKubernetes};
use tokio::time::sleep;

use super::Stage;
use crate::kubernetes::{Kubernetes, USER, machine_id};
use crate::network::api::TOKEN;
use crate::scenario::kubernetes::{
    KubernetesTraits, ManagerTraits, NodeTraits, Workload, WorkloadKind,
};
use crate::scenario::{Service, address};

/// How long it takes until the pods of workloads are ready.
const PODS_START: Duration = Duration::from_secs(20);

/// How long it takes until a kubelet has reported.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// The Kubernetes of a stage.
pub(super) struct Nodes {
    /// How many of the hosts are the control plane, from the first one on.
    pub(super) control_plane: usize,
    /// The number of nodes that are none of the hosts.
    pub(super) others: usize,
    /// The pods of a deployment, and how many of them its disruption budget allows to be unavailable.
    pub(super) pods: Option<(usize, usize)>,
    /// From the start of a pod until it is ready.
    pub(super) pod_start: Duration,
    /// How long a pod takes to terminate, in seconds.
    pub(super) terminates_after: u64,
}

impl Default for Nodes {
    fn default() -> Self {
        let pod_start = Duration::from_secs(2);
        Self { control_plane: 0, others: 1, pods: None, pod_start, terminates_after: 1 }
    }
}

impl Stage {
    /// All services, and a cluster with so many hosts that are nodes.
    pub(super) async fn on_nodes(count: usize, nodes: Nodes) -> Self {
        let mut stage = Self::start(count).await;
        let node = |host: usize| NodeTraits {
            is_control_plane: host < nodes.control_plane,
            kubelet_start: Duration::from_secs(2),
            pod_start: nodes.pod_start,
            machine_id: host,
            lie: None,
            is_pinned: false,
        };
        let workload = |(replicas, allowed)| Workload {
            kind: WorkloadKind::Deployment { replicas, max_unavailable: Some(allowed) },
            tolerates_cordon: false,
            has_local_data: false,
            is_skipped: false,
            terminates_after: nodes.terminates_after,
        };
        let traits = KubernetesTraits {
            nodes: (0..count).map(|host| Some(node(host))).collect(),
            other_nodes: nodes.others,
            managers: vec![ManagerTraits { max_unavailable: None, single_node: false }],
            manager_of: vec![0],
            workloads: nodes.pods.map(workload).into_iter().collect(),
            quorum_groups: Vec::new(),
        };
        let start = stage.processes.ground().clock.wall();
        let kubernetes = Kubernetes::start(1, &traits, &stage.hosts, &stage.truth, start);
        tokio::task::spawn_local(kubernetes.clone().run());
        stage.processes.ground_mut().kubernetes = Some(kubernetes);
        for host in 0..count {
            // As an investigation records it.
            let known = stage.storage.find::<HostState>(&address(host)).await.unwrap();
            let known = known.map(|found| found.record).unwrap_or_default();
            let (address, machine_id) = (address(host).into(), machine_id(host));
            let known = HostState { address, machine_id, ..known };
            stage.storage.save(&known).await.unwrap();
        }
        let config = json!({"name": "k", "type": "kubernetes",
            "options": {"server_url": "https://api.test", "create_nodes": false}});
        let config: ContainerManagerConfig = serde_json::from_value(config).unwrap();
        stage.storage.save(&config).await.unwrap();
        let mut cluster = stage.storage.get::<Cluster>("web").await.unwrap().record;
        "k".clone_into(&mut cluster.container_manager);
        stage.storage.save(&cluster).await.unwrap();
        stage.run(Service::ContainerManager).await;
        sleep(PODS_START).await;
        stage
    }

    /// The API server.
    pub(super) fn api(&self) -> &SimulatedKubernetes {
        &self.processes.ground().kubernetes.as_ref().unwrap().api
    }

    /// Sets how many pods of the deployment may be unavailable.
    pub(super) fn allow(&self, pods: usize) {
        let mut budget = self.api().object("poddisruptionbudgets", "default", "app0").unwrap();
        budget["spec"]["maxUnavailable"] = json!(pods);
        self.api().apply(budget);
    }

    /// Has the kubelet of a node report that it is ready or not, and waits until it has.
    pub(super) async fn report_ready(&self, node: &str, is_ready: bool) {
        self.api().set_kubelet_ready(node, is_ready);
        sleep(HEARTBEAT).await;
    }

    /// Has changes of nodes by the container manager take so long.
    pub(super) fn slow_patches(&self, takes: Duration) {
        let slow = Fault::new(FaultAction::Delay(takes)).of_user(USER);
        self.api().fault(slow.on_method("PATCH"));
    }

    /// Gives the account of the container manager all rights, or none.
    pub(super) fn set_rights(&self, has_rights: bool) {
        let groups: &[&str] = if has_rights { &[MASTERS] } else { &[] };
        self.api().add_user(TOKEN, USER, groups);
    }
}
