//! The Kubernetes of a run: an API server in memory, nodes whose kubelets follow the simulated hosts, and others who act
//! on them.
//!
//! - `events`: faults of it, and what others do to its nodes
//! - `workloads`: what runs in it (pure)

mod events;
mod workloads;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use simulated_hosts::SimulatedHosts;
use simulated_kubernetes::{MASTERS, NodeSettings, Settings, SimulatedKubernetes};
use tokio::time::{Instant, sleep, sleep_until};

use crate::network::api::TOKEN;
use crate::scenario::address;
use crate::scenario::kubernetes::{KubernetesEvent, KubernetesTraits, Lie, NodeChoice, NodeTraits};
use crate::truth::Truth;

/// The user of the container managers.
pub(crate) const USER: &str = "commissaire";

/// The pause between two looks at hosts and nodes.
const LOOK: Duration = Duration::from_millis(500);

/// The same while an event awaits a host at its reboot.
const CLOSE_LOOK: Duration = Duration::from_millis(50);

/// The pause between two compactions of the history of the API server, which is kept in memory.
const COMPACTION: Duration = Duration::from_mins(5);

/// The taint of nodes that the cluster autoscaler deletes.
const DELETION_TAINT: &str = "ToBeDeletedByClusterAutoscaler";

/// The Kubernetes; clones share it.
#[derive(Clone)]
pub(crate) struct Kubernetes {
    pub(crate) api: SimulatedKubernetes,
    hosts: SimulatedHosts,
    truth: Truth,
    traits: Arc<KubernetesTraits>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// By host.
    kubelets: BTreeMap<usize, Kubelet>,
    /// What ends later, and when.
    ends: Vec<(Instant, End)>,
    /// Events that happen to the node of the next host at its reboot.
    awaiting: Vec<KubernetesEvent>,
    /// The number of pods that were bound to a node by hand.
    bound: usize,
}

/// The kubelet of a host's node.
#[derive(Debug, Default)]
struct Kubelet {
    /// The boot in which it runs; `None` while the host is down.
    runs_in: Option<String>,
    /// The boot in which it was stopped.
    stopped_in: Option<String>,
}

/// The end of something that happens to the Kubernetes.
#[derive(Debug)]
enum End {
    ApiOutage,
    ApiStoreOutage,
    /// A kubelet is ready again.
    NotReady(String),
    /// A kubelet registers its node again.
    Recreate(usize),
    DeletionTaint(String),
}

/// The name of the node of a host.
pub(crate) fn node_name(host: usize) -> String {
    format!("n{host}")
}

/// The machine id with this number.
pub(crate) fn machine_id(number: usize) -> String {
    format!("{number:032x}")
}

impl Kubernetes {
    /// Starts an API server with the nodes of these hosts, which have been added.
    pub(crate) fn start(
        seed: u64,
        traits: &KubernetesTraits,
        hosts: &SimulatedHosts,
        truth: &Truth,
        start: jiff::Timestamp,
    ) -> Self {
        let api = SimulatedKubernetes::new(Settings { seed, start });
        api.add_user(TOKEN, USER, &[MASTERS]);
        let (hosts, truth, state) = (hosts.clone(), truth.clone(), Arc::default());
        let traits = Arc::new(traits.clone());
        let kubernetes = Self { api, hosts, truth, traits, state };
        let of_hosts = kubernetes.traits.nodes.iter().enumerate();
        let machines: Vec<_> =
            of_hosts.filter_map(|(host, node)| Some((host, node.as_ref()?))).collect();
        for (host, node) in &machines {
            kubernetes.register(*host, node);
            kubernetes.hosts.edit(&address(*host), |machine| {
                machine.facts.kubelet = true;
                machine.facts.machine_id = machine_id(node.machine_id);
            });
            let runs_in = Some(kubernetes.hosts.boot_id(&address(*host)));
            kubernetes.state().kubelets.insert(*host, Kubelet { runs_in, stopped_in: None });
        }
        for (host, node) in &machines {
            kubernetes.lie(*host, node.lie);
        }
        for number in 0..kubernetes.traits.other_nodes {
            let settings =
                NodeSettings::new(&format!("other{number}"), &format!("10.9.9.{number}"));
            kubernetes.api.add_node(&settings);
        }
        for object in workloads::objects(&kubernetes.traits.workloads) {
            kubernetes.api.apply(object);
        }
        let groups = kubernetes.traits.quorum_groups.iter();
        let groups = groups.map(|group| group.iter().map(|host| address(*host)).collect());
        let machines = machines.into_iter().map(|(host, _)| (node_name(host), address(host)));
        let machines = machines.collect();
        kubernetes.truth.has_nodes(kubernetes.api.clone(), machines, groups.collect());
        kubernetes
    }

    /// Runs controllers, and has kubelets follow their hosts; never returns.
    pub(crate) async fn run(self) {
        let follow = async {
            loop {
                self.follow();
                self.truth.look_at_nodes();
                self.end_due(Instant::now());
                self.sleep_and_happen().await;
            }
        };
        let compact = async {
            loop {
                sleep(COMPACTION).await;
                self.api.compact();
            }
        };
        tokio::join!(self.api.run(), follow, compact);
    }

