//! The nodes of an operation before it begins: which host is which node, which hosts are skipped, and what would block a
//! drain.

use std::collections::BTreeMap;

use model::messages::{DrainForecast, KubernetesNodes};
use model::{
    Address, DrainCheck, FailureReason, HostPlacement, NodeState, OperationKind, Options, abridged,
};

use crate::host_error::HostFailure;
use crate::identity::{Identity, candidates, node_of};
use crate::nodes::{Nodes, NodesError};
use crate::rejection::Rejection;
use crate::schedule::{Availability, Member};

/// The plan for the nodes of the hosts of an operation.
#[derive(Debug, Default)]
pub(crate) struct NodePlan {
    /// By the addresses of the hosts.
    hosts: BTreeMap<Address, PlannedNode>,
    /// What may go wrong, in sentences.
    pub(crate) warnings: Vec<String>,
    /// Why the operation is rejected, if so.
    pub(crate) refused: Option<Rejection>,
}

/// The node of a host in a plan.
#[derive(Debug, Default)]
pub(crate) struct PlannedNode {
    /// Its name.
    pub(crate) name: String,
    /// Whether it belongs to the control plane: its turn comes after the workers'.
    is_control_plane: bool,
    /// Whether others have cordoned it, and it is worked on all the same: its turn comes last.
    is_cordoned: bool,
    /// Why the host is skipped, if so.
    pub(crate) skipped: Option<String>,
}

impl NodePlan {
    /// The plan for these members of a cluster.
    pub(crate) async fn new(
        nodes: &Nodes,
        members: &[Member],
        kind: OperationKind,
        options: &Options,
        instance: &str,
        placements: &[HostPlacement],
    ) -> Self {
        let found = match nodes.all(None, Vec::new()).await {
            Ok(found) => found,
            Err(error) => return Self::refused(unavailable(&nodes.manager, &error)),
        };
        if found.kubernetes.is_empty() {
            return Self::default();
        }
        let mut plan = Self::of(&found, members, kind, options, instance, placements);
        let drained: Vec<_> = plan.hosts.values().filter(|node| node.skipped.is_none()).collect();
        let drained: Vec<_> = drained.into_iter().map(|node| node.name.clone()).collect();
        if plan.refused.is_some() || !options.drains() || drained.is_empty() {
            return plan;
        }
        let drain = options.drain_options().cloned().unwrap_or_default();
        match nodes.all(Some(&drain), drained).await {
            Ok(found) => {
                plan.add_forecasts(&found.forecasts, drain.check.unwrap_or_default());
                let rivals = found.rivals.iter();
                plan.warnings.extend(rivals.map(|rival| {
                    format!("{rival} runs in the Kubernetes, too: it may drain and reboot nodes at the same time")
                }));
                plan.warnings.extend(found.warnings);
            }
            Err(error) if drain.check == Some(DrainCheck::Later) => plan.warnings.push(format!(
                "what may block or delay the drains is not known: {}",
                error.message()
            )),
            Err(error) => plan.refused = Some(unavailable(&nodes.manager, &error)),
        }
        plan
    }

    fn refused(rejection: Rejection) -> Self {
        Self { refused: Some(rejection), ..Self::default() }
    }

