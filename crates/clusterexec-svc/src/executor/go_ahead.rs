//! The decision to let a command go that makes a host unavailable: taken right before the command, with nothing
//! remembered.
//!
//! It has two looks, so that a member that does not answer does not make the answers of the others stale: the first
//! has a long deadline and finds those that answer at all; the second, of those only, takes no longer than a few
//! of their round trips.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use service_core::model::{HostProgress, Outcome, Step};
use service_core::{Result, abridged};
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::Instant;

use super::records::With;
use super::{Execution, LOOK_AGAIN, Line, Waiting};
use crate::gate::{Gate, Pass};
use crate::host_run::Trouble;
use crate::members;
use crate::rollout::{Fitness, Member, has_room};

/// Why a host waits while other hosts of its operation alone use the budget up.
const OTHERS_UNDER_WAY: &str = "other hosts of the operation are under way";

/// The decisions of an operation.
#[derive(Debug, Default)]
pub(crate) struct GoAheads {
    /// One decision at a time: the next counts the host of the one before.
    deciding: AsyncMutex<()>,
    /// Hosts under way that are as they were, and remain so until their go-ahead: they use no place.
    waiting: Mutex<HashSet<usize>>,
}

impl GoAheads {
    fn waiting(&self) -> MutexGuard<'_, HashSet<usize>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that nothing happens to the host at `index` before its next go-ahead.
    pub(crate) fn wait(&self, index: usize) {
        self.waiting().insert(index);
    }
}

/// Whether a command may go.
#[derive(Debug)]
pub(crate) enum Decision {
    /// It may; decided at this moment, by what the hosts were then.
    Go(Instant),
    /// Not now.
    Wait(Waiting),
    /// Not any more; who aborted the operation.
    Abort(String),
}

