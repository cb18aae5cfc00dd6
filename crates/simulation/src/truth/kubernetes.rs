//! What is true of the nodes of a Kubernetes, and the invariants about them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bus::topology::{CONTAINER_CORDON, CONTAINER_UNCORDON};
use model::{
    BudgetClaims, CordonDebt, DebtState, Instance, Model as _, Operation, OperationHost,
    OperationStatus, Step,
};
use serde_json::Value;
use simulated_hosts::{Effect, STALE};
use simulated_kubernetes::SimulatedKubernetes;
use tokio::time::Instant;

use super::{State, Truth, operation_of, parsed};

/// The annotation with the owner of a cordon.
const CORDONED_BY: &str = "/metadata/annotations/commissaire.io~1cordoned-by";

/// When the deletion of an object was requested.
const DELETED_AT: &str = "/metadata/deletionTimestamp";

/// How old the list of the pods on a node may be at a request to reboot, from the moment at which the API server made it: a
/// second, and the time for which the go-ahead is valid.
const LAST_LOOK: Duration = Duration::from_millis(1000 + 300 + 100);

/// How old the look at a quorum group may be at a request to reboot: it is made before that at the other members of the
/// cluster.
const QUORUM_LOOK: Duration = Duration::from_secs(2);

/// The real state of nodes.
pub(super) struct Nodes {
    api: SimulatedKubernetes,
    /// The id of the installation, once it has one.
    instance: String,
    debts: BTreeMap<String, CordonDebt>,
    claims: BTreeMap<String, BudgetClaims>,
    /// The address of the machine behind each node.
    machines: BTreeMap<String, String>,
    quorum_groups: Vec<BTreeSet<String>>,
    /// The uids of nodes that others have cordoned.
    foreign: BTreeSet<String>,
    /// When others have changed each node last.
    touched: BTreeMap<String, Instant>,
    /// When the API server was started.
    started: Instant,
    /// When each pod came to its node since then, by its name.
    arrived: BTreeMap<String, Duration>,
    /// When the API server has made the last list of the pods on each node.
    listed: BTreeMap<String, Instant>,
    /// What was written since the last look, by whom.
    written: Vec<(String, String)>,
    /// Hosts that were rebooted and have not returned, each with its boot id from before.
    rebooted: BTreeMap<String, String>,
    /// The number of requests under way about each node.
    requests: BTreeMap<String, usize>,
    /// Whether a debt was deleted, or a request about a node has ended, since the last look.
    has_paid: bool,
    /// Nodes whose cordons without a debt were reported.
    reported: BTreeSet<String>,
}

/// A request about a node that is under way; it ends when this is dropped.
pub(crate) struct RequestAboutNode {
    truth: Truth,
    node: String,
}

impl Drop for RequestAboutNode {
    fn drop(&mut self) {
        if let Some(nodes) = &mut self.truth.state().nodes
            && let Some(count) = nodes.requests.get_mut(&self.node)
        {
            *count -= 1;
            nodes.has_paid = true;
        }
    }
}

impl Truth {
    /// Adds the nodes of a Kubernetes: each with the address of its machine.
    pub(crate) fn has_nodes(
        &self,
        api: SimulatedKubernetes,
        machines: BTreeMap<String, String>,
        quorum_groups: Vec<BTreeSet<String>>,
    ) {
        self.state().nodes = Some(Nodes {
            api,
            instance: String::new(),
            debts: BTreeMap::new(),
            claims: BTreeMap::new(),
            machines,
            quorum_groups,
            foreign: BTreeSet::new(),
            touched: BTreeMap::new(),
            started: Instant::now(),
            arrived: BTreeMap::new(),
            listed: BTreeMap::new(),
            written: Vec::new(),
            rebooted: BTreeMap::new(),
            requests: BTreeMap::new(),
            has_paid: false,
            reported: BTreeSet::new(),
        });
    }

    fn with_nodes(&self, check: impl FnOnce(&mut Nodes, &mut Vec<String>)) {
        let mut found = Vec::new();
        if let Some(nodes) = &mut self.state().nodes {
            check(nodes, &mut found);
        }
        for violation in found {
            self.violated(violation);
        }
    }

    /// Notes that a request about a node begins.
    pub(crate) fn request_about_node(&self, node: &str) -> RequestAboutNode {
        self.with_nodes(|nodes, _| *nodes.requests.entry(node.to_owned()).or_default() += 1);
        RequestAboutNode { truth: self.clone(), node: node.to_owned() }
    }

    /// Notes that a request on the bus is carried out, if it is about a cordon.
    pub(crate) fn call(&self, key: &str, params: &Value) -> Option<RequestAboutNode> {
        let is_about_cordon = [CONTAINER_CORDON, CONTAINER_UNCORDON].contains(&key);
        let node = params["node"].as_str().filter(|_| is_about_cordon)?;
        Some(self.request_about_node(node))
    }

