//! What happens in a run: made from a seed, before anything runs. Pure.
//!
//! - `draw`: scenarios from seeds, and those of the crash matrix
//! - `kubernetes`: what a scenario with Kubernetes has in addition

mod draw;
pub(crate) mod kubernetes;

use std::time::Duration;

use model::OperationKind;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::fate::{MessageFaults, Point};
use kubernetes::{KubernetesEvent, KubernetesTraits};

/// The services with replicas: each has two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Service {
    Storage,
    Executor,
    Investigator,
    Watcher,
    Gateway,
    /// Only in scenarios with Kubernetes.
    ContainerManager,
}

/// A replica of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Replica {
    pub(crate) service: Service,
    pub(crate) number: usize,
}

impl std::fmt::Display for Replica {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = match self.service {
            Service::Storage => "storage",
            Service::Executor => "executor",
            Service::Investigator => "investigator",
            Service::Watcher => "watcher",
            Service::Gateway => "gateway",
            Service::ContainerManager => "containermgr",
        };
        write!(f, "{name}-{}", self.number)
    }
}

/// The replicas of all scenarios.
pub(crate) fn replicas() -> Vec<Replica> {
    use Service::{Executor, Gateway, Investigator, Storage, Watcher};
    pairs(&[Storage, Executor, Investigator, Watcher, Gateway])
}

fn pairs(services: &[Service]) -> Vec<Replica> {
    let pair = |service: &Service| [1, 2].map(|number| Replica { service: *service, number });
    services.iter().flat_map(pair).collect()
}

/// An event of a scenario.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Happening {
    /// A replica crashes at once, and is started again after some time.
    Crash { replica: Replica, down_for: Duration },
    /// A replica is stopped as systemd does it, and is started again after some time.
    Stop { replica: Replica, down_for: Duration },
    /// A replica does nothing for some time, and then goes on.
    Stall { replica: Replica, lasts: Duration },
    /// Every so many hosts are unreachable for some time, from the first one on.
    NetworkOutage { every: usize, lasts: Duration },
    /// The broker is unavailable for some time.
    BrokerOutage(Duration),
    /// The store is unavailable for some time.
    StoreOutage(Duration),
    /// A host reboots by itself.
    HostReboots(usize),
    /// The power of a host fails; it comes back after some time, if ever.
    HostFails { host: usize, down_for: Option<Duration> },
    /// Packets do not reach a host for some time.
    HostUnreachable { host: usize, lasts: Duration },
    /// All connections of a host are lost.
    HostConnectionsLost(usize),
    /// A host throttles or refuses log-ins for some time.
    HostRefuses { host: usize, is_throttled: bool, lasts: Duration },
    /// A host loses its connections and shows another key for some time.
    HostKeyChanges { host: usize, lasts: Duration },
    /// The go-ahead of a host arrives so much later for some time.
    HostSlow { host: usize, delay: Duration, lasts: Duration },
    /// The wall clock is set by so many seconds.
    ClockStep(i64),
    /// A request of a client or an operator.
    Request(Request),
    /// A fault of Kubernetes, or something that others do to its nodes.
    Kubernetes(KubernetesEvent),
}

/// A request to a gateway.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Start an operation on a cluster.
    Start {
        cluster: usize,
        kind: OperationKind,
        options: Value,
    },
    Pause(usize),
    Resume(usize),
    Abort(usize),
    Freeze,
    Unfreeze,
    /// Continue the last operation of a cluster.
    Continue(usize),
    /// Remove a host from its cluster.
    Leave(usize),
    /// Add a host to its cluster.
    Join(usize),
    /// Delete a host.
    Delete(usize),
    /// Register a host again.
    Create(usize),
    /// Cordon the node of a host.
    Cordon(usize),
    /// Uncordon the node of a host.
    Uncordon(usize),
    /// Drain the node of a host.
    Drain(usize),
}

/// How a host behaves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct HostTraits {
    pub(crate) shutdown: Duration,
    /// `None`: it does not come back from a reboot.
    pub(crate) boot: Option<Duration>,
    pub(crate) play_start: Duration,
    pub(crate) apply_takes: Duration,
    pub(crate) flaw: Option<Flaw>,
}

/// A fault of a host that it has from the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Flaw {
    /// It is down.
    Down,
    /// The connection is lost right before the command to reboot.
    LosesCommand,
    /// The connection is lost right after the command to reboot.
    LosesAnswer,
    /// It carries no command to reboot out.
    IgnoresCommands,
    /// It has no space left for an upgrade or a deployment.
    DiskFull,
    /// It boots the tree from before.
    FallsBack,
    /// It reboots once more by itself, so long after its reboot.
    RebootsAgain(Duration),
    /// It comes back with another key.
    OtherKey,
    /// A unit fails.
    FailedUnit,
}

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Scenario {
    /// What it has found, for a scenario of the corpus.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) note: String,
    pub(crate) seed: u64,
    pub(crate) hosts: Vec<HostTraits>,
    /// The cluster of each host.
    pub(crate) cluster_of: Vec<usize>,
    pub(crate) clusters: usize,
    pub(crate) messages: MessageFaults,
    /// Faults at steps of replicas.
    pub(crate) points: Vec<(Replica, Point)>,
    /// Whether there are two executors.
    pub(crate) has_second_executor: bool,
    /// When things happen, in order.
    pub(crate) happenings: Vec<(Duration, Happening)>,
    /// When all faults end.
    pub(crate) heals_at: Duration,
    /// The Kubernetes whose nodes the hosts are, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) kubernetes: Option<KubernetesTraits>,
}