impl Execution<'_> {
    /// The addresses of hosts that use a place in the budget while the host at `index` waits for one: all that are
    /// under way; but where that host is so itself, not those that wait for their go-ahead, too. So two that wait
    /// do not keep each other waiting.
    pub(super) fn holding_a_place(&self, index: usize) -> Vec<String> {
        let waiting = self.go_aheads.waiting();
        let steps = self.steps();
        let has_begun = steps[index].is_under_way();
        let others = steps.into_iter().enumerate().filter(|(at, _)| *at != index);
        let holding =
            others.filter(|(at, step)| step.is_under_way() && !(has_begun && waiting.contains(at)));
        holding.map(|(at, _)| self.operation.hosts[at].clone()).collect()
    }

    /// Why there is no place in the budget for the host at `index`, if so; empty when hosts under way alone are why.
    pub(super) fn no_room_among(
        &self,
        index: usize,
        holding: &[&str],
        members: &[Member],
    ) -> Option<String> {
        let turn = &self.operation.hosts[index];
        let unavailable = members.iter().filter(|m| m.fitness == Fitness::Unavailable);
        let unavailable = unavailable.filter(|m| !holding.contains(&m.address.as_str()));
        let unavailable: Vec<_> = unavailable.collect();
        let names: Vec<_> = unavailable.iter().map(|member| member.address.as_str()).collect();
        let budget = self.operation.options.budget(members.len());
        if has_room(turn, holding, &names, budget) {
            return None;
        }
        if unavailable.is_empty() {
            return Some(String::new());
        }
        let reasons = unavailable.iter().map(|m| format!("{} ({})", m.address, m.reason));
        Some(format!(
            "at most {budget} may be unavailable at a time, and these are: {}",
            abridged(reasons, ", ")
        ))
    }

    /// The members that answer at all, each with its round trip: the first look. It may be taken while the command
    /// is prepared.
    ///
    /// # Errors
    /// When the storage service does not answer.
    pub(crate) async fn answering(&self) -> Result<HashMap<String, Duration>> {
        let addresses = self.service.members_of(&self.operation).await?;
        self.service.ports.answering(&self.service.storage, addresses).await
    }

    /// Decides whether the command on the host at `index` may go: by what operators and watchers say, the lease, and
    /// the budget. With it, it is saved that the command may have been run, in a write that is rejected once the
    /// operation is paused, aborted or frozen.
    ///
    /// # Errors
    /// When the lease is lost, or the storage service does not answer.
    pub(crate) async fn decide(
        &self,
        index: usize,
        answering: &HashMap<String, Duration>,
    ) -> Result<Decision> {
        let _one_at_a_time = self.go_aheads.deciding.lock().await;
        let pass = match self.gate(true).await? {
            Gate::Open(pass) => pass,
            Gate::Closed(why) => return Ok(Decision::Wait(Waiting::Gate(why))),
            Gate::Aborted(by) => return Ok(Decision::Abort(by)),
        };
        let (holding, mut members) = self.recorded(index).await?;
        let holding: Vec<_> = holding.iter().map(String::as_str).collect();
        members::silence(&mut members, &holding, |address| answering.contains_key(address));
        if let Some(why) = self.no_room_among(index, &holding, &members) {
            self.suspect(&members);
            return Ok(Decision::Wait(Waiting::Room(why)));
        }
        if self.rebooted_by_itself(&members).is_some() {
            // The operation is paused for that where it is waited for.
            return Ok(Decision::Wait(Waiting::Room(String::new())));
        }
        let asked = members.iter().filter(|member| member.fitness != Fitness::Unavailable);
        let asked = asked.filter(|member| !holding.contains(&member.address.as_str()));
        let asked = asked.filter_map(|m| Some((m.address.clone(), *answering.get(&m.address)?)));
        // First what may take long, then the look: the go-ahead is valid for a moment from its end.
        if !self.save_intent(index, &pass).await? {
            let why = "an operator has just said something else".to_owned();
            return Ok(Decision::Wait(Waiting::Gate(why)));
        }
        let still = self.service.ports.still_answering(asked.collect()).await;
        let decided = Instant::now();
        members::silence(&mut members, &holding, |address| still.contains(address));
        if let Some(why) = self.no_room_among(index, &holding, &members) {
            self.suspect(&members);
            return Ok(Decision::Wait(Waiting::Room(why)));
        }
        self.held.check()?;
        self.go_aheads.waiting().remove(&index);
        Ok(Decision::Go(decided))
    }

    /// The addresses that hold a place, and the members by their records.
    async fn recorded(&self, index: usize) -> Result<(Vec<String>, Vec<Member>)> {
        let service = self.service;
        let addresses = service.members_of(&self.operation).await?;
        let (kind, own) = (self.operation.kind, &service.own_boot_id);
        let members = members::recorded(&service.storage, &addresses, kind, own).await?;
        Ok((self.holding_a_place(index), members))
    }

    /// False when it is not allowed any more.
    async fn save_intent(&self, index: usize, pass: &Pass) -> Result<bool> {
        let now = self.service.deps.clock.stamp();
        let change = |host: &mut HostProgress| {
            host.waiting_for = None;
            if host.step == Step::Reboot {
                host.rebooted_at = Some(now.clone());
            }
        };
        match self.write(index, &change, &[], &With::Pass(pass)).await {
            Ok(()) => Ok(true),
            Err(error) if self.is_only_stale(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Records why the next command on a host is delayed, with an event where `is_new`. The record is cleared by the
    /// host's next step or go-ahead.
    ///
    /// # Errors
    /// As [`Self::save`].
    pub(super) async fn wait_for(&self, index: usize, why: &str, is_new: bool) -> Result<()> {
        let event = [Line(self.host(index).step, Outcome::Waiting, why)];
        let events = if is_new { &event[..] } else { &[] };
        if events.is_empty() && self.host(index).waiting_for.as_deref() == Some(why) {
            return Ok(());
        }
        self.save(index, |host| host.waiting_for = Some(why.to_owned()), events).await
    }

    /// Waits until a go-ahead that was refused may be asked for again. What lasts too long pauses the operation.
    ///
    /// # Errors
    /// When the operation is aborted: nothing was done to the host; or the lease is lost.
    pub(crate) async fn wait_for_permit(
        &self,
        index: usize,
        refused: Waiting,
    ) -> Result<(), Trouble> {
        let mut noted = None;
        let mut waiting = Some(refused);
        while let Some(what) = waiting {
            let kind = std::mem::discriminant(&what);
            let since = match noted {
                Some((before, since)) if before == kind => since,
                _ => Instant::now(),
            };
            let is_new = noted.is_none_or(|(before, _)| before != kind) && !what.why().is_empty();
            let why = if what.why().is_empty() { OTHERS_UNDER_WAY } else { what.why() };
            self.wait_for(index, why, is_new).await.map_err(Trouble::Ours)?;
            if is_new {
                noted = Some((kind, since));
            }
            if let Waiting::Room(why) = &what
                && !why.is_empty()
                && since.elapsed() > self.service.config.room_timeout()
            {
                self.or_store_again(|| self.pause(why)).await.map_err(Trouble::Ours)?;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
            let gate = self.or_store_again(|| self.gate(true)).await.map_err(Trouble::Ours)?;
            waiting = match gate {
                Gate::Aborted(by) => return Err(Trouble::Left(by)),
                Gate::Closed(why) => Some(Waiting::Gate(why)),
                Gate::Open(_) => {
                    let no_room = self.or_store_again(|| self.no_room(index)).await;
                    no_room.map_err(Trouble::Ours)?
                }
            };
        }
        Ok(())
    }
}