    /// Sleeps until the next look; what awaits a host at its reboot happens in the meantime.
    async fn sleep_and_happen(&self) {
        let next = Instant::now() + LOOK;
        while !self.state().awaiting.is_empty() && Instant::now() + CLOSE_LOOK < next {
            self.happen_at_reboot();
            sleep(CLOSE_LOOK).await;
        }
        sleep_until(next).await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn register(&self, host: usize, node: &NodeTraits) {
        let settings = NodeSettings::new(&node_name(host), &address(host));
        let settings = NodeSettings {
            boot_id: self.hosts.boot_id(&address(host)),
            machine_id: machine_id(node.machine_id),
            ..settings
        };
        self.api.add_node(&if node.is_control_plane { settings.control_plane() } else { settings });
        self.api.set_pod_start(&node_name(host), node.pod_start);
    }

    /// Has a host report the identity of another one over SSH.
    fn lie(&self, host: usize, lie: Option<Lie>) {
        let address = address(host);
        match lie {
            None => {}
            Some(Lie::MachineId(other)) => {
                let number = self.traits.nodes[other].as_ref().map_or(other, |it| it.machine_id);
                self.hosts.edit(&address, |it| it.facts.machine_id = machine_id(number));
            }
            Some(Lie::BootId(other)) => {
                let other = self.hosts.boot_id(&crate::scenario::address(other));
                self.hosts.edit(&address, |it| it.reported_boot_id = Some(other));
            }
        }
    }

    /// Starts and stops the kubelets of hosts that have booted or are down.
    fn follow(&self) {
        for (host, kubelet) in &mut self.state().kubelets {
            let (name, address) = (node_name(*host), address(*host));
            let is_up = self.hosts.edit(&address, |machine| machine.is_up());
            let boot_id = is_up.then(|| self.hosts.boot_id(&address));
            if boot_id == kubelet.runs_in {
                continue;
            }
            match &boot_id {
                None => self.api.kubelet_down(&name),
                Some(boot_id) if kubelet.stopped_in.as_ref() == Some(boot_id) => {}
                Some(boot_id) => {
                    let start = self.traits.nodes[*host].as_ref().map(|node| node.kubelet_start);
                    self.api.kubelet_up_after(&name, boot_id, start.unwrap_or_default());
                }
            }
            kubelet.runs_in = boot_id;
        }
    }

    fn end_due(&self, now: Instant) {
        let ends = std::mem::take(&mut self.state().ends);
        let (due, later) = ends.into_iter().partition(|(at, _)| *at <= now);
        self.state().ends = later;
        let due: Vec<(Instant, End)> = due;
        for (_, end) in due {
            self.end(&end);
        }
    }

    fn end(&self, end: &End) {
        match end {
            End::ApiOutage => self.api.set_api_unavailable(false),
            End::ApiStoreOutage => self.api.set_store_unavailable(false),
            End::NotReady(name) => self.api.set_kubelet_ready(name, true),
            End::Recreate(host) => {
                let exists = self.api.object("nodes", "", &node_name(*host)).is_some();
                if !exists && let Some(node) = &self.traits.nodes[*host] {
                    self.register(*host, node);
                    // Its host may be down.
                    self.api.kubelet_down(&node_name(*host));
                    if let Some(kubelet) = self.state().kubelets.get_mut(host) {
                        kubelet.runs_in = None;
                    }
                }
            }
            End::DeletionTaint(name) => self.change(name, |node| {
                if let Some(taints) = node["spec"]["taints"].as_array_mut() {
                    taints.retain(|taint| taint["key"] != DELETION_TAINT);
                }
            }),
        }
    }

    /// Ends all faults; kubelets that have been stopped start, and nodes that others have cordoned stay so.
    pub(crate) fn heal(&self) {
        self.api.clear_faults();
        self.state().awaiting.clear();
        self.api.set_api_unavailable(false);
        self.api.set_store_unavailable(false);
        // Not within the loop, which would hold the lock.
        let ends = std::mem::take(&mut self.state().ends);
        for (_, end) in ends {
            self.end(&end);
        }
    }

    fn end_later(&self, after: Duration, end: End) {
        self.state().ends.push((Instant::now() + after, end));
    }

    /// The name of a node; `None` if no node has the number.
    fn name(&self, choice: NodeChoice) -> Option<String> {
        match choice {
            NodeChoice::OfHost(host) => {
                self.traits.nodes.get(host)?.as_ref().map(|_| node_name(host))
            }
            NodeChoice::AtReboot => self.truth.node_at_reboot(),
            NodeChoice::Cordoned(place) => {
                let mut names: Vec<_> = self.api.objects("nodes").iter().filter_map(ours).collect();
                (!names.is_empty()).then(|| names.swap_remove(place % names.len()))
            }
        }
    }
}

/// The name of a node that an operation has cordoned.
fn ours(node: &Value) -> Option<String> {
    let annotation = &node["metadata"]["annotations"]["commissaire.io/cordoned-by"];
    let is_cordoned = node["spec"]["unschedulable"] == true && annotation.is_string();
    is_cordoned.then(|| node["metadata"]["name"].as_str().unwrap_or_default().to_owned())
}