/// What scenarios from seeds have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// The number of hosts.
    pub hosts: usize,
    /// Whether each has Kubernetes; otherwise its seed decides.
    pub always_kubernetes: bool,
}

impl Scenario {
    /// Scenarios with one thing less, the largest steps first.
    pub(crate) fn smaller(&self) -> Vec<Self> {
        let mut smaller = Vec::new();
        for keep in [self.hosts.len() / 2, self.hosts.len().saturating_sub(1)] {
            if keep >= 1 && keep < self.hosts.len() {
                smaller.push(self.with_hosts(keep));
            }
        }
        if self.messages != MessageFaults::default() {
            smaller.push(Self { messages: MessageFaults::default(), ..self.clone() });
        }
        for index in 0..self.points.len() {
            let mut points = self.points.clone();
            points.remove(index);
            smaller.push(Self { points, ..self.clone() });
        }
        for index in 0..self.happenings.len() {
            let mut happenings = self.happenings.clone();
            happenings.remove(index);
            smaller.push(Self { happenings, ..self.clone() });
        }
        for index in 0..self.hosts.len() {
            if self.hosts[index].flaw.is_some() {
                let mut hosts = self.hosts.clone();
                hosts[index].flaw = None;
                smaller.push(Self { hosts, ..self.clone() });
            }
        }
        let kubernetes = self.kubernetes.iter().flat_map(KubernetesTraits::smaller);
        smaller.extend(kubernetes.map(|it| Self { kubernetes: Some(it), ..self.clone() }));
        smaller
    }

    /// The replicas of this scenario, in the order in which they are started.
    pub(crate) fn replicas(&self) -> Vec<Replica> {
        let mut replicas = replicas();
        replicas.retain(|replica| {
            self.has_second_executor || replica.service != Service::Executor || replica.number == 1
        });
        if self.kubernetes.is_some() {
            replicas.extend(pairs(&[Service::ContainerManager]));
        }
        replicas
    }

    /// The faults at steps of a replica.
    pub(crate) fn points_of(&self, replica: Replica) -> Vec<Point> {
        let points = self.points.iter().filter(|(of, _)| *of == replica);
        points.map(|(_, point)| *point).collect()
    }

    /// The same with the first hosts only.
    fn with_hosts(&self, keep: usize) -> Self {
        let mut scenario = self.clone();
        scenario.hosts.truncate(keep);
        scenario.cluster_of.truncate(keep);
        scenario
            .happenings
            .retain(|(_, happening)| happening.host().is_none_or(|host| host < keep));
        if let Some(kubernetes) = &mut scenario.kubernetes {
            kubernetes.truncate(keep);
        }
        scenario
    }
}

impl Happening {
    /// The host that it is about.
    fn host(&self) -> Option<usize> {
        match self {
            Self::HostReboots(host)
            | Self::HostConnectionsLost(host)
            | Self::HostFails { host, .. }
            | Self::HostUnreachable { host, .. }
            | Self::HostRefuses { host, .. }
            | Self::HostKeyChanges { host, .. }
            | Self::HostSlow { host, .. }
            | Self::Request(
                Request::Leave(host)
                | Request::Join(host)
                | Request::Delete(host)
                | Request::Create(host)
                | Request::Cordon(host)
                | Request::Uncordon(host)
                | Request::Drain(host),
            ) => Some(*host),
            Self::Kubernetes(event) => event.host(),
            _ => None,
        }
    }
}

/// The address of a host.
pub(crate) fn address(host: usize) -> String {
    format!("10.{}.{}.{}", host / 62_500, host / 250 % 250, host % 250 + 1)
}

/// The name of a cluster.
pub(crate) fn cluster_name(cluster: usize) -> String {
    format!("c{}", cluster + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_gives_the_same_scenario_and_another_seed_another_one() {
        let shape = Shape { hosts: 20, always_kubernetes: false };
        assert_eq!(Scenario::new(7, shape), Scenario::new(7, shape));
        assert_ne!(Scenario::new(7, shape), Scenario::new(8, shape));
    }

    #[test]
    fn kubernetes_leaves_what_else_a_seed_gives_unchanged() {
        let by_seed = Shape { hosts: 20, always_kubernetes: false };
        let always = Shape { always_kubernetes: true, ..by_seed };
        let mut count = 0;
        for seed in 0..100 {
            let scenario = Scenario::new(seed, by_seed);
            let with = Scenario::new(seed, always);
            assert_eq!((&scenario.hosts, &scenario.messages), (&with.hosts, &with.messages));
            assert!(with.kubernetes.is_some());
            if scenario.kubernetes.is_some() {
                assert_eq!(scenario, with);
                count += 1;
            }
        }
        assert!((5..50).contains(&count), "{count}");
    }

    #[test]
    fn addresses_differ() {
        let mut all: Vec<_> = (0..5000).map(address).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 5000);
    }
}
