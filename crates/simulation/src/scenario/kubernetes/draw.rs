//! How the Kubernetes of a scenario is drawn: from a random stream of its own, so that everything else that a seed gives
//! is the same without it.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use super::{
    ApiFault, KubernetesEvent, KubernetesTraits, Lie, ManagerTraits, NodeChoice, NodeTraits,
    Workload, WorkloadKind,
};
use crate::fate::{Fault, Point};
use crate::scenario::draw::{moment, start};
use crate::scenario::{Happening, Replica, Request, Scenario, Service};

/// Makes the stream of a seed another one than that of the rest.
const STREAM: u64 = 0x4b75_6265_726e_6574;

/// The share of scenarios that have Kubernetes.
const SHARE: f64 = 0.2;

/// Adds a Kubernetes to a scenario, by chance or in any case.
pub(in crate::scenario) fn with_kubernetes(mut scenario: Scenario, is_wanted: bool) -> Scenario {
    let mut random = StdRng::seed_from_u64(scenario.seed ^ STREAM);
    let by_chance = random.random_bool(SHARE);
    if !(by_chance || is_wanted) {
        return scenario;
    }
    let random = &mut random;
    let hosts = scenario.hosts.len();
    let begun = scenario.clusters;
    scenario.clusters = begun.max(random.random_range(1..=3)).min(hosts.max(1));
    scenario.cluster_of = (0..hosts).map(|host| host % scenario.clusters).collect();
    let managers = managers(random);
    let manager_of = (0..scenario.clusters).map(|_| random.random_range(0..managers.len()));
    let manager_of = manager_of.collect();
    let traits = KubernetesTraits {
        nodes: nodes(random, hosts),
        other_nodes: random.random_range(0..3),
        managers,
        manager_of,
        workloads: workloads(random, hosts),
        quorum_groups: quorum_groups(random, hosts),
    };
    // A drain takes a while, and so does a node until it is ready again.
    scenario.heals_at *= random.random_range(1..6);
    let lasts = scenario.heals_at;
    for cluster in begun..scenario.clusters {
        let at = moment(random, lasts / 4);
        scenario.happenings.push((at, Happening::Request(start(random, hosts, cluster))));
    }
    for (_, happening) in &mut scenario.happenings {
        if let Happening::Request(Request::Start { options, .. }) = happening {
            add_options(random, options);
        }
    }
    for _ in 0..random.random_range(0..10) {
        let event = event(random, hosts, traits.workloads.len());
        scenario.happenings.push((moment(random, lasts), Happening::Kubernetes(event)));
    }
    for index in 0..traits.workloads.len() {
        if let WorkloadKind::Deployment { max_unavailable: Some(0), .. } =
            traits.workloads[index].kind
            && random.random_bool(0.7)
        {
            let event = KubernetesEvent::Budget { workload: index, max_unavailable: 1 };
            scenario.happenings.push((moment(random, lasts), Happening::Kubernetes(event)));
        }
    }
    for _ in 0..random.random_range(0..4) {
        let request = request(random, hosts);
        scenario.happenings.push((moment(random, lasts), Happening::Request(request)));
    }
    for _ in 0..random.random_range(0..3) {
        let number = random.random_range(1..3);
        let replica = Replica { service: Service::ContainerManager, number };
        let happening = if random.random_bool(0.6) {
            Happening::Crash { replica, down_for: millis(random, 60) }
        } else {
            Happening::Stall { replica, lasts: millis(random, 60) }
        };
        scenario.happenings.push((moment(random, lasts), happening));
    }
    scenario.happenings.sort_by_key(|(at, _)| *at);
    if random.random_bool(0.3) {
        let step = random.random_range(0..2000);
        let fault = *Fault::ALL.choose(random).unwrap_or(&Fault::CrashBefore);
        let replica = Replica { service: Service::ContainerManager, number: 1 };
        scenario.points.push((replica, Point { step, fault }));
    }
    scenario.kubernetes = Some(traits);
    scenario
}