    fn of(
        found: &KubernetesNodes,
        members: &[Member],
        kind: OperationKind,
        options: &Options,
        instance: &str,
        placements: &[HostPlacement],
    ) -> Self {
        let mut plan = Self::default();
        let mut problems = Vec::new();
        let mut without = Vec::new();
        for member in members {
            let node =
                match recorded_node(&found.nodes, member, node_name(placements, &member.address)) {
                    Ok(Some(node)) => node,
                    Ok(None) => {
                        without.push(&member.address);
                        continue;
                    }
                    // It has never been reached, and is not worked on.
                    Err(_)
                        if member.machine_id.is_empty()
                            && member.availability == Availability::Unavailable =>
                    {
                        continue;
                    }
                    Err(failure) => {
                        problems.push((failure.code, failure.message));
                        continue;
                    }
                };
            if let Some((other, _)) = plan.hosts.iter().find(|(_, host)| host.name == node.name) {
                let message =
                    format!("{other} and {} are both the node {}", member.address, node.name);
                problems.push((FailureReason::NodeAmbiguous, message));
                continue;
            }
            let planned = planned(node, options, instance);
            if !node.machine_config.is_empty() && kind.facts().applies {
                let message = format!(
                    "OpenShift's machine config pools change the packages of the node {}: only a restart of {} is \
                     possible",
                    node.name, member.address
                );
                problems.push((FailureReason::PodsBlock, message));
            }
            plan.hosts.insert(member.address.clone(), planned);
        }
        if let Some((reason, _)) = problems.first() {
            let messages = problems.iter().map(|(_, message)| message);
            plan.refused = Some(Rejection::new(*reason, abridged(messages, "; ")));
            return plan;
        }
        plan.refused = options.drains().then(|| plan.last_node(found, kind)).flatten();
        if !without.is_empty() {
            plan.warnings.push(format!(
                "these hosts are no nodes, and are neither cordoned nor drained: {}",
                abridged(without, ", ")
            ));
        }
        plan.add_server_warning(found);
        plan.warnings.extend(members.iter().filter(|member| !member.rebooters.is_empty()).map(
            |member| {
                let rebooters = member.rebooters.join(", ");
                format!(
                    "{} is rebooted by {rebooters}, too, as of its last investigation",
                    member.address
                )
            },
        ));
        plan
    }

    /// The rejection of a drain of the only node on which pods can be scheduled.
    fn last_node(&self, found: &KubernetesNodes, kind: OperationKind) -> Option<Rejection> {
        let mut usable = found.nodes.iter().filter(|node| node.unavailable_because().is_none());
        let (Some(node), None) = (usable.next(), usable.next()) else { return None };
        self.hosts.values().find(|host| host.name == node.name && host.skipped.is_none())?;
        let remedy = if kind.facts().reboots {
            "bring another node back, or reboot it without a drain with the option `drain: false`"
        } else {
            "bring another node back first"
        };
        let message =
            format!("{} is the only node on which pods can be scheduled: {remedy}", node.name);
        Some(Rejection::new(FailureReason::PodsBlock, message))
    }

    /// Warns if the API server is reached at a host of the operation.
    fn add_server_warning(&mut self, found: &KubernetesNodes) {
        let server = candidates(&found.nodes, &found.server, "");
        let is_server = |host: &&PlannedNode| server.iter().any(|node| node.name == host.name);
        if let Some(host) = self.hosts.values().find(is_server) {
            self.warnings.push(format!(
                "the `server_url` of the container manager is the node {}: the API server does not answer while it \
                 reboots",
                host.name
            ));
        }
    }

    fn add_forecasts(&mut self, forecasts: &BTreeMap<String, DrainForecast>, check: DrainCheck) {
        let mut blockers = Vec::new();
        let mut blocked = 0;
        for (node, forecast) in forecasts {
            blocked += forecast.blocked;
            blockers.extend(forecast.blockers.iter().map(|pod| format!("{pod} (on {node})")));
            let warnings = forecast.warnings.iter();
            self.warnings.extend(warnings.map(|warning| format!("node {node}: {warning}")));
        }
        if blocked == 0 {
            return;
        }
        let (blocking, object) = match blocked {
            1 => ("1 pod blocks".to_owned(), "it"),
            count => (format!("{count} pods block"), "them"),
        };
        let message = format!("{blocking} a drain: {}", abridged(&blockers, ", "));
        match check {
            DrainCheck::Later => self.warnings.push(message),
            DrainCheck::Start => {
                let message = format!(
                    "{message}; see to {object}, evict pods without a controller with the option `drain.force`, or \
                     postpone these hosts with `drain.check: later`"
                );
                self.refused = Some(Rejection::new(FailureReason::PodsBlock, message));
            }
        }
    }

    /// The node of a host; `None` if it has none.
    pub(crate) fn node(&self, address: &str) -> Option<&PlannedNode> {
        self.hosts.get(address)
    }

