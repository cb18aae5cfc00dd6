//! One run: everything in one task set on one thread, in paused time, from the start to the end of all operations.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bus::{Bus, Context};
use jiff::SignedDuration;
use model::{Cluster, Host, HostCreds, Network as NetworkRecord, NetworkType, Status};
use runtime::{Clock, random};
use serde_json::{Map, Value, json};
use simulated_hosts::{Apply, LogIn, SimulatedHosts};
use storage_client::{StorageClient, Transaction};
use storage_svc::store::Memory;
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::client::{Answered, Sent, client_name};
use crate::network::{Incident, Network};
use crate::processes::{Ground, Processes};
use crate::scenario::{
    Flaw, Happening, HostTraits, Replica, Request, Scenario, Service, address, cluster_name,
    replicas,
};
use crate::trace::Trace;
use crate::truth::Truth;

/// After this time without faults, operations must have ended or paused.
const LIVENESS: Duration = Duration::from_hours(12);

/// The pause between checks whether operations have ended.
const CHECK_AGAIN: Duration = Duration::from_secs(10);

/// The pause before a client repeats a request.
const RETRY: Duration = Duration::from_secs(2);

/// How often a client repeats a request before it gives up.
const ATTEMPTS: usize = 20;

/// How long a crashed replica is down if nothing else is said.
const RESTART_AFTER: Duration = Duration::from_secs(20);

/// Hosts that are registered in one transaction.
const HOSTS_PER_WRITE: usize = 40;

/// The result of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The violations, in the order in which they were found; empty if the run is correct.
    pub violations: Vec<String>,
    /// A number that differs for different stories.
    pub digest: u64,
    /// The story, if it was asked for.
    pub story: String,
    /// The simulated time.
    pub took: Duration,
    /// The steps of the first executor.
    pub steps: u64,
}

/// Runs a scenario, with this file of the sealing key.
///
/// # Errors
/// When the simulation itself fails.
pub(crate) fn run(
    scenario: &Scenario,
    key_file: &Path,
    is_traced: bool,
) -> anyhow::Result<Outcome> {
    // The gateway measures once in a process: the first run would not be like the others. An error says that it is done.
    drop(metrics::set_global_recorder(metrics::NoopRecorder));
    let _seeded = random::seeded(scenario.seed);
    let runtime = runtime(scenario.seed).context("no runtime")?;
    let result = LocalSet::new().block_on(&runtime, World::run(scenario, key_file, is_traced));
    // Tasks that are left must not run on.
    runtime.shutdown_background();
    result
}

/// A runtime whose choices come from the seed, where that is possible: with `--cfg tokio_unstable`.
fn runtime(seed: u64) -> std::io::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true);
    #[cfg(tokio_unstable)]
    builder.rng_seed(tokio::runtime::RngSeed::from_bytes(&seed.to_le_bytes()));
    #[cfg(not(tokio_unstable))]
    let _ = seed;
    builder.build()
}

struct World<'a> {
    scenario: &'a Scenario,
    processes: Processes,
    truth: Truth,
    trace: Trace,
    incidents: mpsc::UnboundedReceiver<Incident>,
    /// Replicas that are down, and when each is started again.
    starts: BTreeMap<Replica, Instant>,
    /// Host faults that end, and when.
    host_ends: Vec<(Instant, HostEnd)>,
    /// The number of requests of clients so far.
    requests: usize,
    /// Clients with the statuses of their answers.
    acknowledged: Rc<RefCell<Vec<(String, u16)>>>,
}

/// The end of a fault of the host with this address.
enum HostEnd {
    PowerOn(String),
    Reachable(String),
    AcceptsLogIns(String),
    Key(String),
    Fast(String),
}

impl<'a> World<'a> {
    async fn run(
        scenario: &'a Scenario,
        key_file: &Path,
        is_traced: bool,
    ) -> anyhow::Result<Outcome> {
        let begun = Instant::now();
        let trace = Trace::new(is_traced);
        let mut world = Self::start(scenario, key_file, trace.clone()).await?;
        world.happen().await?;
        world.heal().await?;
        world.end().await?;
        world.check_audit();
        let steps = world.processes.steps(Replica { service: Service::Executor, number: 1 });
        world.processes.crash_all();
        world.processes.ground().network.close();
        Ok(Outcome {
            steps,
            violations: world.truth.violations(),
            digest: trace.digest(),
            story: trace.text(),
            took: begun.elapsed(),
        })
    }

