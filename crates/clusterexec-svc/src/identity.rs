//! Which node of a Kubernetes a host is. Pure.
//!
//! Candidates come from the address of the host only. What the host reports about itself never makes a node a candidate:
//! it only rejects one, so that a host with the address of another machine does not drain that one's node.

use std::net::IpAddr;

use model::{FailureReason, NodeState, abridged};

use crate::host_error::HostFailure;

/// A host that a node is looked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Identity<'a> {
    pub(crate) address: &'a str,
    /// The name of its node, as an administrator has set it; else empty.
    pub(crate) node_name: &'a str,
    /// Its machine id; empty if it is not known.
    pub(crate) machine_id: &'a str,
    /// Its boot id.
    pub(crate) boot_id: &'a str,
    /// Whether it runs a kubelet.
    pub(crate) runs_kubelet: bool,
}

/// The node of a host; `None` if it has none and runs no kubelet.
///
/// # Errors
/// When the node of the host is not certain.
pub(crate) fn node_of<'a>(
    nodes: &'a [NodeState],
    host: Identity<'_>,
) -> Result<Option<&'a NodeState>, HostFailure> {
    let candidates = candidates(nodes, host.address, host.node_name);
    let with = |is_host: &dyn Fn(&NodeState) -> bool| -> Vec<&'a NodeState> {
        candidates.iter().copied().filter(|node| is_host(node)).collect()
    };
    let same_boot = with(&|node| node.boot_id == host.boot_id);
    let same_machine =
        with(&|node| !host.machine_id.is_empty() && node.machine_id == host.machine_id);
    match (candidates.as_slice(), same_boot.as_slice(), same_machine.as_slice()) {
        ([], ..) if host.runs_kubelet || !host.node_name.is_empty() => Err(unknown(host)),
        ([], ..) => Ok(None),
        // Cloned machines have the same machine id, and no two boots the same boot id.
        (_, [node], _) | (_, [], [node]) => Ok(Some(node)),
        // Its kubelet has never reported.
        ([node], [], []) if node.machine_id.is_empty() && node.boot_id.is_empty() => Ok(Some(node)),
        ([node], [], []) => Err(another_machine(host, node)),
        (several, ..) => Err(ambiguous(host.address, several)),
    }
}

/// The nodes that have the address of a host, or are named like it: the name decides. If an administrator has set the name
/// of its node, only that one is.
pub(crate) fn candidates<'a>(
    nodes: &'a [NodeState],
    address: &str,
    node_name: &str,
) -> Vec<&'a NodeState> {
    if !node_name.is_empty() {
        return nodes.iter().filter(|node| node.name == node_name).collect();
    }
    if let Some(named) = nodes.iter().find(|node| node.name.eq_ignore_ascii_case(address)) {
        return vec![named];
    }
    let ip = address.parse::<IpAddr>().ok().map(|ip| ip.to_canonical());
    let is_same = |listed: &String| {
        listed.eq_ignore_ascii_case(address)
            || ip.is_some() && listed.parse::<IpAddr>().ok().map(|ip| ip.to_canonical()) == ip
    };
    nodes.iter().filter(|node| node.addresses.iter().any(is_same)).collect()
}

fn unknown(host: Identity<'_>) -> HostFailure {
    let Identity { address, node_name, .. } = host;
    let why = if node_name.is_empty() {
        format!("{address} runs a kubelet, and no node has its address or its name")
    } else {
        format!("there is no node {node_name}, which is set as that of {address}")
    };
    let message = format!("{why}: nothing was done to it; see `kubectl get nodes -o wide`");
    HostFailure::new(FailureReason::NodeUnknown, message)
}

fn ambiguous(address: &str, nodes: &[&NodeState]) -> HostFailure {
    let names = abridged(nodes.iter().map(|node| &node.name), ", ");
    let message = format!(
        "{address} is an address of more than one node: {names}; nothing was done to it: delete the nodes that \
         do not exist any more"
    );
    HostFailure::new(FailureReason::NodeAmbiguous, message)
}

