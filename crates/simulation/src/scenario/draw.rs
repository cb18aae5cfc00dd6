//! Scenarios that are drawn from a seed, and those of the crash matrix. Pure.

use std::time::Duration;

use model::OperationKind;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use super::kubernetes::draw::with_kubernetes;
use super::{Flaw, Happening, HostTraits, Replica, Request, Scenario, Service, Shape, replicas};
use crate::fate::{Fault, MessageFaults, Point};

impl Scenario {
    /// The scenario of a seed.
    pub(crate) fn new(seed: u64, shape: Shape) -> Self {
        with_kubernetes(Self::without_kubernetes(seed, shape.hosts), shape.always_kubernetes)
    }

    /// The scenario of a seed, with so many hosts.
    fn without_kubernetes(seed: u64, hosts: usize) -> Self {
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
            kubernetes: None,
        }
    }

    /// One of the crash matrix, without its fault: an operation of this kind on three hosts.
    pub(crate) fn single(kind: OperationKind, has_second_executor: bool) -> Self {
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
        Self {
            note: String::new(),
            seed: 0,
            hosts: vec![traits; 3],
            cluster_of: vec![0; 3],
            clusters: 1,
            messages: MessageFaults::default(),
            points: Vec::new(),
            has_second_executor,
            happenings: vec![(seconds(1), Happening::Request(request))],
            heals_at: Duration::from_mins(3),
            kubernetes: None,
        }
    }

    /// The same with a fault at a step of a replica.
    pub(crate) fn with_point(&self, replica: Replica, point: Point) -> Self {
        Self { points: vec![(replica, point)], ..self.clone() }
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

pub(super) fn moment(random: &mut StdRng, before: Duration) -> Duration {
    before.mul_f64(random.random())
}

/// None in half of the scenarios.
fn share(random: &mut StdRng, most: f64) -> f64 {
    if random.random_bool(0.5) { 0.0 } else { random.random::<f64>() * most }
}

pub(super) fn start(random: &mut StdRng, hosts: usize, cluster: usize) -> Request {
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
