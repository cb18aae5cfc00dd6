//! What is written down about an operation, and when.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use service_core::lease::Held;
use service_core::model::{
    Event, Failure, Host, HostProgress, HostState, Lease, Operation, Outcome, Step,
};
use service_core::storage::Transaction;
use service_core::{Error, Result};
use tokio::sync::Mutex as AsyncMutex;

use super::LOOK_AGAIN;
use super::done_hosts::Suspects;
use super::go_ahead::GoAheads;
use super::moments::Moments;
use super::written::{OPERATION, event, save_record, shows_as};
use crate::gate::{Gate, Pass};
use crate::history;
use crate::host_run::Trouble;
use crate::service::ClusterExec;

/// Hosts whose parts are read at a time.
const AT_A_TIME: usize = 1000;

/// Why a host is given up.
#[derive(Debug)]
pub(crate) struct GiveUp {
    /// One stable word.
    pub(crate) word: &'static str,
    /// A sentence for the operator.
    pub(crate) reason: String,
    /// The key that the host showed instead of the pinned one, if that is why.
    pub(crate) seen_key: String,
}

impl GiveUp {
    pub(crate) fn new(word: &'static str, reason: String) -> Self {
        Self { word, reason, seen_key: String::new() }
    }
}

/// A line for the log of the operation.
pub(crate) struct Line<'a>(pub(crate) Step, pub(crate) Outcome, pub(crate) &'a str);

/// An operation that this process carries out.
pub(crate) struct Execution<'a> {
    pub(crate) service: &'a ClusterExec,
    pub(crate) held: &'a Held,
    pub(crate) operation: Operation,
    pub(crate) go_aheads: GoAheads,
    pub(crate) moments: Moments,
    pub(super) suspects: Suspects,
    /// As it is in the store: changed only after that.
    state: Mutex<State>,
    /// Held for a write: they follow one another, as their events do.
    pub(super) writing: AsyncMutex<()>,
}

pub(super) struct State {
    pub(super) hosts: Vec<HostProgress>,
    /// How many events there are.
    pub(super) events: u64,
}

