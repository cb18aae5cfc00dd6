//! What happens in a run: made from a seed, before anything runs. Pure.

use std::time::Duration;

use model::OperationKind;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::fate::{Fault, MessageFaults, Point};

/// The services with replicas: each has two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Service {
    Storage,
    Executor,
    Investigator,
    Watcher,
    Gateway,
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
        };
        write!(f, "{name}-{}", self.number)
    }
}

/// All replicas, in the order in which they are started.
pub(crate) fn replicas() -> Vec<Replica> {
    use Service::{Executor, Gateway, Investigator, Storage, Watcher};
    [Storage, Executor, Investigator, Watcher, Gateway]
        .into_iter()
        .flat_map(|service| [1, 2].map(|number| Replica { service, number }))
        .collect()
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
}

impl Scenario {
    /// The scenario of a seed, with so many hosts.
    pub(crate) fn new(seed: u64, hosts: usize) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let clusters = if hosts > 3 && random.random_bool(0.3) { 2 } else { 1 };
        let cluster_of = (0..hosts).map(|host| host % clusters).collect();
        let traits = (0..hosts).map(|_| HostTraits::random(&mut random)).collect();
        let messages = MessageFaults {
            delayed: share(&mut random, 0.05),
            requests_lost: share(&mut random, 0.01),
            answers_lost: share(&mut random, 0.01),
            repeated: share(&mut random, 0.01),
        };
        // Half of the runs are dense: all their faults are within a minute or two.
        let lasts = Duration::from_secs_f64(60.0 * 5_f64.powf(random.random()));
        let mut happenings = Vec::new();
        for cluster in 0..clusters {
            let at = moment(&mut random, lasts / 8);
            happenings.push((at, Happening::Request(start(&mut random, hosts, cluster))));
        }
        for _ in 0..random.random_range(0..12) {
            let at = moment(&mut random, lasts);
            happenings.push((at, fault(&mut random, hosts)));
        }
        for _ in 0..random.random_range(0..8) {
            let at = moment(&mut random, lasts);
            let request = request(&mut random, hosts, clusters);
            happenings.push((at, Happening::Request(request)));
        }
        happenings.sort_by_key(|(at, _)| *at);
        let points = if random.random_bool(0.5) { points(&mut random) } else { Vec::new() };
        Self {
            note: String::new(),
            seed,
            hosts: traits,
            cluster_of,
            clusters,
            messages,
            points,
            has_second_executor: true,
            happenings,
            heals_at: lasts,
        }
    }

    /// One of the crash matrix: an operation of this kind on three hosts, and a fault at one step of the executor.
    pub(crate) fn single(
        kind: OperationKind,
        point: Option<Point>,
        has_second_executor: bool,
    ) -> Self {
        let seconds = Duration::from_secs;
        let traits = HostTraits {
            shutdown: seconds(1),
            boot: Some(seconds(5)),
            play_start: seconds(1),
            apply_takes: seconds(5),
            flaw: None,
        };
        let options = json!({"settle": 2, "reboot": "always"});
        let request = Request::Start { cluster: 0, kind, options: options_of(kind, options) };
        let executor = Replica { service: Service::Executor, number: 1 };
        Self {
            note: String::new(),
            seed: 0,
            hosts: vec![traits; 3],
            cluster_of: vec![0; 3],
            clusters: 1,
            messages: MessageFaults::default(),
            points: point.into_iter().map(|point| (executor, point)).collect(),
            has_second_executor,
            happenings: vec![(seconds(1), Happening::Request(request))],
            heals_at: Duration::from_mins(3),
        }
    }
}

/// The options of a request to start an operation of this kind.
fn options_of(kind: OperationKind, mut options: Value) -> Value {
    if kind != OperationKind::Upgrade
        && let Some(options) = options.as_object_mut()
    {
        options.remove("reboot");
    }
    options
}

/// Faults at steps of the executors.
fn points(random: &mut StdRng) -> Vec<(Replica, Point)> {
    let mut points = Vec::new();
    for number in [1, 2] {
        for _ in 0..random.random_range(0..4) {
            let step = random.random_range(0..800);
            let fault = *Fault::ALL.choose(random).unwrap_or(&Fault::CrashBefore);
            points.push((Replica { service: Service::Executor, number }, Point { step, fault }));
        }
    }
    points
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
        smaller
    }

    /// Whether a replica exists in this run.
    pub(crate) fn is_used(&self, replica: Replica) -> bool {
        self.has_second_executor || replica.service != Service::Executor || replica.number == 1
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
                | Request::Create(host),
            ) => Some(*host),
            _ => None,
        }
    }
}

impl HostTraits {
    fn random(random: &mut StdRng) -> Self {
        let millis = |random: &mut StdRng, range: std::ops::Range<u64>| {
            Duration::from_millis(random.random_range(range))
        };
        let boot = match random.random_range(0..100) {
            0 => None,
            // Longer than a host has for its reboot.
            1 => Some(millis(random, 800_000..1_500_000)),
            2..10 => Some(millis(random, 30_000..120_000)),
            _ => Some(millis(random, 1_000..20_000)),
        };
        Self {
            shutdown: millis(random, 0..4_000),
            boot,
            play_start: millis(random, 500..4_000),
            apply_takes: millis(random, 500..40_000),
            flaw: random.random_bool(0.08).then(|| Flaw::random(random)),
        }
    }
}