    async fn start(scenario: &'a Scenario, key_file: &Path, trace: Trace) -> anyhow::Result<Self> {
        let truth = Truth::new(trace.clone());
        let (store, observed) = (Memory::default(), truth.clone());
        store.observe(move |revision, commit| observed.commit(revision, commit));
        let observed = truth.clone();
        let hosts = SimulatedHosts::default().with_effects(move |effect| observed.effect(effect));
        let (network, incidents) = Network::new(scenario.seed, &truth, &hosts);
        let clock = Clock::simulated("2026-11-28T12:00:00Z".parse()?);
        let key_file = key_file.to_owned();
        let ground = Ground { network, store, hosts, clock, key_file };
        let mut world = Self {
            scenario,
            processes: Processes::new(ground),
            truth,
            trace,
            incidents,
            starts: BTreeMap::new(),
            host_ends: Vec::new(),
            requests: 0,
            acknowledged: Rc::default(),
        };
        let (last, others): (Vec<_>, Vec<_>) =
            replicas().into_iter().partition(|replica| replica.service == Service::Executor);
        for replica in others {
            world.processes.start(replica, &[]).await?;
        }
        world.register().await?;
        for replica in last.into_iter().filter(|replica| scenario.is_used(*replica)) {
            world.processes.start(replica, &scenario.points_of(replica)).await?;
        }
        world.processes.ground().network.set_faults(scenario.messages);
        Ok(world)
    }

    /// Registers all hosts in their clusters, as they would be after their set-up.
    async fn register(&self) -> anyhow::Result<()> {
        let Ground { network, hosts, .. } = self.processes.ground();
        let link = network.link("administrator", &[]);
        let bus = Bus::over_transport(Arc::new(link));
        let storage = StorageClient::new(bus, Context::service("administrator"));
        http_gateway::make_default_network(&storage, NetworkType::None).await?;
        let all: Vec<usize> = (0..self.scenario.hosts.len()).collect();
        for part in all.chunks(HOSTS_PER_WRITE) {
            let mut transaction = Transaction::default();
            for host in part {
                let traits = &self.scenario.hosts[*host];
                let address = address(*host);
                hosts.add(&address);
                let key = hosts.edit(&address, |machine| {
                    apply_traits(machine, traits);
                    machine.host_key.clone()
                });
                self.truth.has_key(&address, Some(key.clone()));
                let creds = HostCreds { ssh_host_key: key, ..HostCreds::new(&address) };
                let (status, os) = (Status::Disassociated, "debian".to_owned());
                let record = Host { address: address.into(), status, os, ..Host::default() };
                transaction = transaction.save(&record)?.save(&creds)?;
            }
            storage.transact(&transaction).await?;
        }
        for cluster in 0..self.scenario.clusters {
            let of_cluster = |host: &usize| self.scenario.cluster_of[*host] == cluster;
            let hostset =
                all.iter().copied().filter(of_cluster).map(|host| address(host).into()).collect();
            let (name, network) = (cluster_name(cluster).into(), NetworkRecord::DEFAULT.to_owned());
            let record = Cluster { name, network, hostset, ..Cluster::default() };
            storage.save(&record).await?;
        }
        for (host, traits) in self.scenario.hosts.iter().enumerate() {
            if traits.flaw == Some(Flaw::Down) {
                hosts.power_off(&address(host));
            }
        }
        Ok(())
    }

    /// Lets things happen until all faults end.
    async fn happen(&mut self) -> anyhow::Result<()> {
        let begun = Instant::now();
        for (at, happening) in &self.scenario.happenings {
            self.wait_until(begun + *at).await?;
            self.carry_out(happening).await?;
        }
        self.wait_until(begun + self.scenario.heals_at).await
    }

