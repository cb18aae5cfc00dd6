//! Kubelets: node heartbeats, pod start and pod termination.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::actor::resource_named;
use crate::cluster::Cluster;
use crate::object::{self, condition, items, number, set_condition, text, time_at};
use crate::store::Key;

/// Interval between two heartbeats.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// Default termination time of a pod in seconds.
const TERMINATES_AFTER: i64 = 1;

/// JSON pointer to the annotation with the termination time of a pod in seconds.
const TERMINATES_AFTER_ANNOTATION: &str = "/metadata/annotations/stand-in~1terminates-after";

/// JSON pointer to the annotation of mirror pods.
const MIRROR_ANNOTATION: &str = "/metadata/annotations/kubernetes.io~1config.mirror";

/// The kubelet of one node.
#[derive(Debug)]
pub(crate) struct Kubelet {
    pub(crate) is_up: bool,
    pub(crate) boot_id: String,
    pub(crate) machine_id: String,
    /// The readiness that it reports.
    pub(crate) is_ready: bool,
    /// Inactive until this time, in time since the start of the server.
    pub(crate) silent_until: Duration,
    /// Time from binding to readiness of a pod.
    pub(crate) pod_start: Duration,
    heartbeat: Option<Duration>,
    /// Time at which a starting pod becomes ready, by uid.
    starts: BTreeMap<String, Duration>,
    ready: BTreeSet<String>,
}

impl Kubelet {
    pub(crate) fn new(machine_id: &str, boot_id: &str) -> Self {
        Self {
            is_up: true,
            boot_id: boot_id.to_owned(),
            machine_id: machine_id.to_owned(),
            is_ready: true,
            silent_until: Duration::ZERO,
            pod_start: Duration::from_secs(2),
            heartbeat: None,
            starts: BTreeMap::new(),
            ready: BTreeSet::new(),
        }
    }

    /// Resets the state after a boot: no pod is running, and the first report is at `silent_until`.
    pub(crate) fn boot(&mut self, boot_id: &str, silent_until: Duration) {
        boot_id.clone_into(&mut self.boot_id);
        self.is_up = true;
        self.silent_until = silent_until;
        self.heartbeat = None;
        self.starts.clear();
        self.ready.clear();
    }

    /// Makes the next report due immediately.
    pub(crate) fn report_soon(&mut self) {
        self.heartbeat = None;
    }
}

/// Conditions that a kubelet reports in addition to `Ready`, with their reasons.
const PRESSURES: &[(&str, &str)] = &[
    ("MemoryPressure", "KubeletHasSufficientMemory"),
    ("DiskPressure", "KubeletHasNoDiskPressure"),
    ("PIDPressure", "KubeletHasSufficientPID"),
];

/// The next action of a kubelet for a pod.
enum Step {
    /// Remove the terminated pod.
    End,
    /// Mark the pod as not ready: its containers restart after a boot.
    Restart,
    /// Mark the pod as running and ready.
    Start,
}

impl Cluster {
    /// Sends due heartbeats of all active kubelets.
    pub(crate) fn report_nodes(&mut self) {
        let names: Vec<_> = self.kubelets.keys().cloned().collect();
        for name in names {
            if self.acts(&name) {
                self.report(&name);
            } else {
                self.is_restless = true;
            }
        }
    }

    /// Starts and terminates pods on nodes with an active kubelet.
    pub(crate) fn run_pods(&mut self) {
        let pods = self.store.list(resource_named("pods"), None);
        let pods: Vec<_> = pods.map(|(key, pod)| (key.clone(), Arc::clone(pod))).collect();
        for (key, pod) in pods {
            let node = text(&pod, "/spec/nodeName");
            if self.acts(node) {
                self.run_pod(node, &key, &pod);
            }
        }
    }

    fn acts(&self, node: &str) -> bool {
        let now = self.elapsed();
        let acts = |kubelet: &Kubelet| kubelet.is_up && now >= kubelet.silent_until;
        self.kubelets.get(node).is_some_and(acts)
    }

    /// Reports the status of a node if a heartbeat is due.
    fn report(&mut self, name: &str) {
        let now = self.elapsed();
        let Some(kubelet) = self.kubelets.get_mut(name) else { return };
        if kubelet.heartbeat.is_some_and(|last| now < last + HEARTBEAT) {
            return;
        }
        kubelet.heartbeat = Some(now);
        let kubelet = &self.kubelets[name];
        let key = Key::new(resource_named("nodes"), "", name);
        let Some(node) = self.store.get(&key).cloned() else { return };
        let user = format!("system:node:{name}");
        let time = self.time();
        let status = if kubelet.is_ready { "True" } else { "False" };
        let is_known = text(&node, "/status/nodeInfo/bootID") == kubelet.boot_id
            && text(&node, "/status/nodeInfo/machineID") == kubelet.machine_id
            && condition(&node, "Ready").is_some_and(|ready| ready["status"] == status);
        if is_known {
            self.beat(&user, &key, &node, &time);
            return;
        }
        let (boot_id, machine_id) = (kubelet.boot_id.clone(), kubelet.machine_id.clone());
        self.update_as(&user, &key, "status", |node| {
            node["status"]["nodeInfo"]["bootID"] = boot_id.into();
            node["status"]["nodeInfo"]["machineID"] = machine_id.into();
            for (kind, reason) in PRESSURES {
                let mut reported = condition(node, kind).cloned().unwrap_or_else(|| {
                    json!({"type": kind, "status": "False", "lastTransitionTime": time,
                        "reason": reason, "message": reason})
                });
                reported["lastHeartbeatTime"] = time.clone().into();
                set_condition(node, reported);
            }
            let (reason, message) = match status {
                "True" => ("KubeletReady", "kubelet is posting ready status"),
                _ => ("KubeletNotReady", "container runtime network not ready"),
            };
            let ready = json!({"type": "Ready", "status": status, "lastHeartbeatTime": time,
                "lastTransitionTime": time, "reason": reason, "message": message});
            set_condition(node, ready);
        });
    }

