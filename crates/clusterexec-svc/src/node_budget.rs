//! The budget of a Kubernetes, which all operations and clusters on it share. Pure.

use model::{BudgetClaim, NodeState, UNAVAILABLE_NODES, WaitReason, abridged};

use crate::waiting::Waiting;

/// Why a node may not be taken down now, beside the nodes that are unavailable and those that are claimed; `None` if it
/// may. `limit` is the number of nodes that may be unavailable at a time.
///
/// A node of the control plane is taken down only while all others of the control plane are available. The last node on
/// which pods can be scheduled is not taken down.
pub(crate) fn wait_for(
    node: &NodeState,
    nodes: &[NodeState],
    claims: &[BudgetClaim],
    limit: usize,
    may_be_last: bool,
    operation: &str,
) -> Option<Waiting> {
    let others = nodes.iter().filter(|other| other.name != node.name);
    let unavailable: Vec<_> =
        others.clone().filter_map(|other| Some((other, why(other, claims)?))).collect();
    let names = |found: &[&(&NodeState, String)]| {
        abridged(found.iter().map(|(node, why)| format!("{} ({why})", node.name)), ", ")
    };
    let wait = |reason, found: &[&(&NodeState, String)], message: String| {
        let is_own = |node: &NodeState| {
            claims.iter().any(|claim| claim.node == node.name && claim.operation == operation)
        };
        if found.iter().all(|(node, _)| is_own(node)) {
            return Some(Waiting::for_budget(String::new()));
        }
        let is_claimed = |node: &NodeState| claims.iter().any(|claim| claim.node == node.name);
        let is_for_operations = found.iter().all(|(node, _)| is_claimed(node));
        Some(Waiting { is_for_operations, ..Waiting::new(reason, message) })
    };
    if node.is_control_plane {
        let control_plane: Vec<_> =
            unavailable.iter().filter(|(other, _)| other.is_control_plane).collect();
        if !control_plane.is_empty() {
            let message = format!(
                "the control plane loses one node at a time, and {UNAVAILABLE_NODES}{}",
                names(&control_plane)
            );
            return wait(WaitReason::ControlPlane, &control_plane, message);
        }
    }
    let all: Vec<_> = unavailable.iter().collect();
    let is_unavailable = node.unavailable_because().is_some();
    if !is_unavailable && all.len() >= limit {
        let message = format!(
            "at most {limit} {} of the Kubernetes may be unavailable at a time, and {UNAVAILABLE_NODES}{}",
            if limit == 1 { "node" } else { "nodes" },
            names(&all)
        );
        return wait(WaitReason::NodeBudget, &all, message);
    }
    if !is_unavailable && !may_be_last && others.count() == all.len() {
        let message = format!(
            "{} is the only node on which pods can be scheduled: bring another node back, or use the option \
             `drain: false`",
            node.name
        );
        return wait(WaitReason::NodeBudget, &all, message);
    }
    None
}

/// Why a node counts as unavailable.
fn why(node: &NodeState, claims: &[BudgetClaim]) -> Option<String> {
    let claim = claims.iter().find(|claim| claim.node == node.name);
    match claim {
        Some(claim) => Some(format!("operation {}", claim.operation)),
        None => node.unavailable_because(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(control_plane: usize, workers: usize) -> Vec<NodeState> {
        let node = |name: String, is_control_plane| NodeState {
            name,
            is_control_plane,
            is_ready: true,
            ..NodeState::default()
        };
        let control_plane = (0..control_plane).map(|n| node(format!("c{n}"), true));
        control_plane.chain((0..workers).map(|n| node(format!("w{n}"), false))).collect()
    }

    fn claim(node: &str) -> BudgetClaim {
        BudgetClaim {
            node: node.to_owned(),
            operation: "o2".to_owned(),
            budget: 1,
            ..BudgetClaim::default()
        }
    }

    fn reason(
        name: &str,
        nodes: &[NodeState],
        claims: &[BudgetClaim],
        limit: usize,
    ) -> Option<WaitReason> {
        let node = nodes.iter().find(|node| node.name == name).unwrap();
        wait_for(node, nodes, claims, limit, false, "o1").map(|waiting| waiting.reason)
    }

    #[test]
    fn nodes_of_others_count_whatever_made_them_unavailable() {
        let mut nodes = nodes(0, 4);
        assert_eq!(reason("w0", &nodes, &[], 1), None);
        assert_eq!(reason("w0", &nodes, &[claim("w1")], 1), Some(WaitReason::NodeBudget));
        assert_eq!(reason("w0", &nodes, &[claim("w1")], 2), None);
        let own = BudgetClaim { operation: "o1".to_owned(), ..claim("w1") };
        assert_eq!(reason("w0", &nodes, &[own], 1), Some(WaitReason::OthersUnderWay));
        nodes[2].unschedulable = true;
        assert_eq!(reason("w0", &nodes, &[claim("w1")], 2), Some(WaitReason::NodeBudget));
        nodes[3].is_ready = false;
        assert_eq!(reason("w0", &nodes, &[], 2), Some(WaitReason::NodeBudget));
        // One that is unavailable already takes no further place.
        assert_eq!(reason("w3", &nodes, &[], 1), None);
    }

    #[test]
    fn only_operations_are_waited_for_without_limit() {
        let mut nodes = nodes(0, 3);
        let waits = |nodes: &[NodeState]| {
            wait_for(&nodes[0], nodes, &[claim("w1")], 1, false, "o1").unwrap().is_for_operations
        };
        assert!(waits(&nodes));
        nodes[2].unschedulable = true;
        assert!(!waits(&nodes));
    }

    #[test]
    fn control_plane_loses_one_node_at_a_time_whatever_the_limit_is() {
        let mut nodes = nodes(3, 3);
        assert_eq!(reason("c0", &nodes, &[claim("w1")], 9), None);
        assert_eq!(reason("c0", &nodes, &[claim("c1")], 9), Some(WaitReason::ControlPlane));
        nodes[1].problems.push("DiskPressure".to_owned());
        assert_eq!(reason("c0", &nodes, &[], 9), Some(WaitReason::ControlPlane));
        assert_eq!(reason("w0", &nodes, &[], 9), None);
        // Also if it is unavailable itself.
        nodes[0].is_ready = false;
        assert_eq!(reason("c0", &nodes, &[], 9), Some(WaitReason::ControlPlane));
    }

    #[test]
    fn last_usable_node_is_not_taken_down() {
        let mut nodes = nodes(0, 2);
        nodes[1].is_ready = false;
        assert_eq!(reason("w0", &nodes, &[], 9), Some(WaitReason::NodeBudget));
        assert!(wait_for(&nodes[0], &nodes, &[], 9, true, "o1").is_none());
    }
}
