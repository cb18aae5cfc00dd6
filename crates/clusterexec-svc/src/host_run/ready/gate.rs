//! Whether a node is ready again after the reboot of its host. Pure.

use model::messages::NodeContents;
use model::{HostNode, abridged};

use crate::host_run::node::returning;

/// Why a node is not ready again; `None` if it is. Its pods count only `with_pods`.
///
/// A report of its kubelet with the new boot id was made after the boot; the heartbeat has to be a later one than before
/// the reboot, too.
pub(super) fn problem(
    before: &HostNode,
    boot_id: &str,
    contents: &NodeContents,
    with_pods: bool,
) -> Option<String> {
    let name = &before.name;
    let Some(node) = &contents.state else {
        return Some(format!("the node {name} does not exist"));
    };
    if node.boot_id != boot_id {
        return Some(format!("the node {name} still reports the boot id {}", node.boot_id));
    }
    if node.heartbeat <= before.heartbeat {
        return Some(format!("the kubelet of the node {name} has not reported since its boot"));
    }
    if !node.is_ready {
        return Some(format!("the node {name} is not Ready"));
    }
    if let Some(problem) = node.problems.first() {
        return Some(format!("the node {name} has {problem}"));
    }
    if !with_pods {
        return None;
    }
    let is_back = |expected: &&String| {
        let mut pods = contents.pods.iter().filter(|pod| returning(pod).as_ref() == Some(expected));
        pods.any(|pod| pod.is_ready && pod.ready_changed > before.heartbeat)
    };
    let missing: Vec<_> = before.pods.iter().filter(|pod| !is_back(pod)).collect();
    if !missing.is_empty() {
        return Some(format!("pods of the node {name} are not ready: {}", abridged(missing, ", ")));
    }
    let missing: Vec<_> =
        before.drivers.iter().filter(|driver| !contents.drivers.contains(driver)).collect();
    if missing.is_empty() {
        return None;
    }
    Some(format!("pods of the node {name} have not registered: {}", abridged(missing, ", ")))
}

#[cfg(test)]
mod tests {
    use model::{Controller, NodeState, PodKind, PodState};

    use super::*;

    const BEFORE: &str = "2026-11-30T12:00:00.000000";
    const AFTER: &str = "2026-11-30T12:05:00.000000";

    fn before() -> HostNode {
        HostNode {
            name: "w1".to_owned(),
            heartbeat: BEFORE.into(),
            pods: vec!["kube-system/proxy".to_owned(), "kube-system/etcd-w1".to_owned()],
            drivers: vec!["csi.example".to_owned()],
            ..HostNode::default()
        }
    }

    fn after() -> NodeContents {
        let pod = |name: &str, kind, controller| PodState {
            namespace: "kube-system".to_owned(),
            name: name.to_owned(),
            kind,
            controller,
            is_ready: true,
            ready_changed: AFTER.into(),
            ..PodState::default()
        };
        let set = Controller { kind: "DaemonSet".to_owned(), name: "proxy".to_owned() };
        NodeContents {
            exists: true,
            state: Some(NodeState {
                boot_id: "b2".to_owned(),
                heartbeat: AFTER.into(),
                is_ready: true,
                ..NodeState::default()
            }),
            pods: vec![
                pod("proxy-x1", PodKind::DaemonSet, Some(set)),
                pod("etcd-w1", PodKind::Mirror, None),
            ],
            drivers: vec!["csi.example".to_owned()],
            ..NodeContents::default()
        }
    }

    #[test]
    fn node_is_ready_once_everything_is_as_before_and_of_the_new_boot() {
        assert_eq!(problem(&before(), "b2", &after(), true), None);
        type Change = fn(&mut NodeContents);
        let changes: [(Change, &str); 9] = [
            (|c| c.state = None, "does not exist"),
            (|c| c.state.as_mut().unwrap().boot_id = "b1".to_owned(), "boot id b1"),
            (|c| c.state.as_mut().unwrap().heartbeat = BEFORE.into(), "has not reported"),
            (|c| c.state.as_mut().unwrap().is_ready = false, "not Ready"),
            (
                |c| c.state.as_mut().unwrap().problems.push("DiskPressure".to_owned()),
                "DiskPressure",
            ),
            (|c| c.pods[0].is_ready = false, "kube-system/proxy"),
            (|c| c.pods[1].ready_changed = BEFORE.into(), "kube-system/etcd-w1"),
            (|c| c.pods.truncate(1), "kube-system/etcd-w1"),
            (|c| c.drivers.clear(), "csi.example"),
        ];
        for (index, (change, named)) in changes.into_iter().enumerate() {
            let mut contents = after();
            change(&mut contents);
            let found = problem(&before(), "b2", &contents, true).unwrap();
            assert!(found.contains(named), "{found}");
            let is_of_the_node = index < 5;
            assert_eq!(problem(&before(), "b2", &contents, false).is_some(), is_of_the_node);
        }
    }
}