    /// Notes that the API server makes a list of the pods on a node.
    pub(crate) fn pods_listed(&self, node: &str) {
        self.with_nodes(|nodes, _| {
            nodes.listed.insert(node.to_owned(), Instant::now());
        });
    }

    /// Notes what others do to a node.
    pub(crate) fn touched(&self, before: &Value, after: Option<&Value>) {
        self.with_nodes(|nodes, _| {
            let name = text(before, "/metadata/name").to_owned();
            nodes.touched.insert(name, Instant::now());
            let uid = text(before, "/metadata/uid");
            match after.map(is_cordoned) {
                Some(true) if !is_cordoned(before) => {
                    nodes.foreign.insert(uid.to_owned());
                }
                Some(false) | None => {
                    nodes.foreign.remove(uid);
                }
                Some(true) => {}
            }
        });
    }

    /// The name of the node of a host that is drained and at its reboot.
    pub(crate) fn node_at_reboot(&self) -> Option<String> {
        let state = self.state();
        state.parts.values().find_map(|part| {
            let operation = state.operations.get(operation_of(&part.id))?;
            let node = part.node.as_ref().filter(|_| part.step == Step::Reboot)?;
            let is_drained = operation.options.drains() && !node.is_forced;
            is_drained.then(|| node.name.clone())
        })
    }

    /// Notes that the address of a machine is given to another one: no node is on the new one.
    pub(crate) fn address_moved(&self, address: &str) {
        self.with_nodes(|nodes, _| {
            nodes.machines.retain(|_, machine| machine != address);
            nodes.rebooted.remove(address);
        });
    }

    /// Checks a change of a node by a container manager.
    pub(crate) fn node_changed(&self, process: &str, before: &Value, after: &Value) {
        self.with_nodes(|nodes, found| {
            let (name, uid) = (text(before, "/metadata/name"), text(before, "/metadata/uid"));
            let is_foreign = nodes.foreign.contains(uid);
            if is_foreign && is_cordoned(before) && !is_cordoned(after) {
                found.push(format!(
                    "cordons: {process} uncordons {name}, which others have cordoned"
                ));
            }
            if is_foreign
                && text(before, CORDONED_BY) != text(after, CORDONED_BY)
                && is_cordoned(after)
            {
                found.push(format!("cordons: {process} takes the cordon of others of {name} over"));
            }
            if !is_cordoned(after) {
                nodes.foreign.remove(uid);
            }
            nodes.check_cordons(found);
        });
    }

    /// Looks at the nodes: what has changed since the last look, and whether each cordon has a debt.
    pub(crate) fn look_at_nodes(&self) {
        let mut written = Vec::new();
        self.with_nodes(|nodes, found| {
            nodes.take_effects();
            written = std::mem::take(&mut nodes.written);
            if written.is_empty() && !nodes.has_paid {
                return;
            }
            nodes.has_paid = false;
            nodes.forget_returned();
            nodes.check_cordons(found);
        });
        for (user, summary) in written {
            self.trace.detail(&user, &summary);
        }
    }

    /// What has to be over some time after all faults have ended and all operations have; empty if it is.
    pub(crate) fn unsettled(&self) -> Vec<String> {
        let state = self.state();
        let Some(nodes) = &state.nodes else { return Vec::new() };
        let mut unsettled = Vec::new();
        for debt in nodes.debts.values().filter(|debt| debt.state != DebtState::Kept) {
            let CordonDebt { id, state, operation, reason, .. } = debt;
            unsettled.push(format!("debts: {id} of {operation} is {state:?}: {reason}"));
        }
        for claims in nodes.claims.values() {
            let is_ended = |id: &str| {
                let operation = state.operations.get(id);
                operation.is_none_or(|it| it.status != OperationStatus::InProcess)
            };
            for claim in claims.claims.iter().filter(|claim| is_ended(&claim.operation)) {
                let (of, id) = (&claims.id, &claim.operation);
                unsettled.push(format!(
                    "claims: {} of {id}, which has ended, is in {of}",
                    claim.address
                ));
            }
        }
        for node in nodes.api.objects("nodes") {
            let owner = text(&node, CORDONED_BY);
            if is_cordoned(&node) && nodes.is_ours(owner) && nodes.debt_of(&node).is_none() {
                let name = text(&node, "/metadata/name");
                unsettled.push(format!("cordons: {name} is cordoned by {owner} without a debt"));
            }
        }
        unsettled
    }
}