impl Scenario {
    /// The same with a Kubernetes whose nodes all hosts are, and a deployment with a disruption budget.
    pub(crate) fn on_nodes(mut self) -> Self {
        let node = NodeTraits {
            is_control_plane: false,
            kubelet_start: Duration::from_secs(2),
            pod_start: Duration::from_secs(2),
            machine_id: 0,
            lie: None,
            is_pinned: false,
        };
        let deployment = WorkloadKind::Deployment { replicas: 3, max_unavailable: Some(1) };
        let workload = |kind| Workload {
            kind,
            tolerates_cordon: false,
            has_local_data: false,
            is_skipped: false,
            terminates_after: 1,
        };
        let nodes = 0..self.hosts.len();
        let nodes = nodes.map(|host| Some(NodeTraits { machine_id: host, ..node.clone() }));
        self.kubernetes = Some(KubernetesTraits {
            nodes: nodes.collect(),
            other_nodes: 0,
            managers: vec![ManagerTraits { max_unavailable: None, single_node: false }],
            manager_of: vec![0; self.clusters],
            workloads: vec![workload(deployment), workload(WorkloadKind::DaemonSet)],
            quorum_groups: Vec::new(),
        });
        for (_, happening) in &mut self.happenings {
            if let Happening::Request(Request::Start { options, .. }) = happening {
                options["ready"] = json!({"settle": 2});
            }
        }
        self
    }
}

fn millis(random: &mut StdRng, seconds: u64) -> Duration {
    Duration::from_millis(random.random_range(0..seconds * 1000))
}

fn managers(random: &mut StdRng) -> Vec<ManagerTraits> {
    let count = random.random_range(1..=3);
    let manager = |_| ManagerTraits {
        max_unavailable: random.random_bool(0.3).then(|| random.random_range(1..5)),
        single_node: random.random_bool(0.1),
    };
    (0..count).map(manager).collect()
}

fn nodes(random: &mut StdRng, hosts: usize) -> Vec<Option<NodeTraits>> {
    let mut candidates: Vec<usize> = (0..hosts).collect();
    candidates.shuffle(random);
    let control_plane = if random.random_bool(0.5) && hosts > 5 { 3 } else { 1 };
    let control_plane = &candidates[..control_plane.min(hosts)];
    let are_cloned = random.random_bool(0.1);
    let node = |host: usize| {
        let other = random.random_range(0..hosts);
        let lies = [Lie::MachineId(other), Lie::BootId(other)];
        let lie = random.random_bool(0.02).then(|| *lies.choose(random).unwrap_or(&lies[0]));
        NodeTraits {
            is_control_plane: control_plane.contains(&host),
            kubelet_start: if random.random_bool(0.1) {
                millis(random, 90)
            } else {
                millis(random, 8)
            },
            pod_start: millis(random, 6),
            machine_id: if are_cloned && random.random_bool(0.5) { 0 } else { host },
            lie: lie.filter(|lie| lie.of() != host),
            is_pinned: random.random_bool(0.05),
        }
    };
    let nodes: Vec<_> = (0..hosts).map(node).collect();
    nodes
        .into_iter()
        .map(|node| (node.is_control_plane || random.random_bool(0.9)).then_some(node))
        .collect()
}

fn workloads(random: &mut StdRng, hosts: usize) -> Vec<Workload> {
    let most = hosts.clamp(2, 8);
    let mut kinds = Vec::new();
    for _ in 0..random.random_range(1..4) {
        let replicas = random.random_range(1..=most);
        let budgets = [None, Some(0), Some(1), Some(1), Some(2)];
        let max_unavailable = *budgets.choose(random).unwrap_or(&None);
        kinds.push(WorkloadKind::Deployment { replicas, max_unavailable });
    }
    if random.random_bool(0.4) {
        kinds.push(WorkloadKind::StatefulSet { replicas: random.random_range(1..4) });
    }
    if random.random_bool(0.6) {
        kinds.push(WorkloadKind::DaemonSet);
    }
    if random.random_bool(0.2) {
        kinds.push(WorkloadKind::NakedPod { host: random.random_range(0..hosts) });
    }
    let workload = |kind| Workload {
        kind,
        tolerates_cordon: random.random_bool(0.1),
        has_local_data: random.random_bool(0.1),
        is_skipped: random.random_bool(0.1),
        terminates_after: *[0, 1, 1, 5, 40].choose(random).unwrap_or(&1),
    };
    kinds.into_iter().map(workload).collect()
}