    /// The place of a host among the turns: workers, hosts that are no nodes among them, the control plane, and nodes that
    /// others have cordoned.
    pub(crate) fn place(&self, address: &str) -> u8 {
        match self.node(address) {
            Some(node) if node.is_cordoned => 2,
            Some(node) if node.is_control_plane => 1,
            _ => 0,
        }
    }
}

/// The node of a host by its records; `None` if it has none.
///
/// # Errors
/// When the node of the host is not certain.
pub(crate) fn recorded_node<'a>(
    nodes: &'a [NodeState],
    member: &Member,
    node_name: &str,
) -> Result<Option<&'a NodeState>, HostFailure> {
    let Member { address, machine_id, boot_id, runs_kubelet, .. } = member;
    let runs_kubelet = *runs_kubelet;
    node_of(nodes, Identity { address, node_name, machine_id, boot_id, runs_kubelet })
}

/// The name of the node of a host, as an administrator has set it; else empty.
fn node_name<'a>(placements: &'a [HostPlacement], address: &str) -> &'a str {
    let placement = placements.iter().find(|placement| placement.address == *address);
    placement.map_or("", |placement| &placement.node_name)
}

fn planned(node: &NodeState, options: &Options, instance: &str) -> PlannedNode {
    let is_ours = node.cordoned_by.strip_prefix(instance).is_some_and(|rest| {
        rest.strip_prefix('/').is_some_and(|operation| !operation.contains('/'))
    });
    let is_cordoned = node.unschedulable && !is_ours;
    let includes =
        options.drain_options().is_some_and(|drain| drain.include_cordoned == Some(true));
    PlannedNode {
        name: node.name.clone(),
        is_control_plane: node.is_control_plane,
        is_cordoned,
        skipped: (is_cordoned && !includes && options.drains()).then(|| node.cordon()),
    }
}

/// The rejection of an operation because its nodes are not known.
fn unavailable(manager: &str, error: &NodesError) -> Rejection {
    let message = format!(
        "the nodes of the container manager {manager} are not known, and nothing is started: {}",
        error.message()
    );
    Rejection { reason: FailureReason::KubernetesUnavailable, error: error.answer(message) }
}

#[cfg(test)]
mod tests {
    use model::Stamp;
    use serde_json::{Value, json};

    use super::*;

    fn member(address: &str, boot_id: &str) -> Member {
        Member {
            address: address.into(),
            availability: Availability::Healthy,
            reason: String::new(),
            boot_id: boot_id.to_owned(),
            machine_id: format!("m-{address}"),
            runs_kubelet: true,
            rebooters: Vec::new(),
            is_self: false,
            last_done: Stamp::default(),
        }
    }

    fn node(name: &str, address: &str, more: Value) -> NodeState {
        let mut node = json!({"name": name, "uid": name, "addresses": [address], "is_ready": true,
                              "machine_id": format!("m-{address}"), "boot_id": format!("b-{name}")});
        let (Value::Object(all), Value::Object(more)) = (&mut node, more) else {
            panic!("objects")
        };
        all.extend(more);
        serde_json::from_value(node).unwrap()
    }

    fn plan(nodes: Vec<NodeState>, members: &[Member], options: Value) -> NodePlan {
        let found =
            KubernetesNodes { kubernetes: "k1".to_owned(), nodes, ..KubernetesNodes::default() };
        let options = serde_json::from_value(options).unwrap();
        NodePlan::of(&found, members, OperationKind::Restart, &options, "i1", &[])
    }