/// What else goes into a write: what others may change meanwhile.
pub(super) enum With<'a> {
    Nothing,
    Pass(&'a Pass),
    Host(&'a (dyn Fn(&mut Host, &mut HostState) + Send + Sync)),
    /// The same after the end of the operation: rejected while another operation of the cluster is in process.
    LateHost(&'a (dyn Fn(&mut Host, &mut HostState) + Send + Sync)),
}

impl<'a> Execution<'a> {
    /// One that was just accepted.
    pub(crate) fn new(service: &'a ClusterExec, held: &'a Held, operation: Operation) -> Self {
        let state = State { hosts: operation.untouched(), events: 1 };
        let (state, writing) = (Mutex::new(state), AsyncMutex::new(()));
        let soak = Duration::from_secs(operation.options.soak.unwrap_or_default());
        let moments = Moments::new(soak, service.config.verify_timeout());
        let (go_aheads, suspects) = (GoAheads::default(), Suspects::default());
        Self { service, held, operation, go_aheads, moments, suspects, state, writing }
    }

    /// Reads how far it has come.
    pub(crate) async fn load(&mut self) -> Result<()> {
        let (storage, id) = (&self.service.storage, &self.operation.id);
        let mut hosts = self.operation.untouched();
        for part in hosts.chunks_mut(AT_A_TIME) {
            let ids: Vec<_> = part.iter().map(|host| host.id.clone()).collect();
            for (host, found) in part.iter_mut().zip(storage.get_many::<HostProgress>(&ids).await?)
            {
                if let Some(found) = found {
                    *host = found.record;
                }
            }
        }
        let events = history::count_events(storage, id).await?;
        self.moments.bridge(&hosts, self.service.deps.clock.wall());
        self.state = Mutex::new(State { hosts, events });
        Ok(())
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The part of the host at `index`.
    pub(crate) fn host(&self, index: usize) -> HostProgress {
        self.state().hosts[index].clone()
    }

    /// Where each host is.
    pub(crate) fn steps(&self) -> Vec<Step> {
        self.state().hosts.iter().map(|host| host.step).collect()
    }

    /// The addresses of hosts under way.
    pub(crate) fn under_way(&self) -> Vec<String> {
        let state = self.state();
        let hosts = state.hosts.iter().filter(|host| host.step.is_under_way());
        hosts.map(|host| host.address.clone()).collect()
    }

    /// Starts the host at `index`; false when the way is not free any more.
    ///
    /// # Errors
    /// When the lease is lost.
    pub(crate) async fn start(&self, index: usize, pass: &Pass) -> Result<bool> {
        let now = self.service.deps.clock.stamp();
        let begin = |host: &mut HostProgress| {
            host.step = Step::Probe;
            host.started_at = Some(now.clone());
        };
        let lines = [Line(Step::Probe, Outcome::Started, "")];
        match self.write(index, &begin, &lines, &With::Pass(pass)).await {
            Ok(()) => Ok(true),
            Err(error) if self.is_only_stale(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Writes the intent of a host's next step down, once nobody wants it to wait.
    ///
    /// # Errors
    /// When the operation is aborted: nothing more is done to the host; or the lease is lost.
    pub(crate) async fn enter(
        &self,
        index: usize,
        change: impl Fn(&mut HostProgress) + Send + Sync,
        lines: &[Line<'_>],
    ) -> Result<(), Trouble> {
        let mut waited = false;
        loop {
            match self.or_store_again(|| self.gate(false)).await.map_err(Trouble::Ours)? {
                Gate::Open(pass) => {
                    self.record_of(index).await?;
                    match self.write(index, &change, lines, &With::Pass(&pass)).await {
                        Ok(()) => return Ok(()),
                        Err(error) if self.is_only_stale(&error) => {}
                        Err(error) => return Err(Trouble::Ours(error)),
                    }
                }
                Gate::Closed(why) => {
                    self.wait_for(index, &why, !waited).await.map_err(Trouble::Ours)?;
                    waited = true;
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                Gate::Aborted(by) => return Err(Trouble::Left(by)),
            }
        }
    }

    /// Saves a change to a host's part, with lines for the log. While the store does not answer it is
    /// tried again, as long as the lease lasts.
    ///
    /// # Errors
    /// When the lease is lost: nothing more may be done.
    pub(crate) async fn save(
        &self,
        index: usize,
        change: impl Fn(&mut HostProgress) + Send + Sync,
        lines: &[Line<'_>],
    ) -> Result<()> {
        self.write(index, &change, lines, &With::Nothing).await
    }

    /// Adds lines about a host to the log.
    ///
    /// # Errors
    /// As [`Self::save`].
    pub(crate) async fn log(&self, index: usize, lines: &[Line<'_>]) -> Result<()> {
        self.save(index, |_| {}, lines).await
    }

    /// Adds a line about the operation as a whole to the log.
    ///
    /// # Errors
    /// As [`Self::save`].
    pub(crate) async fn log_operation(&self, outcome: Outcome, detail: &str) -> Result<()> {
        let _one_at_a_time = self.writing.lock().await;
        let event = self.operation_event(outcome, detail);
        self.or_store_again(|| async {
            self.held.transact(Transaction::default().save(&event)?).await
        })
        .await?;
        self.state().events = event.seq;
        Ok(())
    }

    pub(super) fn operation_event(&self, outcome: Outcome, detail: &str) -> Event {
        let (id, now) = (&self.operation.id, self.service.deps.clock.stamp());
        tracing::info!(operation.id = id, ?outcome, detail, "operation");
        event(&self.operation, self.state().events + 1, &now, "", OPERATION, outcome, detail)
    }

    /// Gives a host up: the step, the reason and the host's own status in one write.
    ///
    /// # Errors
    /// As [`Self::save`].
    pub(crate) async fn give_up(&self, index: usize, given_up: &GiveUp) -> Result<()> {
        let GiveUp { word, reason, seen_key } = given_up;
        let before = self.host(index);
        let failure = Failure {
            host: before.address.clone(),
            step: before.step.to_string(),
            reason: reason.clone(),
        };
        let now = self.service.deps.clock.stamp();
        let change = |host: &mut HostProgress| {
            host.step = Step::Failed;
            host.finished_at = Some(now.clone());
            host.failure = Some(failure.clone());
            (*word).clone_into(&mut host.reason);
        };
        let status = |host: &mut Host, state: &mut HostState| {
            state.fail(host, word, reason.clone(), seen_key);
        };
        let lines = [Line(before.step, Outcome::Failed, reason)];
        self.save_with_host(index, change, &lines, status).await
    }

    /// Leaves a host as it is; its own status is what it was.
    ///
    /// # Errors
    /// As [`Self::save`].
    pub(crate) async fn leave(&self, index: usize, reason: &str) -> Result<()> {
        let (step, now) = (self.host(index).step, self.service.deps.clock.stamp());
        let change = |host: &mut HostProgress| {
            host.step = Step::Skipped;
            host.finished_at = Some(now.clone());
            host.skipped = Some(reason.to_owned());
        };
        self.save(index, change, &[Line(step, Outcome::Skipped, reason)]).await
    }

    /// Saves a change to a host's part together with what has become of the host; one that was deleted
    /// meanwhile is not made again.
    ///
    /// # Errors
    /// As [`Self::save`].
    pub(crate) async fn save_with_host(
        &self,
        index: usize,
        change: impl Fn(&mut HostProgress) + Send + Sync,
        lines: &[Line<'_>],
        status: impl Fn(&mut Host, &mut HostState) + Send + Sync,
    ) -> Result<()> {
        loop {
            match self.write(index, &change, lines, &With::Host(&status)).await {
                // Somebody else changed the host meanwhile: it is read again.
                Err(error) if self.is_only_stale(&error) => {}
                result => return result,
            }
        }
    }

    /// Saves a change to the part of a host that came back after the operation has ended, together with what has
    /// become of the host; false when that was changed in the meantime, or another operation is in process.
    ///
    /// # Errors
    /// As [`Self::save`].
    pub(crate) async fn save_late(
        &self,
        index: usize,
        change: impl Fn(&mut HostProgress) + Send + Sync,
        lines: &[Line<'_>],
        status: impl Fn(&mut Host, &mut HostState) + Send + Sync,
    ) -> Result<bool> {
        match self.write(index, &change, lines, &With::LateHost(&status)).await {
            Ok(()) => Ok(true),
            Err(error) if self.is_only_stale(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether a write did not go through because somebody else had changed what it checks.
    pub(super) fn is_only_stale(&self, error: &Error) -> bool {
        error.is_conflict() && self.held.check().is_ok()
    }

    pub(super) async fn write(
        &self,
        index: usize,
        change: &(dyn Fn(&mut HostProgress) + Send + Sync),
        lines: &[Line<'_>],
        with: &With<'_>,
    ) -> Result<()> {
        let _one_at_a_time = self.writing.lock().await;
        let (before, last) = {
            let state = self.state();
            (state.hosts[index].clone(), state.events)
        };
        let mut after = before.clone();
        change(&mut after);
        if after.step != before.step {
            after.waiting_for = None;
        }
        let now = self.service.deps.clock.stamp();
        let events = lines.iter().zip(last + 1..).map(|(Line(step, outcome, detail), seq)| {
            let step = step.to_string();
            event(&self.operation, seq, &now, &after.address, &step, *outcome, detail)
        });
        let events: Vec<_> = events.collect();
        self.or_store_again(|| async {
            let transaction = self.host_written(index, &before, &after, &events)?;
            self.held.transact(self.together(transaction, &after.address, with).await?).await
        })
        .await?;
        for Event { host, step, outcome, detail, .. } in &events {
            let id = &self.operation.id;
            tracing::info!(operation.id = id, host.address = host, step, ?outcome, detail, "step");
        }
        self.moments.note(index, &before, &after);
        let mut state = self.state();
        state.hosts[index] = after;
        state.events = last + events.len() as u64;
        Ok(())
    }

    /// A host's part, its events, and the documented record where that says something else now.
    fn host_written(
        &self,
        index: usize,
        before: &HostProgress,
        after: &HostProgress,
        events: &[Event],
    ) -> Result<Transaction> {
        let mut transaction = Transaction::default();
        if before != after {
            transaction = transaction.save(after)?;
        }
        for event in events {
            transaction = transaction.save(event)?;
        }
        if shows_as(before.step) != shows_as(after.step) {
            let mut hosts = self.state().hosts.clone();
            hosts[index] = after.clone();
            transaction = save_record(transaction, &self.operation, &hosts)?;
        }
        Ok(transaction)
    }

    async fn together(
        &self,
        transaction: Transaction,
        address: &str,
        with: &With<'_>,
    ) -> Result<Transaction> {
        let (transaction, change) = match with {
            With::Nothing => return Ok(transaction),
            With::Pass(pass) => return Ok(pass.guard(transaction)),
            With::Host(change) => (transaction, change),
            With::LateHost(change) => {
                let lock = format!("{}{}", Lease::OPERATION, self.operation.cluster);
                (transaction.check::<Lease>(&lock, None), change)
            }
        };
        let storage = &self.service.storage;
        let Some(mut host) = storage.find::<Host>(address).await? else { return Ok(transaction) };
        let state = storage.find::<HostState>(address).await?;
        let mut state = state.map(|state| state.record).unwrap_or_default();
        address.clone_into(&mut state.address);
        host.record.last_check = self.service.deps.clock.stamp();
        change(&mut host.record, &mut state);
        transaction.update(&host)?.save(&state)
    }
}
