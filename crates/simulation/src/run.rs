//! One run: everything in one task set on one thread, in paused time, from the start to the end of all operations.
//!
//! - `register`: hosts, clusters and container managers at the beginning
//! - `faults`: what happens to replicas and hosts, and when it ends
//! - `requests`: requests of clients and operators

mod faults;
mod register;
mod requests;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context as _;
use runtime::{Clock, random};
use serde_json::Value;
use simulated_hosts::SimulatedHosts;
use storage_svc::store::Memory;
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep_until};

use crate::network::{Incident, Network};
use crate::processes::{Ground, Processes};
use crate::scenario::{Replica, Request, Scenario, Service, cluster_name};
use crate::trace::Trace;
use crate::truth::Truth;
use faults::HostEnd;

/// After this time without faults, operations must have ended or paused.
const LIVENESS: Duration = Duration::from_hours(12);

/// After this time without operations, nodes must have been uncordoned.
const SETTLED: Duration = Duration::from_hours(2);

/// The pause between checks whether operations have ended.
const CHECK_AGAIN: Duration = Duration::from_secs(10);

/// How long a crashed replica is down if nothing else is said.
const RESTART_AFTER: Duration = Duration::from_secs(20);

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
    /// The waits, failures and pauses of the run, such as `wait drain-blocked`.
    pub reached: BTreeSet<String>,
    /// The steps of each replica that runs at the end.
    pub(crate) steps: BTreeMap<Replica, u64>,
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
        world.settle().await?;
        world.check_audit();
        let steps = world.processes.steps();
        world.processes.crash_all();
        world.processes.ground().network.close();
        Ok(Outcome {
            steps,
            violations: world.truth.violations(),
            reached: world.truth.reached(),
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
        let ground = Ground { network, store, hosts, clock, kubernetes: None, key_file };
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
        let is_last = |replica: &Replica| {
            matches!(replica.service, Service::Executor | Service::ContainerManager)
        };
        let (last, others): (Vec<_>, Vec<_>) = scenario.replicas().into_iter().partition(is_last);
        for replica in others {
            world.processes.start(replica, &[]).await?;
        }
        world.register().await?;
        for replica in last {
            world.processes.start(replica, &scenario.points_of(replica)).await?;
        }
        world.processes.ground().network.set_faults(scenario.messages);
        Ok(world)
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
                let Some(replica) = self.scenario.replicas().into_iter().find(is_it) else {
                    return;
                };
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

    /// Invariant 4: each operation ends, or pauses with a reason.
    async fn end(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + LIVENESS;
        let mut aborted = BTreeSet::new();
        loop {
            let running = self.truth.in_process();
            // Other operations may wait for places that a paused one has in the budget of a Kubernetes.
            for cluster in 0..self.scenario.clusters {
                let is_it = |(_, of): &&(String, _)| *of == cluster_name(cluster);
                if self.scenario.kubernetes.is_some()
                    && let Some((id, _)) = running.iter().find(is_it)
                    && self.truth.is_paused_with_reason(id)
                    && aborted.insert(id.clone())
                {
                    self.send_about(&Request::Abort(cluster), Some(id));
                }
            }
            if self.truth.is_frozen() && !running.is_empty() {
                self.send(&Request::Unfreeze);
            }
            let stuck: Vec<_> = running
                .into_iter()
                .filter(|(id, _)| {
                    self.scenario.kubernetes.is_some() || !self.truth.is_paused_with_reason(id)
                })
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
    /// Checks that nodes are uncordoned, and places in budgets given back, after all operations.
    async fn settle(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + SETTLED;
        loop {
            let unsettled = self.truth.unsettled();
            if unsettled.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                for violation in unsettled {
                    self.truth.violated(violation);
                }
                return Ok(());
            }
            self.wait_until(Instant::now() + CHECK_AGAIN).await?;
        }
    }

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