    #[test]
    fn control_plane_and_cordoned_nodes_come_last() {
        let nodes = vec![
            node("c1", "10.0.0.1", json!({"is_control_plane": true})),
            node("w1", "10.0.0.2", json!({})),
            node("w2", "10.0.0.3", json!({"unschedulable": true})),
            node("w3", "10.0.0.4", json!({"unschedulable": true, "cordoned_by": "i1/old"})),
        ];
        let members: Vec<_> = (1..5).map(|n| member(&format!("10.0.0.{n}"), "some boot")).collect();
        let skipping = plan(nodes.clone(), &members, json!({}));
        assert!(skipping.refused.is_none());
        let skipped = |plan: &NodePlan, host: &str| plan.node(host).unwrap().skipped.clone();
        assert_eq!(skipped(&skipping, "10.0.0.3").unwrap(), "cordoned by others");
        assert_eq!(skipped(&skipping, "10.0.0.4"), None);
        let including = plan(nodes, &members, json!({"drain": {"include_cordoned": true}}));
        assert_eq!(skipped(&including, "10.0.0.3"), None);
        let places: Vec<_> = members.iter().map(|host| including.place(&host.address)).collect();
        assert_eq!(places, [1, 0, 2, 0]);
    }

    #[test]
    fn hosts_whose_node_is_not_certain_reject_the_operation() {
        let nodes = || vec![node("w1", "10.0.0.1", json!({})), node("w2", "10.0.0.2", json!({}))];
        let refused = |members: &[Member]| plan(nodes(), members, json!({})).refused.unwrap();
        let lost = refused(&[member("10.0.0.9", "b")]);
        assert_eq!(lost.reason, FailureReason::NodeUnknown);
        let other = Member { machine_id: "m0".to_owned(), ..member("10.0.0.1", "b") };
        assert_eq!(refused(&[other]).reason, FailureReason::AnotherMachine);
        let unread = Member { machine_id: String::new(), ..member("10.0.0.1", "b") };
        let message = refused(std::slice::from_ref(&unread)).error.to_string();
        assert!(message.contains("`commctl host investigate 10.0.0.1`"), "{message}");
        let unreached = Member { availability: Availability::Unavailable, ..unread };
        let all = plan(nodes(), &[unreached, member("10.0.0.2", "b")], json!({}));
        assert!(all.refused.is_none() && all.node("10.0.0.1").is_none());
        let named = Member { machine_id: "m-10.0.0.1".to_owned(), ..member("w1", "b") };
        let twice = refused(&[member("10.0.0.1", "b"), named]);
        assert!(twice.error.to_string().contains("are both the node w1"), "{:?}", twice.error);
        let plain = Member { runs_kubelet: false, ..member("10.0.0.9", "b") };
        let rebooters = vec!["zincati".to_owned()];
        let found = plan(nodes(), &[Member { rebooters, ..plain }], json!({}));
        assert!(found.refused.is_none() && found.warnings[0].contains("10.0.0.9"));
        assert!(found.warnings[1].contains("10.0.0.9 is rebooted by zincati"));
    }

    #[test]
    fn only_usable_node_is_not_drained() {
        let nodes = || {
            vec![
                node("w1", "10.0.0.1", json!({})),
                node("w2", "10.0.0.2", json!({"is_ready": false})),
            ]
        };
        let members = [member("10.0.0.1", "b")];
        let refused = plan(nodes(), &members, json!({})).refused.unwrap();
        assert!(refused.error.to_string().contains("`drain: false`"));
        assert!(plan(nodes(), &members, json!({"drain": false})).refused.is_none());
    }

    #[test]
    fn pods_that_block_reject_the_operation_unless_they_are_checked_later() {
        let forecast = DrainForecast {
            blockers: vec!["shop/naked has no controller".to_owned()],
            blocked: 1,
            evicted: 2,
            warnings: vec!["disruption budget shop/web allows 0 disruptions now".to_owned()],
        };
        let forecasts = BTreeMap::from([("w1".to_owned(), forecast)]);
        let mut refusing = NodePlan::default();
        refusing.add_forecasts(&forecasts, DrainCheck::Start);
        let message = refusing.refused.unwrap().error.to_string();
        assert!(message.starts_with("1 pod blocks a drain: shop/naked has no controller (on w1)"));
        let mut later = NodePlan::default();
        later.add_forecasts(&forecasts, DrainCheck::Later);
        assert!(later.refused.is_none());
        assert_eq!(later.warnings.len(), 2);
    }
}