/// Groups of three or five hosts of all clusters; each host is in one at most.
fn quorum_groups(random: &mut StdRng, hosts: usize) -> Vec<Vec<usize>> {
    let mut candidates: Vec<usize> = (0..hosts).collect();
    candidates.shuffle(random);
    let mut groups = Vec::new();
    for _ in 0..random.random_range(0..3) {
        let size = if random.random_bool(0.5) { 3 } else { 5 };
        if candidates.len() >= size {
            groups.push(candidates.split_off(candidates.len() - size));
        }
    }
    groups
}

/// Adds options of drains and of nodes that become ready again.
fn add_options(random: &mut StdRng, options: &mut Value) {
    match random.random_range(0..10) {
        0 => options["drain"] = json!(false),
        1..=3 => {}
        _ => options["drain"] = drain_options(random),
    }
    if random.random_bool(0.7) {
        options["ready"] = json!({
            "timeout": random.random_range(30..600),
            "settle": *[0, 2, 10, 30].choose(random).unwrap_or(&0),
            "workloads": random.random_bool(0.5),
        });
    }
}

fn drain_options(random: &mut StdRng) -> Value {
    let on_timeout = ["postpone", "postpone", "stop", "reboot", "reboot"];
    let mut drain = json!({
        "timeout": random.random_range(10..300),
        "attempts": random.random_range(1..4),
        "on_timeout": on_timeout.choose(random),
    });
    if drain["on_timeout"] != "postpone" {
        // Such drains have to time out now and then.
        drain["timeout"] = json!(random.random_range(5..30));
        drain["check"] = json!("later");
    }
    if random.random_bool(0.5) {
        drain["check"] = json!("later");
    }
    for (option, share) in [("force", 0.3), ("keep_local_data", 0.1), ("include_cordoned", 0.3)] {
        if random.random_bool(share) {
            drain[option] = json!(true);
        }
    }
    if random.random_bool(0.1) {
        drain["skip_selector"] = json!("tier=stays");
    }
    drain
}

fn event(random: &mut StdRng, hosts: usize, workloads: usize) -> KubernetesEvent {
    let node = if random.random_bool(0.5) {
        NodeChoice::Cordoned(random.random_range(0..hosts))
    } else {
        NodeChoice::OfHost(random.random_range(0..hosts))
    };
    let late = if random.random_bool(0.7) { NodeChoice::AtReboot } else { node };
    match random.random_range(0..25) {
        0 | 1 => KubernetesEvent::ApiOutage(millis(random, 300)),
        2 => KubernetesEvent::ApiStoreOutage(millis(random, 120)),
        3..=5 => {
            let faults = [
                ApiFault::Throttled,
                ApiFault::InternalError,
                ApiFault::Hangs,
                ApiFault::AnswerLost,
            ];
            let fault = *faults.choose(random).unwrap_or(&ApiFault::Hangs);
            KubernetesEvent::ApiFault { fault, requests: random.random_range(1..20) }
        }
        6 => KubernetesEvent::Compaction,
        7 | 8 => KubernetesEvent::Cordon(node),
        9..=11 => KubernetesEvent::Uncordon(node),
        12 => {
            let recreated_after = random.random_bool(0.7).then(|| millis(random, 60));
            KubernetesEvent::Delete { node, recreated_after }
        }
        13 => KubernetesEvent::DeletionTaint { node, lasts: millis(random, 200) },
        14 | 15 => KubernetesEvent::NotReady { node, lasts: millis(random, 200) },
        16 => KubernetesEvent::KubeletStops(node),
        17 | 18 => KubernetesEvent::NakedPod(late),
        19..=21 => KubernetesEvent::BoundPod(late),
        22 => KubernetesEvent::DaemonSetDeleted(random.random_range(0..workloads)),
        23 => KubernetesEvent::Budget {
            workload: random.random_range(0..workloads),
            max_unavailable: random.random_range(0..3),
        },
        _ => KubernetesEvent::AddressMoves {
            host: random.random_range(0..hosts),
            runs_kubelet: random.random(),
        },
    }
}

fn request(random: &mut StdRng, hosts: usize) -> Request {
    let host = random.random_range(0..hosts);
    match random.random_range(0..4) {
        0 => Request::Cordon(host),
        1 | 2 => Request::Uncordon(host),
        _ => Request::Drain(host),
    }
}
