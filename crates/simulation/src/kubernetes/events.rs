//! Faults of the Kubernetes, and what others do to its nodes.

use std::time::Duration;

use serde_json::{Value, json};
use simulated_kubernetes::{Fault, FaultAction};

use super::{DELETION_TAINT, End, Kubernetes, machine_id, workloads};
use crate::scenario::address;
use crate::scenario::kubernetes::{ApiFault, KubernetesEvent, NodeChoice};

impl Kubernetes {
    /// Changes a node as an administrator.
    pub(super) fn change(&self, name: &str, change: impl FnOnce(&mut Value)) {
        let Some(before) = self.api.object("nodes", "", name) else { return };
        let mut after = before.clone();
        change(&mut after);
        self.truth.touched(&before, Some(&after));
        self.api.apply(after);
    }

    /// Carries an event out.
    pub(crate) fn carry_out(&self, event: &KubernetesEvent) {
        match event {
            KubernetesEvent::ApiOutage(lasts) => {
                self.api.set_api_unavailable(true);
                self.end_later(*lasts, End::ApiOutage);
            }
            KubernetesEvent::ApiStoreOutage(lasts) => {
                self.api.set_store_unavailable(true);
                self.end_later(*lasts, End::ApiStoreOutage);
            }
            KubernetesEvent::ApiFault { fault, requests } => {
                let action = match fault {
                    ApiFault::Throttled => FaultAction::Throttle { retry_after: 3 },
                    ApiFault::InternalError => FaultAction::Answer {
                        status: 500,
                        headers: Vec::new(),
                        body: "internal error".to_owned(),
                    },
                    ApiFault::Hangs => FaultAction::Hang,
                    ApiFault::AnswerLost => FaultAction::CloseAfter,
                };
                self.api.fault(Fault::new(action).times(*requests));
            }
            KubernetesEvent::Compaction => self.api.compact(),
            KubernetesEvent::Budget { workload, max_unavailable } => {
                let workload = self.traits.workloads.get(*workload).zip(Some(*workload));
                if let Some((of, number)) = workload
                    && let Some(budget) = workloads::budget(of, number, *max_unavailable)
                {
                    self.api.apply(budget);
                }
            }
            KubernetesEvent::AddressMoves { host, runs_kubelet } => {
                self.move_address(*host, *runs_kubelet);
            }
            KubernetesEvent::Cordon(node)
            | KubernetesEvent::Uncordon(node)
            | KubernetesEvent::Delete { node, .. }
            | KubernetesEvent::DeletionTaint { node, .. }
            | KubernetesEvent::NotReady { node, .. }
            | KubernetesEvent::KubeletStops(node)
            | KubernetesEvent::NakedPod(node)
            | KubernetesEvent::BoundPod(node) => {
                if *node == NodeChoice::AtReboot {
                    self.state().awaiting.push(event.clone());
                } else if let Some(name) = self.name(*node) {
                    self.happen_to(&name, event);
                }
            }
            KubernetesEvent::DaemonSetDeleted(workload) => {
                self.api.delete("daemonsets", "default", &workloads::name(*workload));
            }
        }
    }

    /// Carries out what awaits a host at its reboot, if there is one.
    pub(super) fn happen_at_reboot(&self) {
        let Some(name) = self.truth.node_at_reboot() else { return };
        let events = std::mem::take(&mut self.state().awaiting);
        for event in events {
            self.truth.trace().line("fault", &format!("{event:?} is {name}"));
            self.happen_to(&name, &event);
        }
    }

    fn happen_to(&self, name: &str, event: &KubernetesEvent) {
        let host = name.strip_prefix('n').and_then(|host| host.parse::<usize>().ok());
        match event {
            KubernetesEvent::Cordon(_) => {
                self.change(name, |node| node["spec"]["unschedulable"] = true.into());
            }
            // As `kubectl uncordon` does it: annotations stay.
            KubernetesEvent::Uncordon(_) => self.change(name, |node| {
                if let Some(spec) = node["spec"].as_object_mut() {
                    spec.remove("unschedulable");
                }
            }),
            KubernetesEvent::Delete { recreated_after, .. } => {
                if let Some(node) = self.api.object("nodes", "", name) {
                    self.truth.touched(&node, None);
                    self.api.delete("nodes", "", name);
                }
                if let Some((after, host)) = recreated_after.zip(host) {
                    self.end_later(after, End::Recreate(host));
                }
            }
            KubernetesEvent::DeletionTaint { lasts, .. } => {
                self.change(name, |node| {
                    let mut taints = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
                    taints.push(json!({"key": DELETION_TAINT, "effect": "NoSchedule"}));
                    node["spec"]["taints"] = taints.into();
                });
                self.end_later(*lasts, End::DeletionTaint(name.to_owned()));
            }
            KubernetesEvent::NotReady { lasts, .. } => {
                self.api.set_kubelet_ready(name, false);
                self.end_later(*lasts, End::NotReady(name.to_owned()));
            }
            KubernetesEvent::KubeletStops(_) => {
                self.api.kubelet_down(name);
                let mut state = self.state();
                if let Some(kubelet) = host.and_then(|host| state.kubelets.get_mut(&host)) {
                    kubelet.stopped_in.clone_from(&kubelet.runs_in);
                }
            }
            KubernetesEvent::NakedPod(_) => {
                self.api.apply(workloads::naked_pod(&format!("late-{name}"), name));
            }
            KubernetesEvent::BoundPod(_) => self.bind_pod(name),
            _ => {}
        }
    }

    /// Creates a ReplicaSet with a pod that is bound to a node without the scheduler, which a cordon does not prevent.
    /// The pod's replacement is scheduled.
    fn bind_pod(&self, node: &str) {
        self.state().bound += 1;
        let set = format!("bound{}", self.state().bound);
        self.api.apply(workloads::replica_set(&set));
        if let Some(set) = self.api.object("replicasets", "default", &set) {
            self.api.apply(workloads::bound_pod(&set, node));
        }
    }

    /// Gives the address of a host to another machine. The one behind its node runs on, without that address.
    fn move_address(&self, host: usize, runs_kubelet: bool) {
        let address = address(host);
        self.hosts.edit(&address, |machine| {
            machine.facts.machine_id = machine_id(usize::MAX - host);
            machine.facts.kubelet = runs_kubelet;
            machine.reported_boot_id = None;
            machine.boot.get_or_insert(Duration::from_secs(20));
        });
        self.hosts.power_off(&address);
        self.hosts.power_on(&address);
        self.truth.address_moved(&address);
        self.state().kubelets.remove(&host);
    }
}
