//! The journal of an operation: the only writer of its records.
//!
//! Each step is saved before its effect, under the lease of the operation, and events are numbered without gaps: an
//! executor that takes the operation over continues from the records.

mod deadlines;
mod end;
mod lines;
mod preconditions;
mod turns;
mod waits;
mod webhooks;
mod write;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bus::{Error, Kind, Result, warn_unless_outage};
use model::{
    ClusterHead, Host, HostState, Operation, OperationEvent, OperationHost, OperationWait, Outcome,
    Step, WaitReason,
};
use storage_client::lease::Held;
use storage_client::{Transaction, queries};
use tokio::sync::{Mutex as AsyncMutex, Notify};

use crate::context::Context;
use crate::debts::Debtor;
use crate::history;
use crate::host_error::{HostError, HostFailure};
use crate::nodes::Nodes;
use crate::steps::Steps;
use deadlines::Deadlines;
use lines::{OPERATION, event};
pub(crate) use lines::{accepted, save_newest};
pub use preconditions::Preconditions;

/// The pause before a request is retried while the store does not answer.
const STORE_RETRY: Duration = Duration::from_millis(500);

/// An event of a host: step, outcome, detail.
#[derive(Debug)]
pub struct LogLine<'a>(pub Step, pub Outcome, pub &'a str);

/// The records of an operation that this process carries out.
#[derive(Debug)]
pub struct Journal<'a> {
    pub(crate) context: &'a Context,
    pub(crate) held: &'a Held,
    pub(crate) operation: Operation,
    pub(crate) deadlines: Deadlines,
    /// The nodes of the hosts; `None` without a container manager that has nodes.
    pub(crate) nodes: Option<HostNodes>,
    /// Signals that a host under way begins to wait, or waits for something else.
    pub(crate) host_waits: Notify,
    /// As in the store: changed after a write only.
    state: Mutex<State>,
    /// Held during a write: writes follow one another, as the numbers of their events do.
    writing: AsyncMutex<()>,
}

#[derive(Debug)]
struct State {
    hosts: Vec<OperationHost>,
    /// Their steps.
    steps: Steps,
    /// The number of events.
    events: u64,
    /// What the rollout waits for.
    wait: Option<OperationWait>,
    /// How often a host is started before the operation pauses for it.
    attempts: u32,
}

/// Whether a host was postponed too often for a further turn.
fn is_exhausted(host: &OperationHost, attempts: u32) -> bool {
    host.postponements >= attempts
}

impl State {
    fn new(
        operation: &Operation,
        hosts: Vec<OperationHost>,
        events: u64,
        wait: Option<OperationWait>,
    ) -> Self {
        let mut steps = Steps::new(hosts.iter().map(|host| host.step), operation.sick);
        let attempts = operation.options.drain_attempts();
        for (index, host) in hosts.iter().enumerate() {
            if host.step == Step::Pending && host.postponed.is_some() {
                steps.postpone(index, is_exhausted(host, attempts));
            }
        }
        Self { hosts, steps, events, wait, attempts }
    }

    fn set(&mut self, index: usize, host: OperationHost) {
        if host.step == Step::Pending && host.postponed.is_some() {
            self.steps.postpone(index, is_exhausted(&host, self.attempts));
        } else {
            self.steps.set(index, host.step);
        }
        self.hosts[index] = host;
    }
}

/// The nodes of the hosts of an operation.
#[derive(Debug)]
pub(crate) struct HostNodes {
    pub(crate) client: Nodes,
    pub(crate) debtor: Debtor,
}

/// A change of the records of a host.
type HostChange<'a> = &'a (dyn Fn(&mut Host, &mut HostState) + Send + Sync);