impl Flaw {
    fn random(random: &mut StdRng) -> Self {
        let after = Duration::from_millis(random.random_range(0..60_000));
        let all = [
            Self::Down,
            Self::LosesCommand,
            Self::LosesAnswer,
            Self::LosesAnswer,
            Self::IgnoresCommands,
            Self::DiskFull,
            Self::FallsBack,
            Self::RebootsAgain(after),
            Self::RebootsAgain(after),
            Self::OtherKey,
            Self::FailedUnit,
        ];
        *all.choose(random).unwrap_or(&Self::Down)
    }
}

fn moment(random: &mut StdRng, before: Duration) -> Duration {
    before.mul_f64(random.random())
}

/// None in half of the scenarios.
fn share(random: &mut StdRng, most: f64) -> f64 {
    if random.random_bool(0.5) { 0.0 } else { random.random::<f64>() * most }
}

fn start(random: &mut StdRng, hosts: usize, cluster: usize) -> Request {
    use OperationKind::{Deploy, Restart, Upgrade};

    let kinds = [Restart, Restart, Restart, Upgrade, Deploy];
    let kind = *kinds.choose(random).unwrap_or(&Restart);
    // With many hosts, some of them fail.
    let some = (hosts / 5).max(4);
    let settle = *[0, 0, 3, 10, 30].choose(random).unwrap_or(&0);
    let mut options = json!({"settle": settle, "reboot": "always"});
    if random.random_bool(0.5) {
        options["max_unavailable"] = json!(random.random_range(1..=some));
    }
    if random.random_bool(0.3) {
        options["max_failures"] = json!(random.random_range(0..some));
    }
    if random.random_bool(0.2) {
        options["soak"] = json!(random.random_range(1..20));
    }
    if random.random_bool(0.2) {
        options["skip_unreachable"] = json!(true);
    }
    Request::Start { cluster, kind, options: options_of(kind, options) }
}

fn fault(random: &mut StdRng, hosts: usize) -> Happening {
    let seconds =
        |random: &mut StdRng, most: u64| Duration::from_millis(random.random_range(0..most * 1000));
    let host = random.random_range(0..hosts);
    match random.random_range(0..18) {
        0..=2 => {
            let replica = *replicas()
                .choose(random)
                .unwrap_or(&Replica { service: Service::Executor, number: 1 });
            Happening::Crash { replica, down_for: seconds(random, 60) }
        }
        3 => {
            let replica = Replica { service: Service::Executor, number: random.random_range(1..3) };
            Happening::Stop { replica, down_for: seconds(random, 60) }
        }
        4 => Happening::BrokerOutage(seconds(random, 60)),
        5 => Happening::StoreOutage(seconds(random, 60)),
        6 | 7 => Happening::HostReboots(host),
        8 => {
            let down_for = random.random_bool(0.7).then(|| seconds(random, 300));
            Happening::HostFails { host, down_for }
        }
        9 => Happening::HostUnreachable { host, lasts: seconds(random, 150) },
        10 => Happening::HostConnectionsLost(host),
        11 => {
            let is_throttled = random.random();
            Happening::HostRefuses { host, is_throttled, lasts: seconds(random, 200) }
        }
        12 => Happening::HostKeyChanges { host, lasts: seconds(random, 300) },
        14 => {
            let number = random.random_range(1..3);
            let replica = Replica { service: Service::Executor, number };
            Happening::Stall { replica, lasts: seconds(random, 40) }
        }
        15 => {
            let every = random.random_range(1..4);
            Happening::NetworkOutage { every, lasts: seconds(random, 400) }
        }
        13 => {
            let delay = Duration::from_millis(random.random_range(0..600));
            Happening::HostSlow { host, delay, lasts: seconds(random, 120) }
        }
        _ => Happening::ClockStep(random.random_range(-20_000..20_000)),
    }
}

fn request(random: &mut StdRng, hosts: usize, clusters: usize) -> Request {
    let (host, cluster) = (random.random_range(0..hosts), random.random_range(0..clusters));
    match random.random_range(0..14) {
        0 | 1 => Request::Pause(cluster),
        2..=4 => Request::Resume(cluster),
        5 => Request::Abort(cluster),
        6 => Request::Freeze,
        7 => Request::Unfreeze,
        8 => Request::Continue(cluster),
        9 => Request::Leave(host),
        10 => Request::Join(host),
        11 => Request::Delete(host),
        12 => Request::Create(host),
        _ => start(random, hosts, cluster),
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
        assert_eq!(Scenario::new(7, 20), Scenario::new(7, 20));
        assert_ne!(Scenario::new(7, 20), Scenario::new(8, 20));
    }

    #[test]
    fn addresses_differ() {
        let mut all: Vec<_> = (0..5000).map(address).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 5000);
    }
}
