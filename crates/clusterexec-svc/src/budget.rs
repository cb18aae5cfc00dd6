//! The disruption budget of an operation: which hosts hold a place in it, and the go-ahead for a command that makes a
//! host unavailable.
//!
//! A go-ahead is decided right before the command, without any cache, by two rounds of connections: a member that does
//! not answer must not make the answers of the others stale. The first round has a long timeout and finds the members
//! that answer at all; the second one, to those only, takes a few of their round trips.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bus::Result;
use model::{Address, OperationHost, Step, WaitReason};
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::Instant;

use crate::control::{self, CHECK_AGAIN, Gate, Purpose, gate};
use crate::done_hosts::DoneHosts;
use crate::host_error::HostError;
use crate::journal::{Journal, Preconditions};
use crate::members;
use crate::schedule::{Availability, Member, over_budget};
use crate::waiting::{Ongoing, Waiting};

/// How old a saved intent may be at the decision: a pause or a freeze after it does not reject it any more.
const INTENT: Duration = Duration::from_secs(1);

/// The disruption budget of an operation.
#[derive(Debug)]
pub struct Budget<'a> {
    journal: &'a Journal<'a>,
    pub(crate) done_hosts: DoneHosts<'a>,
    /// One decision at a time: the next one counts the host of the one before.
    deciding: AsyncMutex<()>,
    /// Hosts under way that are unchanged, and stay so until their go-ahead: they hold no place.
    waiting: Mutex<HashSet<usize>>,
}

/// Whether a command may run.
#[derive(Debug)]
pub enum Decision {
    /// It may; the moment of the decision, which is as old as the state of the hosts that it is based on.
    Go(Instant),
    /// Not yet.
    Wait(Waiting),
    /// Not any more: the operation is aborted; by whom.
    Abort(String),
}

impl<'a> Budget<'a> {
    /// The budget of the operation in `journal`.
    pub fn new(journal: &'a Journal<'a>) -> Self {
        Self {
            journal,
            done_hosts: DoneHosts::new(journal),
            deciding: AsyncMutex::default(),
            waiting: Mutex::default(),
        }
    }

    fn waiting(&self) -> MutexGuard<'_, HashSet<usize>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that nothing happens to the host at `index` before its next go-ahead.
    pub(crate) fn wait(&self, index: usize) {
        // A drained node is unavailable already.
        let node = self.journal.part(index).node;
        if !node.is_some_and(|node| node.is_cordoned || node.was_cordoned) {
            self.waiting().insert(index);
        }
    }

    /// The addresses of hosts that hold a place while the host at `index` waits for one: all that are under way. If the
    /// host is under way itself, then not those that wait for their go-ahead: two such hosts would block each other.
    fn holding(&self, index: usize) -> Vec<Address> {
        let waiting = self.waiting();
        let steps = self.journal.steps();
        let is_under_way = steps[index].is_under_way();
        let others = steps.into_iter().enumerate().filter(|(other, _)| *other != index);
        let holding = others.filter(|(other, step)| {
            step.is_under_way() && !(is_under_way && waiting.contains(other))
        });
        holding.map(|(other, _)| self.journal.operation.hosts[other].clone()).collect()
    }

    fn over_budget(&self, index: usize, holding: &[&str], members: &[Member]) -> Option<String> {
        let operation = &self.journal.operation;
        let budget = operation.options.budget(members.len());
        over_budget(&operation.hosts[index], holding, members, budget)
    }

    async fn addresses(&self) -> Result<Vec<Address>> {
        self.journal.context.members_of(&self.journal.operation.cluster).await
    }

    /// Why the host at `index` has to wait before it may be started, if so: too many members of the cluster are
    /// unavailable, or a done host has rebooted by itself, which pauses the operation.
    ///
    /// # Errors
    /// When the lease is lost, or the storage service fails.
    pub(crate) async fn wait_reason(&self, index: usize) -> Result<Option<Waiting>> {
        let holding = self.holding(index);
        let holding: Vec<_> = holding.iter().map(Address::as_str).collect();
        let (context, kind) = (self.journal.context, self.journal.operation.kind);
        let members = members::probed(context, &self.addresses().await?, &holding, kind).await?;
        if let Some(paused) = self.done_hosts.pause_for_reboots(&members).await? {
            return Ok(Some(paused));
        }
        Ok(self.over_budget(index, &holding, &members).map(Waiting::for_budget))
    }

    /// The members that answer at all, each with its round trip: the first round of connections, which may be made
    /// while the command is prepared.
    ///
    /// # Errors
    /// When the storage service fails.
    pub async fn answering(&self) -> Result<BTreeMap<Address, Duration>> {
        let context = self.journal.context;
        context.ports.answering(&context.storage, self.addresses().await?).await
    }