    /// Waits, and starts replicas and ends faults of hosts in the meantime when their time has come.
    async fn wait_until(&mut self, end: Instant) -> anyhow::Result<()> {
        loop {
            let starts = self.starts.values().copied().min();
            let host_ends = self.host_ends.iter().map(|(at, _)| *at).min();
            let next = [starts, host_ends].into_iter().flatten().min().unwrap_or(end).min(end);
            tokio::select! {
                biased;
                Some(incident) = self.incidents.recv() => self.happens(incident),
                () = sleep_until(next) => {
                    self.start_due(next).await?;
                    self.end_due(next);
                    if next >= end {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Carries out what a step of a process has led to.
    fn happens(&mut self, incident: Incident) {
        let later = Instant::now() + RESTART_AFTER;
        match incident {
            Incident::Crash(name) => {
                let is_it = |replica: &Replica| replica.to_string() == name;
                let Some(replica) = replicas().into_iter().find(is_it) else { return };
                self.trace.line(&name, "crashes at a step");
                self.processes.crash(replica);
                self.starts.insert(replica, later);
            }
            Incident::HostFails(address) => {
                self.trace.line(&address, "loses power at a step");
                self.processes.ground().hosts.power_off(&address);
                self.host_ends.push((later, HostEnd::PowerOn(address)));
            }
        }
    }

    async fn start_due(&mut self, now: Instant) -> anyhow::Result<()> {
        let due = self.starts.iter().filter(|(_, at)| **at <= now);
        let due: Vec<_> = due.map(|(replica, _)| *replica).collect();
        for replica in due {
            self.starts.remove(&replica);
            if !self.processes.is_running(replica) {
                self.trace.line(&replica.to_string(), "starts");
                self.processes.start(replica, &[]).await?;
            }
        }
        Ok(())
    }

    fn end_due(&mut self, now: Instant) {
        let (due, later) =
            std::mem::take(&mut self.host_ends).into_iter().partition(|(at, _)| *at <= now);
        self.host_ends = later;
        let due: Vec<(Instant, HostEnd)> = due;
        for (_, end) in due {
            self.end_fault(&end);
        }
    }

    fn end_fault(&self, end: &HostEnd) {
        let hosts = &self.processes.ground().hosts;
        match end {
            HostEnd::PowerOn(address) => {
                hosts.edit(address, |machine| {
                    machine.boot.get_or_insert(Duration::from_secs(20));
                });
                hosts.power_on(address);
            }
            HostEnd::Reachable(address) => {
                hosts.edit(address, |machine| machine.is_reachable = true);
            }
            HostEnd::AcceptsLogIns(address) => {
                hosts.edit(address, |machine| machine.log_in = LogIn::Accepted);
            }
            HostEnd::Key(address) => {
                hosts.edit(address, |machine| {
                    machine.host_key = machine.host_key.replace(OTHER_KEY, "");
                });
            }
            HostEnd::Fast(address) => {
                hosts.edit(address, |machine| machine.go_ahead_delay = Duration::ZERO);
            }
        }
    }

    async fn carry_out(&mut self, happening: &Happening) -> anyhow::Result<()> {
        let now = Instant::now();
        if !matches!(happening, Happening::Request(_)) {
            self.trace.line("fault", &format!("{happening:?}"));
        }
        let Ground { network, hosts, clock, .. } = self.processes.ground();
        match happening {
            Happening::BrokerOutage(lasts) => network.broker_outage(*lasts),
            Happening::StoreOutage(lasts) => network.store_outage(*lasts),
            Happening::HostReboots(host) => hosts.reboot(&address(*host)),
            Happening::HostConnectionsLost(host) => hosts.cut(&address(*host)),
            Happening::ClockStep(seconds) => clock.advance(SignedDuration::from_secs(*seconds)),
            Happening::HostFails { host, down_for } => {
                hosts.power_off(&address(*host));
                if let Some(down_for) = down_for {
                    self.host_ends.push((now + *down_for, HostEnd::PowerOn(address(*host))));
                }
            }
            Happening::HostUnreachable { host, lasts } => {
                hosts.edit(&address(*host), |machine| machine.is_reachable = false);
                self.host_ends.push((now + *lasts, HostEnd::Reachable(address(*host))));
            }
            Happening::NetworkOutage { every, lasts } => {
                for host in (0..self.scenario.hosts.len()).step_by(*every) {
                    hosts.edit(&address(host), |machine| machine.is_reachable = false);
                    self.host_ends.push((now + *lasts, HostEnd::Reachable(address(host))));
                }
            }
            Happening::Stall { replica, lasts } => self.processes.stall(*replica, now + *lasts),
            Happening::HostRefuses { host, is_throttled, lasts } => {
                let log_in = if *is_throttled { LogIn::Throttled } else { LogIn::Refused };
                hosts.edit(&address(*host), |machine| machine.log_in = log_in);
                self.host_ends.push((now + *lasts, HostEnd::AcceptsLogIns(address(*host))));
            }
            Happening::HostKeyChanges { host, lasts } => {
                hosts.edit(&address(*host), |machine| machine.host_key.push_str(OTHER_KEY));
                hosts.cut(&address(*host));
                self.host_ends.push((now + *lasts, HostEnd::Key(address(*host))));
            }
            Happening::HostSlow { host, delay, lasts } => {
                hosts.edit(&address(*host), |machine| machine.go_ahead_delay = *delay);
                self.host_ends.push((now + *lasts, HostEnd::Fast(address(*host))));
            }
            Happening::Crash { replica, down_for } => {
                self.processes.crash(*replica);
                self.starts.insert(*replica, now + *down_for);
            }
            Happening::Stop { replica, down_for } => {
                self.processes.stop(*replica).await;
                self.starts.insert(*replica, now + *down_for);
            }
            Happening::Request(request) => self.send(request),
        }
        Ok(())
    }

    /// Sends a request in a task of its own, again and again until it is answered.
    fn send(&mut self, request: &Request) {
        let cluster = match request {
            Request::Pause(cluster)
            | Request::Resume(cluster)
            | Request::Abort(cluster)
            | Request::Continue(cluster) => Some(cluster_name(*cluster)),
            _ => None,
        };
        let operation = cluster.and_then(|cluster| self.truth.latest_operation(&cluster));
        let number = self.requests;
        self.requests += 1;
        let Some(sent) = Sent::new(request, number, operation.as_deref()) else { return };
        let (trace, gateways) = (self.trace.clone(), self.processes.gateways());
        if gateways.is_empty() {
            return;
        }
        if let Request::Create(host) = request {
            // A host that is registered again is pinned with the key that it shows then.
            self.truth.has_key(&address(*host), None);
        }
        let (truth, client) = (self.truth.clone(), client_name(number));
        let acknowledged = Rc::clone(&self.acknowledged);
        tokio::task::spawn_local(async move {
            for attempt in 0..ATTEMPTS {
                let gateway = gateways[(number + attempt) % gateways.len()].clone();
                let what = format!("{} {} {}", sent.method, sent.path, sent.body);
                match sent.send(gateway).await {
                    Some(Answered { status, operation }) if status < 500 => {
                        trace.line(&client, &format!("{what}: {status}"));
                        if status >= 400 {
                            truth.refused(&client);
                        }
                        acknowledged.borrow_mut().push((client, status));
                        if let Some(operation) = operation {
                            truth.acknowledged(&operation);
                        }
                        return;
                    }
                    Some(Answered { status, .. }) => {
                        trace.line(&client, &format!("{what}: {status}, again"));
                    }
                    None => trace.line(&client, &format!("{what}: no answer, again")),
                }
                sleep(RETRY).await;
            }
        });
    }

    /// Ends all faults: replicas are started, hosts have power and let log in.
    async fn heal(&mut self) -> anyhow::Result<()> {
        self.trace.line("fault", "all faults end");
        self.processes.ground().network.heal();
        for (_, end) in std::mem::take(&mut self.host_ends) {
            self.end_fault(&end);
        }
        for host in 0..self.scenario.hosts.len() {
            self.end_fault(&HostEnd::PowerOn(address(host)));
        }
        for replica in replicas() {
            if self.scenario.is_used(replica) && !self.processes.is_running(replica) {
                self.starts.remove(&replica);
                self.processes.start(replica, &[]).await?;
            }
        }
        Ok(())
    }

    /// Invariant 4: each operation ends, or pauses with a reason.
    async fn end(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + LIVENESS;
        loop {
            let running = self.truth.in_process();
            if self.truth.is_frozen() && !running.is_empty() {
                self.send(&Request::Unfreeze);
            }
            let stuck: Vec<_> = running
                .into_iter()
                .filter(|(id, _)| !self.truth.is_paused_with_reason(id))
                .collect();
            if stuck.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                for (id, cluster) in stuck {
                    self.truth.violated(format!(
                        "4: the operation {id} of {cluster} has neither ended nor paused"
                    ));
                }
                return Ok(());
            }
            self.wait_until(Instant::now() + CHECK_AGAIN).await?;
        }
    }
}

impl World<'_> {
    /// Invariant 6: each acknowledged request has its line in an audit log.
    fn check_audit(&self) {
        let lines = self.processes.audit_lines();
        let lines = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let lines: BTreeSet<_> = lines
            .filter_map(|line| {
                Some((line["principal"].as_str()?.to_owned(), line["status"].as_u64()?))
            })
            .collect();
        for (client, status) in self.acknowledged.borrow().iter() {
            if !lines.contains(&(client.clone(), u64::from(*status))) {
                self.truth.violated(format!("6: the audit logs have no {status} of {client}"));
            }
        }
    }
}

/// What makes a host key another one.
const OTHER_KEY: &str = "B";

fn apply_traits(machine: &mut simulated_hosts::Machine, traits: &HostTraits) {
    machine.shutdown = traits.shutdown;
    machine.boot = traits.boot;
    machine.play_start = traits.play_start;
    machine.facts.ostree = true;
    let mut data: Map<String, Value> = Map::new();
    data.insert("commissaire_reboot_required".to_owned(), json!(true));
    let mut result = Ok(data);
    match traits.flaw {
        // It is switched off once it is registered.
        Some(Flaw::Down) | None => {}
        Some(Flaw::LosesCommand) => machine.loses_commands = 1,
        Some(Flaw::LosesAnswer) => machine.loses_answers = 1,
        Some(Flaw::IgnoresCommands) => machine.ignores_commands = true,
        Some(Flaw::DiskFull) => result = Err("no space left on device".to_owned()),
        Some(Flaw::FallsBack) => machine.falls_back = true,
        Some(Flaw::RebootsAgain(after)) => machine.reboots_again = Some(after),
        Some(Flaw::OtherKey) => {
            machine.next_host_key = Some(format!("{}{OTHER_KEY}", machine.host_key));
        }
        Some(Flaw::FailedUnit) => machine.failed_units.push("postgresql.service".to_owned()),
    }
    machine.apply = Apply { takes: traits.apply_takes, result, waits: Vec::new() };
}