/// What a write checks or changes beside the part of a host.
enum Along<'a> {
    Nothing,
    Preconditions(&'a Preconditions),
    /// The same for the start of a host: also rejected when a host was done in the meantime and the soak time has begun
    /// again.
    Start(&'a Preconditions),
    Host(HostChange<'a>),
    /// The same after the end of the operation: rejected while another operation of the cluster is in process.
    LateHost(HostChange<'a>),
}

impl<'a> Journal<'a> {
    /// The journal of an operation that was just accepted.
    pub fn new(context: &'a Context, held: &'a Held, operation: Operation) -> Self {
        let soak = Duration::from_secs(operation.options.soak.unwrap_or_default());
        Self {
            context,
            held,
            deadlines: Deadlines::new(soak, context.config.verify_timeout()),
            nodes: None,
            host_waits: Notify::new(),
            state: Mutex::new(State::new(&operation, operation.untouched(), 1, None)),
            writing: AsyncMutex::default(),
            operation,
        }
    }

    /// The journal of an operation that another executor has begun, as far as its records go.
    ///
    /// # Errors
    /// When the storage service fails.
    pub(crate) async fn load(
        context: &'a Context,
        held: &'a Held,
        operation: Operation,
    ) -> Result<Self> {
        let storage = &context.storage;
        let hosts = queries::hosts_of(storage, &operation).await?;
        if let Some(host) = hosts.iter().find(|host| host.step == Step::Unknown) {
            let (id, address) = (&operation.id, &host.address);
            return Err(Error::internal(format!(
                "the operation {id} is left to a later version, which has begun it: {address} is in a step of that"
            )));
        }
        let events = history::count_events(storage, &operation.id).await?;
        let wait = storage.find::<OperationWait>(&operation.id).await?;
        let wait = wait.map(|found| found.record);
        let journal = Self::new(context, held, operation).with_nodes().await?;
        journal.deadlines.bridge(&hosts, context.deps.clock.wall());
        *journal.state() = State::new(&journal.operation, hosts, events, wait);
        Ok(journal)
    }

    /// Adds the container manager of the cluster, if it has one.
    ///
    /// # Errors
    /// When the storage service fails.
    pub(crate) async fn with_nodes(mut self) -> Result<Self> {
        let storage = &self.context.storage;
        let cluster = self.retry(|| storage.find::<ClusterHead>(&self.operation.cluster)).await?;
        let manager = cluster.map(|cluster| cluster.record.container_manager).unwrap_or_default();
        if !manager.is_empty() {
            let instance = self.retry(|| queries::instance(storage)).await?.id;
            let client = Nodes::new(&self.context.deps.bus, &manager);
            self.nodes = Some(HostNodes { client, debtor: Debtor { manager, instance } });
        }
        Ok(self)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The part of the host at `index`.
    pub(crate) fn part(&self, index: usize) -> OperationHost {
        self.state().hosts[index].clone()
    }

    /// The step of each host.
    pub(crate) fn steps(&self) -> Vec<Step> {
        self.state().steps.all().to_vec()
    }

    /// What follows from the steps of the hosts, and so from all of them at one moment.
    pub fn by_steps<T>(&self, decide: impl FnOnce(&Steps) -> T) -> T {
        decide(&self.state().steps)
    }

    /// The record of the host at `index`.
    ///
    /// # Errors
    /// The host has failed with `deleted` if the record does not exist any more; or the lease is lost.
    pub(crate) async fn record_of(&self, index: usize) -> Result<Host, HostError> {
        let address = &self.operation.hosts[index];
        let found = self.retry(|| self.context.storage.find::<Host>(address)).await?;
        Ok(found.ok_or_else(|| HostFailure::deleted(address))?.record)
    }

    /// Starts the host at `index`; false if the preconditions do not hold any more.
    ///
    /// # Errors
    /// When the lease is lost.
    pub async fn start(&self, index: usize, preconditions: &Preconditions) -> Result<bool> {
        let now = self.context.deps.clock.stamp();
        let begin = |host: &mut OperationHost| {
            host.step = Step::Probe;
            host.started_at = Some(now.clone());
            host.claims = preconditions.claimed();
            // The cordon of an earlier turn is a debt of its own.
            if let Some(node) = &mut host.node {
                node.is_cordoned = false;
            }
        };
        let lines = [LogLine(Step::Probe, Outcome::Started, "")];
        let along = Along::Start(preconditions);
        self.unless_stale(self.write(index, &begin, &lines, &along).await)
    }

    /// Saves a change to a host's part, with events; false if the preconditions do not hold any more.
    ///
    /// # Errors
    /// When the lease is lost.
    pub(crate) async fn save_if(
        &self,
        index: usize,
        change: impl Fn(&mut OperationHost) + Send + Sync,
        lines: &[LogLine<'_>],
        preconditions: &Preconditions,
    ) -> Result<bool> {
        let along = Along::Preconditions(preconditions);
        self.unless_stale(self.write(index, &change, lines, &along).await)
    }

    /// Saves a change to a host's part, with events. While the store does not answer, this is retried until the lease
    /// is lost.
    ///
    /// # Errors
    /// When the lease is lost: then nothing more may be done.
    pub async fn save(
        &self,
        index: usize,
        change: impl Fn(&mut OperationHost) + Send + Sync,
        lines: &[LogLine<'_>],
    ) -> Result<()> {
        self.write(index, &change, lines, &Along::Nothing).await
    }

    /// Adds events of a host.
    ///
    /// # Errors
    /// As [`Self::save`].
    pub(crate) async fn log(&self, index: usize, lines: &[LogLine<'_>]) -> Result<()> {
        self.save(index, |_| {}, lines).await
    }

    /// Adds an event of the operation as a whole: it waits.
    ///
    /// # Errors
    /// As [`Self::save`].
    pub(crate) async fn log_wait(&self, reason: WaitReason, detail: &str) -> Result<()> {
        let _exclusive = self.writing.lock().await;
        let event = OperationEvent {
            reason: reason.word().to_owned(),
            ..self.operation_event(Outcome::Waiting, detail)
        };
        self.retry(|| async { self.held.transact(Transaction::default().save(&event)?).await })
            .await?;
        self.state().events = event.seq;
        Ok(())
    }

    fn operation_event(&self, outcome: Outcome, detail: &str) -> OperationEvent {
        let (id, now) = (&self.operation.id, self.context.deps.clock.stamp());
        tracing::info!(operation.id = id, ?outcome, detail, "operation");
        event(&self.operation, self.state().events + 1, &now, "", OPERATION, outcome, detail)
    }

    /// Saves a change to a host's part together with a change of the host's records. Records that were deleted in the
    /// meantime are not created again.
    ///
    /// # Errors
    /// As [`Self::save`].
    pub async fn save_with_host(
        &self,
        index: usize,
        change: impl Fn(&mut OperationHost) + Send + Sync,
        lines: &[LogLine<'_>],
        status: impl Fn(&mut Host, &mut HostState) + Send + Sync,
    ) -> Result<()> {
        let along = Along::Host(&status);
        // After a conflict the records of the host are read again.
        while !self.unless_stale(self.write(index, &change, lines, &along).await)? {}
        Ok(())
    }

    /// Saves a change to the part of a host that came back after the end of the operation, together with a change of
    /// the host's records; false if those were changed in the meantime, or another operation is in process.
    ///
    /// # Errors
    /// As [`Self::save`].
    pub(crate) async fn save_late(
        &self,
        index: usize,
        change: impl Fn(&mut OperationHost) + Send + Sync,
        lines: &[LogLine<'_>],
        status: impl Fn(&mut Host, &mut HostState) + Send + Sync,
    ) -> Result<bool> {
        self.unless_stale(self.write(index, &change, lines, &Along::LateHost(&status)).await)
    }

    /// Whether a write was accepted; a conflict is an error only when the lease is lost.
    pub(crate) fn unless_stale<T>(&self, written: Result<T>) -> Result<bool> {
        match written {
            Ok(_) => Ok(true),
            Err(error) if error.is_conflict() && self.held.check().is_ok() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Sends an idempotent request to storage, and retries it while the store does not answer and the lease lasts.
    pub(crate) async fn retry<T, F>(&self, request: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        loop {
            let error = match request().await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let may_heal = matches!(error.kind(), Kind::Unavailable | Kind::Timeout);
            if !may_heal || self.held.check().is_err() {
                return Err(error);
            }
            warn_unless_outage!(error, "the store does not answer, trying again");
            tokio::time::sleep(STORE_RETRY).await;
        }
    }
}