/// The message does not contain the ids of the node: with them, a host could pass itself off as that node.
fn another_machine(host: Identity<'_>, node: &NodeState) -> HostFailure {
    let Identity { address, machine_id, boot_id, .. } = host;
    let name = &node.name;
    if machine_id.is_empty() {
        let message = format!(
            "the machine id of {address} is not known, so the node {name} may be another machine: nothing was done to \
             it; have it read with `commctl host investigate {address}`; a host without /etc/machine-id has none"
        );
        return HostFailure::new(FailureReason::AnotherMachine, message);
    }
    let remedy = if host.node_name.is_empty() {
        "see whether the address was given to another machine".to_owned()
    } else {
        format!("correct the name of its node with `commctl host place {address} --node-name NODE`")
    };
    let message = format!(
        "{address} is not the machine behind the node {name}: the host has the machine id {machine_id} and the boot id \
         {boot_id}, and the node others (see `kubectl describe node {name}`); nothing was done to it; {remedy}"
    );
    HostFailure::new(FailureReason::AnotherMachine, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, address: &str, machine_id: &str, boot_id: &str) -> NodeState {
        NodeState {
            name: name.to_owned(),
            addresses: vec![address.to_owned(), name.to_owned()],
            machine_id: machine_id.to_owned(),
            boot_id: boot_id.to_owned(),
            ..NodeState::default()
        }
    }

    fn host(address: &str) -> Identity<'_> {
        let (machine_id, boot_id) = ("m1", "b1");
        Identity { address, node_name: "", machine_id, boot_id, runs_kubelet: true }
    }

    fn reason(nodes: &[NodeState], host: Identity<'_>) -> FailureReason {
        node_of(nodes, host).unwrap_err().code
    }

    #[test]
    fn node_is_found_by_name_or_address() {
        let nodes = [node("w1", "10.0.0.1", "m1", "b0"), node("w2", "::ffff:10.0.0.2", "m2", "b1")];
        let found = |address| node_of(&nodes, host(address)).unwrap().map(|n| n.name.as_str());
        assert_eq!(found("10.0.0.1"), Some("w1"));
        assert_eq!(found("W1"), Some("w1"));
        // The boot id alone proves it, too.
        assert_eq!(found("10.0.0.2"), Some("w2"));
    }

    #[test]
    fn host_without_a_node_is_one_only_if_it_runs_no_kubelet() {
        let nodes = [node("w1", "10.0.0.1", "m1", "b1")];
        assert_eq!(reason(&nodes, host("10.0.0.9")), FailureReason::NodeUnknown);
        let plain = Identity { runs_kubelet: false, ..host("10.0.0.9") };
        assert!(node_of(&nodes, plain).unwrap().is_none());
    }

    #[test]
    fn name_that_an_administrator_has_set_decides() {
        let nodes = [node("w1", "10.0.0.1", "m1", "b1"), node("w2", "10.0.0.2", "m1", "b2")];
        let pinned = |node_name| Identity { node_name, ..host("10.0.0.1") };
        assert_eq!(node_of(&nodes, pinned("w2")).unwrap().unwrap().name, "w2");
        assert_eq!(reason(&nodes, pinned("w3")), FailureReason::NodeUnknown);
    }

    #[test]
    fn address_of_another_machine_is_rejected_and_never_makes_a_candidate() {
        let nodes = [node("w1", "10.0.0.1", "m2", "b2"), node("w2", "10.0.0.2", "m1", "b1")];
        assert_eq!(reason(&nodes, host("10.0.0.1")), FailureReason::AnotherMachine);
        let unreported = [node("w1", "10.0.0.1", "", "")];
        assert!(node_of(&unreported, host("10.0.0.1")).unwrap().is_some());
    }

    #[test]
    fn among_several_candidates_the_machine_decides() {
        let mut nodes =
            vec![node("old", "10.0.0.1", "m0", "b0"), node("w1", "10.0.0.1", "m1", "b1")];
        assert_eq!(node_of(&nodes, host("10.0.0.1")).unwrap().unwrap().name, "w1");
        // Cloned machine ids.
        nodes[0].machine_id = "m1".to_owned();
        assert_eq!(node_of(&nodes, host("10.0.0.1")).unwrap().unwrap().name, "w1");
        nodes[1].boot_id = "b3".to_owned();
        assert_eq!(reason(&nodes, host("10.0.0.1")), FailureReason::NodeAmbiguous);
        nodes.truncate(1);
        nodes.push(node("w3", "10.0.0.1", "m3", "b3"));
        nodes[0].machine_id = "m0".to_owned();
        assert_eq!(reason(&nodes, host("10.0.0.1")), FailureReason::NodeAmbiguous);
    }
}