    /// Decides whether the command on the host at `index` may run: by the gate, the lease and the budget. The intent is
    /// saved before the second round of connections, in a transaction that is rejected once the operation is paused,
    /// aborted or frozen.
    ///
    /// # Errors
    /// When the lease is lost, or the storage service fails.
    pub async fn decide(
        &self,
        index: usize,
        answering: &BTreeMap<Address, Duration>,
    ) -> Result<Decision> {
        let _exclusive = self.deciding.lock().await;
        let preconditions = match gate(self.journal, Purpose::TakeDown).await? {
            Gate::Open(preconditions) => preconditions,
            Gate::Closed(waiting) => return Ok(Decision::Wait(waiting)),
            Gate::Aborted(by) => return Ok(Decision::Abort(by)),
        };
        let (context, kind) = (self.journal.context, self.journal.operation.kind);
        let mut members = members::recorded(context, &self.addresses().await?, kind).await?;
        let holding = self.holding(index);
        let holding: Vec<_> = holding.iter().map(Address::as_str).collect();
        members::mark_silent(&mut members, &holding, |address| answering.contains_key(address));
        if let Some(reason) = self.over_budget(index, &holding, &members) {
            self.done_hosts.suspect(&members);
            return Ok(Decision::Wait(Waiting::for_budget(reason)));
        }
        if self.done_hosts.has_rebooted(&members) {
            // The operation is paused for that while the host waits.
            return Ok(Decision::Wait(Waiting::for_budget(String::new())));
        }
        let asked = members
            .iter()
            .filter(|member| member.availability != Availability::Unavailable)
            .filter(|member| !holding.contains(&member.address.as_str()))
            .filter_map(|m| Some((m.address.clone(), *answering.get(&m.address)?)))
            .collect();
        // The write comes before the connections: the go-ahead is valid for a moment from their end.
        let asked_at = Instant::now();
        if !self.save_intent(index, &preconditions).await? {
            let message = "an operator has just paused, aborted or frozen it";
            return Ok(Decision::Wait(Waiting::new(WaitReason::HostGate, message)));
        }
        let still_answering = context.ports.still_answering(asked).await;
        let decided = Instant::now();
        members::mark_silent(&mut members, &holding, |address| still_answering.contains(address));
        if let Some(reason) = self.over_budget(index, &holding, &members) {
            self.done_hosts.suspect(&members);
            return Ok(Decision::Wait(Waiting::for_budget(reason)));
        }
        // What operators have said since then is not known.
        if decided.duration_since(asked_at) > INTENT {
            let message = format!("the store took more than {} s to save it", INTENT.as_secs());
            return Ok(Decision::Wait(Waiting::new(WaitReason::GoAheadMissed, message)));
        }
        self.journal.held.check()?;
        self.waiting().remove(&index);
        Ok(Decision::Go(decided))
    }

    /// Saves that the command may have run; false if the preconditions do not hold any more.
    async fn save_intent(&self, index: usize, preconditions: &Preconditions) -> Result<bool> {
        let now = self.journal.context.deps.clock.stamp();
        let change = |host: &mut OperationHost| {
            host.waiting_for = None;
            host.wait = None;
            if host.step == Step::Reboot {
                host.rebooted_at = Some(now.clone());
            }
        };
        self.journal.save_if(index, change, &[], preconditions).await
    }

    /// Waits until a rejected go-ahead may be asked for again. A wait for the budget that lasts too long pauses the
    /// operation.
    ///
    /// # Errors
    /// The host is skipped when the operation is aborted; or the lease is lost.
    pub(crate) async fn wait_for_turn(
        &self,
        index: usize,
        rejected: Waiting,
    ) -> Result<(), HostError> {
        let journal = self.journal;
        let limit = journal.context.config.room_timeout();
        let mut next = Some(rejected);
        let mut wait = None;
        while let Some(waiting) = next {
            if waiting.reason == WaitReason::OthersUnderWay {
                journal.wait_for(index, &waiting, false).await?;
            } else {
                let current = Ongoing::after(wait.as_ref(), waiting);
                journal.wait_for(index, &current.waiting, current.is_new).await?;
                if let Some(message) = current.budget_exceeds(limit) {
                    let code = WaitReason::BudgetTimeout;
                    journal.retry(|| control::pause(journal, code, message)).await?;
                }
                wait = Some(current);
            }
            tokio::time::sleep(CHECK_AGAIN).await;
            next = match journal.retry(|| gate(journal, Purpose::TakeDown)).await? {
                Gate::Aborted(by) => return Err(HostError::Skipped(by)),
                Gate::Closed(waiting) => Some(waiting),
                Gate::Open(_) => journal.retry(|| self.wait_reason(index)).await?,
            };
        }
        Ok(())
    }
}