impl Nodes {
    /// Takes a record that is saved.
    pub(super) fn put(&mut self, key: &str, value: &str, found: &mut Vec<String>) {
        if key.starts_with(CordonDebt::PREFIX) {
            if let Some(debt) = parsed(value) {
                self.save_debt(debt, found);
            }
        } else if key.starts_with(BudgetClaims::PREFIX) {
            if let Some(claims) = parsed(value) {
                self.claims.insert(key.to_owned(), claims);
            }
        } else if key.starts_with(Instance::PREFIX)
            && let Some(Instance { id, .. }) = parsed(value)
        {
            self.instance = id;
        }
    }

    /// Takes the deletion of a record.
    pub(super) fn delete(&mut self, key: &str) {
        if let Some(id) = key.strip_prefix(CordonDebt::PREFIX) {
            self.debts.remove(id);
            self.has_paid = true;
        }
        self.claims.remove(key);
    }

    fn is_ours(&self, owner: &str) -> bool {
        let rest = owner.strip_prefix(&self.instance);
        !self.instance.is_empty() && rest.is_some_and(|rest| rest.starts_with('/'))
    }

    fn debt_of(&self, node: &Value) -> Option<&CordonDebt> {
        let (name, uid) = (text(node, "/metadata/name"), text(node, "/metadata/uid"));
        self.debts.values().find(|debt| debt.node == name && debt.node_uid == uid)
    }

    /// Takes a debt as it is saved: that of an operation is about the machine behind the node.
    fn save_debt(&mut self, debt: CordonDebt, found: &mut Vec<String>) {
        let CordonDebt { node, address, operation, .. } = &debt;
        let is_new = self.debts.get(&debt.id).is_none_or(|it| it.operation != *operation);
        let machine = self.machines.get(node);
        if is_new && !operation.is_empty() && machine.is_none_or(|machine| *address != **machine) {
            found.push(format!(
                "identity: {operation} cordons {node} for {address}, but its machine is {machine:?}"
            ));
        }
        self.debts.insert(debt.id.clone(), debt);
    }

    /// Notes what was written: pods that have come to their nodes.
    fn take_effects(&mut self) {
        for effect in self.api.take_effects() {
            let is_arrival = effect.resource == "pods"
                && effect.verb == "create"
                && ["", "binding"].contains(&effect.subresource.as_str());
            if is_arrival && effect.status < 300 {
                self.arrived.insert(format!("{}/{}", effect.namespace, effect.name), effect.at);
            }
            if let Some(summary) = effect.summary.filter(|it| !it.ends_with("heartbeat")) {
                self.written.push((effect.user, summary));
            }
        }
    }

    /// Each cordon of ours has a debt, unless a request about the node is under way.
    fn check_cordons(&mut self, found: &mut Vec<String>) {
        for node in self.api.objects("nodes") {
            let (name, owner) = (text(&node, "/metadata/name"), text(&node, CORDONED_BY));
            let is_under_way = self.requests.get(name).is_some_and(|count| *count > 0);
            if is_cordoned(&node)
                && self.is_ours(owner)
                && self.debt_of(&node).is_none()
                && !is_under_way
                && self.reported.insert(name.to_owned())
            {
                found.push(format!("cordons: {name} is cordoned by {owner}, and there is no debt"));
            }
        }
    }

    /// Forgets rebooted hosts whose nodes are ready in another boot.
    fn forget_returned(&mut self) {
        let (api, machines) = (&self.api, &self.machines);
        self.rebooted.retain(|address, before| {
            let node = machines.iter().find(|(_, machine)| *machine == address);
            let node = node.and_then(|(name, _)| api.object("nodes", "", name));
            node.is_some_and(|node| {
                !is_true(&node, "Ready") || text(&node, "/status/nodeInfo/bootID") == before
            })
        });
    }

