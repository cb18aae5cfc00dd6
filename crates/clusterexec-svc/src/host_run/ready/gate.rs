//! Whether a node is ready again after the reboot of its host. Pure.

use model::messages::NodeContents;
use model::{HostNode, abridged};

use crate::host_run::node::returning;

/// A part of what has to be ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// The node itself.
    Node,
    /// The DaemonSet and mirror pods that were ready before.
    Pods,
    /// The drivers of its CSINode that were registered before.
    Drivers,
}

impl Part {
    /// All of them, in the order in which they become ready.
    pub(super) const ALL: [Self; 3] = [Self::Node, Self::Pods, Self::Drivers];
}

/// Why a part is not ready.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// The node does not exist any more.
    Gone,
    /// It is not ready yet.
    NotReady(String),
}

/// Why a part is not ready again; `None` if it is.
///
/// A report of its kubelet with the new boot id was made after the boot; the heartbeat has to be a later one than before
/// the reboot, too.
pub(super) fn problem(
    before: &HostNode,
    boot_id: &str,
    contents: &NodeContents,
    part: Part,
) -> Option<Problem> {
    match part {
        Part::Node => node_problem(before, boot_id, contents),
        Part::Pods => pods_problem(before, contents),
        Part::Drivers => drivers_problem(before, contents),
    }
}

fn node_problem(before: &HostNode, boot_id: &str, contents: &NodeContents) -> Option<Problem> {
    let name = &before.name;
    let Some(node) = contents.state.as_ref().filter(|node| node.uid == before.uid) else {
        return Some(Problem::Gone);
    };
    if node.boot_id != boot_id {
        return Some(Problem::NotReady(format!(
            "the node {name} still reports the boot id {}",
            node.boot_id
        )));
    }
    if node.heartbeat <= before.heartbeat {
        return Some(Problem::NotReady(format!(
            "the kubelet of the node {name} has not reported since its boot"
        )));
    }
    if !node.is_ready {
        return Some(Problem::NotReady(format!("the node {name} is not Ready")));
    }
    let problem = node.problems.first()?;
    Some(Problem::NotReady(format!("the node {name} has {problem}")))
}

fn pods_problem(before: &HostNode, contents: &NodeContents) -> Option<Problem> {
    let is_back = |expected: &&String| {
        let mut pods = contents.pods.iter().filter(|pod| returning(pod).as_ref() == Some(expected));
        pods.any(|pod| pod.is_ready && pod.ready_changed > before.heartbeat)
    };
    let missing: Vec<_> = before.pods.iter().filter(|pod| !is_back(pod)).collect();
    if missing.is_empty() {
        return None;
    }
    let (name, missing) = (&before.name, abridged(missing, ", "));
    Some(Problem::NotReady(format!("pods of the node {name} are not ready: {missing}")))
}

fn drivers_problem(before: &HostNode, contents: &NodeContents) -> Option<Problem> {
    let missing: Vec<_> =
        before.drivers.iter().filter(|driver| !contents.drivers.contains(driver)).collect();
    if missing.is_empty() {
        return None;
    }
    let (name, missing) = (&before.name, abridged(missing, ", "));
    Some(Problem::NotReady(format!(
        "volume drivers of the node {name} have not registered: {missing}"
    )))
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

    /// Which part is not ready, and why.
    fn found(contents: &NodeContents) -> Option<(Part, Problem)> {
        let problems =
            Part::ALL.into_iter().map(|part| (part, problem(&before(), "b2", contents, part)));
        let mut problems = problems.filter_map(|(part, problem)| Some((part, problem?)));
        let first = problems.next();
        assert!(problems.next().is_none(), "one part at a time");
        first
    }

    #[test]
    fn node_is_ready_once_everything_is_as_before_and_of_the_new_boot() {
        type Change = fn(&mut NodeContents);
        assert_eq!(found(&after()), None);
        let changes: [(Change, Part, &str); 8] = [
            (|c| c.state.as_mut().unwrap().boot_id = "b1".to_owned(), Part::Node, "boot id b1"),
            (|c| c.state.as_mut().unwrap().heartbeat = BEFORE.into(), Part::Node, "not reported"),
            (|c| c.state.as_mut().unwrap().is_ready = false, Part::Node, "not Ready"),
            (
                |c| c.state.as_mut().unwrap().problems.push("DiskPressure".to_owned()),
                Part::Node,
                "DiskPressure",
            ),
            (|c| c.pods[0].is_ready = false, Part::Pods, "kube-system/proxy"),
            (|c| c.pods[1].ready_changed = BEFORE.into(), Part::Pods, "kube-system/etcd-w1"),
            (|c| c.pods.truncate(1), Part::Pods, "kube-system/etcd-w1"),
            (|c| c.drivers.clear(), Part::Drivers, "csi.example"),
        ];
        for (change, part, named) in changes {
            let mut contents = after();
            change(&mut contents);
            let Some((found, Problem::NotReady(why))) = found(&contents) else { panic!("{named}") };
            assert!(found == part && why.contains(named), "{why}");
        }
        let gone = |change: Change| {
            let mut contents = after();
            change(&mut contents);
            found(&contents) == Some((Part::Node, Problem::Gone))
        };
        assert!(gone(|contents| contents.state = None));
        assert!(gone(|contents| contents.state.as_mut().unwrap().uid = "another".to_owned()));
    }
}