    /// Updates only the heartbeat times. Controllers do not depend on these, so this does not trigger them.
    fn beat(&mut self, user: &str, key: &Key, node: &Value, time: &str) {
        let mut reported = node.clone();
        let conditions = reported.pointer_mut("/status/conditions").and_then(Value::as_array_mut);
        for condition in conditions.into_iter().flatten() {
            let kind = text(condition, "/type");
            if kind == "Ready" || PRESSURES.iter().any(|(known, _)| *known == kind) {
                condition["lastHeartbeatTime"] = time.into();
            }
        }
        let is_reconciled = self.store.revision() == self.reconciled;
        self.store.put(key.clone(), reported);
        if is_reconciled {
            self.reconciled = self.store.revision();
        }
        self.log(user, "patch", key, "status", "heartbeat");
    }

    fn run_pod(&mut self, node: &str, key: &Key, pod: &Value) {
        let user = format!("system:node:{node}");
        match self.step(node, pod) {
            None => {}
            Some(Step::End) => {
                self.delete_as(&user, key, Some(0));
                if !text(pod, MIRROR_ANNOTATION).is_empty() {
                    self.mirror_again(&user, pod);
                }
            }
            Some(Step::Restart) => {
                let time = self.time();
                self.update_as(&user, key, "status", |pod| set_ready(pod, "False", &time));
            }
            Some(Step::Start) => {
                let time = self.time();
                self.update_as(&user, key, "status", |pod| start(pod, &time));
            }
        }
    }

    /// Recreates a deleted mirror pod: the static pod is still running.
    fn mirror_again(&mut self, user: &str, pod: &Value) {
        let mut mirror = json!({"apiVersion": "v1", "kind": "Pod", "spec": pod["spec"]});
        for field in ["name", "namespace", "labels", "annotations", "ownerReferences"] {
            mirror["metadata"][field] = pod["metadata"][field].clone();
        }
        self.create_as(user, mirror);
    }

    fn step(&mut self, node: &str, pod: &Value) -> Option<Step> {
        let (now, wall) = (self.elapsed(), self.now());
        let kubelet = self.kubelets.get_mut(node)?;
        let uid = object::uid(pod).to_owned();
        if let Some(end) = end(pod) {
            self.is_restless = true;
            return (wall >= end).then_some(Step::End);
        }
        if ["Succeeded", "Failed"].contains(&text(pod, "/status/phase"))
            || kubelet.ready.contains(&uid)
        {
            return None;
        }
        let Some(start) = kubelet.starts.get(&uid).copied() else {
            kubelet.starts.insert(uid, now + kubelet.pod_start);
            self.is_restless = true;
            let has_run = !items(pod, "/status/containerStatuses").is_empty();
            return has_run.then_some(Step::Restart);
        };
        self.is_restless = true;
        (now >= start).then(|| {
            kubelet.ready.insert(uid);
            Step::Start
        })
    }
}

/// The end of a terminating pod: the smaller of grace period and termination time after its deletion.
fn end(pod: &Value) -> Option<Timestamp> {
    let deadline = time_at(pod, "/metadata/deletionTimestamp")?;
    let grace = number(pod, "/metadata/deletionGracePeriodSeconds").unwrap_or_default();
    let after = text(pod, TERMINATES_AFTER_ANNOTATION).parse().unwrap_or(TERMINATES_AFTER);
    deadline.checked_sub(SignedDuration::from_secs((grace - after).max(0))).ok()
}

fn set_ready(pod: &mut Value, status: &str, time: &str) {
    for kind in ["Initialized", "Ready", "ContainersReady"] {
        let status = if kind == "Initialized" { "True" } else { status };
        let ready = json!({"type": kind, "status": status, "lastProbeTime": null,
            "lastTransitionTime": time});
        if condition(pod, kind).is_none_or(|known| known["status"] != status) {
            set_condition(pod, ready);
        }
    }
    let is_ready = status == "True";
    let statuses = pod.pointer_mut("/status/containerStatuses").and_then(Value::as_array_mut);
    for container in statuses.into_iter().flatten() {
        container["ready"] = is_ready.into();
        container["started"] = is_ready.into();
    }
}

fn start(pod: &mut Value, time: &str) {
    let statuses = items(pod, "/spec/containers").iter().map(|container| {
        let name = &container["name"];
        let mut known = items(pod, "/status/containerStatuses").iter();
        let restarts = known.find(|known| known["name"] == *name);
        let restarts =
            restarts.map_or(0, |known| known["restartCount"].as_i64().unwrap_or_default() + 1);
        json!({"name": name, "image": container["image"], "imageID": "", "ready": true,
            "started": true, "restartCount": restarts,
            "state": {"running": {"startedAt": time}}})
    });
    let statuses: Vec<_> = statuses.collect();
    pod["status"]["containerStatuses"] = statuses.into();
    pod["status"]["phase"] = "Running".into();
    if pod["status"]["startTime"].is_null() {
        pod["status"]["startTime"] = time.into();
    }
    set_ready(pod, "True", time);
}