    /// The invariants about a reboot of the machine behind a node.
    fn check_reboot(
        &mut self,
        effect: &Effect,
        operation: &Operation,
        part: Option<&OperationHost>,
        found: &mut Vec<String>,
    ) {
        let address = &effect.address;
        let name = self.machines.iter().find(|(_, machine)| *machine == address);
        let Some(name) = name.map(|(name, _)| name.clone()) else { return };
        let Some(node) = self.api.object("nodes", "", &name) else { return };
        self.forget_returned();
        self.take_effects();
        if is_control_plane(&node) {
            let others = self.rebooted.keys().filter(|other| *other != address);
            for other in others.filter(|other| self.is_control_plane(other)) {
                found.push(format!(
                    "control plane: {address} is rebooted while {other} has not returned from its reboot"
                ));
            }
        }
        if !effect.is_ignored {
            self.rebooted.insert(address.clone(), effect.boot_id.clone());
        }
        let Some(part) = part.and_then(|part| part.node.as_ref()) else {
            found.push(format!("drains: {address} is rebooted as if it was not the node {name}"));
            return;
        };
        let touched = self.touched.get(&name).is_some_and(|at| at.elapsed() < LAST_LOOK);
        if !operation.options.drains() || part.is_forced || touched {
            return;
        }
        if !is_cordoned(&node) || part.uid != text(&node, "/metadata/uid") {
            found.push(format!(
                "drains: {address} is rebooted, and its node {name} is not cordoned"
            ));
        }
        let age = self.listed.get(&name).map(Instant::elapsed);
        if age.is_none_or(|age| age > LAST_LOOK) {
            found.push(format!(
                "drains: {address} is rebooted, and the pods on its node {name} were listed {age:?} before"
            ));
        }
        let skip = operation.options.drain_options().and_then(|it| it.skip_selector.as_deref());
        for pod in self.api.objects("pods") {
            // The pods of a silent kubelet never end.
            let is_stuck = !is_true(&node, "Ready") && !text(&pod, DELETED_AT).is_empty();
            if pod["spec"]["nodeName"] != name.as_str() || is_stuck || stays(&pod, skip) {
                continue;
            }
            let pod =
                format!("{}/{}", text(&pod, "/metadata/namespace"), text(&pod, "/metadata/name"));
            let arrived = self.arrived.get(&pod);
            let now = self.started.elapsed();
            if arrived.is_none_or(|at| now.saturating_sub(*at) > LAST_LOOK) {
                found.push(format!(
                    "drains: {address} is rebooted, and {pod} is on its node {name}"
                ));
            }
        }
    }

    fn is_control_plane(&self, address: &str) -> bool {
        let mut names = self.machines.iter().filter(|(_, machine)| *machine == address);
        names.any(|(name, _)| {
            self.api.object("nodes", "", name).is_some_and(|node| is_control_plane(&node))
        })
    }

    /// A quorum group keeps its majority.
    fn check_quorum(&self, effect: &Effect, found: &mut Vec<String>) {
        let Effect { address, unavailable_since, .. } = effect;
        let Some(then) = Instant::now().checked_sub(QUORUM_LOOK.max(STALE)) else { return };
        for group in self.quorum_groups.iter().filter(|group| group.contains(address)) {
            let is_down = |other: &&String| {
                unavailable_since.iter().any(|(down, since)| down == *other && *since <= then)
            };
            let down: Vec<_> = group.iter().filter(|it| *it != address).filter(is_down).collect();
            if group.len() - 1 - down.len() < group.len() / 2 + 1 {
                found.push(format!(
                    "quorum: {address} of a group of {} is taken down while these are: {down:?}",
                    group.len()
                ));
            }
        }
    }
}

impl State {
    /// The invariants about nodes and quorum groups at an effect of an operation on a host.
    pub(super) fn check_nodes(
        &mut self,
        effect: &Effect,
        operation: &Operation,
        found: &mut Vec<String>,
    ) {
        let part = self.parts.get(&OperationHost::id_of(&operation.id, &effect.address));
        let Some(nodes) = &mut self.nodes else { return };
        if effect.unit.is_none() {
            nodes.check_quorum(effect, found);
            nodes.check_reboot(effect, operation, part, found);
        }
    }
}

/// Whether a drain leaves a pod on its node. Replacements of pods that tolerate a cordon are among them.
fn stays(pod: &Value, skip_selector: Option<&str>) -> bool {
    let is_mirror = !pod["metadata"]["annotations"]["kubernetes.io/config.mirror"].is_null();
    let owners = pod["metadata"]["ownerReferences"].as_array();
    let is_of_daemon_set = owners.into_iter().flatten().any(|owner| owner["kind"] == "DaemonSet");
    let tolerations = pod["spec"]["tolerations"].as_array();
    let tolerates = tolerations.into_iter().flatten().any(|toleration| {
        toleration["key"] == "node.kubernetes.io/unschedulable"
            || toleration["operator"] == "Exists" && toleration["key"].is_null()
    });
    let is_skipped = skip_selector.is_some() && pod["metadata"]["labels"]["tier"] == "stays";
    let has_controller = owners.is_some_and(|owners| !owners.is_empty());
    is_mirror || is_of_daemon_set || tolerates || is_skipped && has_controller
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn is_cordoned(node: &Value) -> bool {
    node["spec"]["unschedulable"] == true
}

fn is_control_plane(node: &Value) -> bool {
    !node["metadata"]["labels"]["node-role.kubernetes.io/control-plane"].is_null()
}

fn is_true(node: &Value, condition: &str) -> bool {
    let conditions = node["status"]["conditions"].as_array();
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|found| found["type"] == condition && found["status"] == "True")
}
