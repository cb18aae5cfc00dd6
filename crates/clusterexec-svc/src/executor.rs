//! Carries an operation out: starts hosts as there is room for them, and follows each to its end.
//!
//! The records in the store are the truth: every step is saved before its effect, under the lease, and
//! whoever takes the operation over goes on from what is written there.

mod alarm;
mod done_hosts;
mod end;
mod go_ahead;
mod moments;
mod records;
mod removed;
mod written;

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use service_core::error::chain;
use service_core::lease::Held;
use service_core::model::{Operation, OperationStatus, Outcome, Step};
use service_core::warn_unless_outage;
use service_core::{Error, Kind, Result};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use crate::gate::{Gate, Pass};
use crate::rollout::{Next, next};
use crate::service::ClusterExec;
use crate::{host_run, members};

pub(crate) use go_ahead::Decision;
pub(crate) use records::{Execution, GiveUp, Line};
pub(crate) use removed::deleted;
pub(crate) use written::{accepted, save_record};

/// The pause before something is tried again while the store does not answer.
const STORE_RETRY: Duration = Duration::from_millis(500);

/// The pause between looks whether what a roll waits for is over.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What an operation does next.
pub(crate) enum Turn {
    /// Start the host at this index.
    Start(usize, Pass),
    /// Wait; why, if it is not for a host under way.
    Wait(Option<Waiting>),
    /// It is at its end; why, if not every host had its turn.
    End(OperationStatus, String),
}

/// What a roll waits for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// A pause or a freeze by an operator, or an alarm.
    Gate(String),
    /// The time between two hosts.
    Soak(String),
    /// Hosts that are unavailable for other reasons.
    Room(String),
    /// Another try of a go-ahead that did not arrive in time.
    GoAhead(String),
}

impl Waiting {
    pub(crate) fn why(&self) -> &str {
        match self {
            Self::Gate(why) | Self::Soak(why) | Self::Room(why) | Self::GoAhead(why) => why,
        }
    }
}

/// Carries an operation out to its end, or until the daemon stops or the lease is lost: then another
/// goes on.
pub(crate) async fn run(service: &ClusterExec, held: &Held, operation: Operation, fresh: bool) {
    let id = operation.id.clone();
    let carried_out = async {
        let mut execution = Execution::new(service, held, operation);
        if !fresh {
            execution.load().await?;
        }
        execution.roll().await
    };
    let ended = tokio::select! {
        ended = carried_out => ended,
        () = held.lost() => Err(Error::conflict("the lease was lost")),
        () = service.lifecycle.stopping() => {
            match held.hand_over().await {
                Ok(()) => tracing::info!(operation.id = id, "operation handed over"),
                Err(error) => warn_unless_outage!(error, operation.id = id, "operation not handed over"),
            }
            return;
        }
    };
    if let Err(error) = ended {
        tracing::warn!(
            operation.id = id,
            error = chain(&error),
            "operation left to another executor"
        );
    }
}

impl Execution<'_> {
    /// Starts hosts and works on them, both in this one task: when it ends, nothing of it goes on.
    async fn roll(&self) -> Result<()> {
        let (start, mut started) = mpsc::unbounded_channel();
        let one_less = Notify::new();
        for (index, step) in self.steps().into_iter().enumerate() {
            if step.is_under_way() {
                start.send((index, true)).ok();
            }
        }
        let work = async {
            let mut hosts = FuturesUnordered::new();
            loop {
                tokio::select! {
                    Some((index, resumed)) = started.recv() => {
                        hosts.push(host_run::host(self, index, resumed));
                    }
                    Some(done) = hosts.next(), if !hosts.is_empty() => {
                        let done: Result<()> = done;
                        if let Err(error) = done {
                            return error;
                        }
                        one_less.notify_one();
                    }
                }
            }
        };
        let plan = async {
            let mut waiting = None;
            loop {
                match self.or_store_again(|| self.turn()).await? {
                    Turn::Start(index, pass) => {
                        if self.start(index, &pass).await? {
                            waiting = None;
                            start.send((index, false)).ok();
                        }
                    }
                    Turn::Wait(what) => {
                        self.note(&mut waiting, what).await?;
                        // Without a reason it waits for a host; with one, also for that to be over.
                        let again = async {
                            match waiting {
                                Some(_) => tokio::time::sleep(LOOK_AGAIN).await,
                                None => std::future::pending().await,
                            }
                        };
                        tokio::select! {
                            () = one_less.notified() => {}
                            () = again => {}
                        }
                    }
                    Turn::End(status, reason) => {
                        let (status, reason) = self.look_at_done(status, reason).await?;
                        return self.end(status, &reason).await;
                    }
                }
            }
        };
        tokio::select! {
            ended = plan => ended,
            error = work => Err(error),
            error = self.pause_in_alarms() => Err(error),
        }
    }

    /// What is to be done next, by the records, what operators say, and the members as they are now.
    pub(crate) async fn turn(&self) -> Result<Turn> {
        let cluster = self.skip_removed().await?;
        let steps = self.steps();
        let index = match next(&self.operation, &steps, self.service.config.parallel) {
            Next::Turn(index) => index,
            Next::Wait => return Ok(Turn::Wait(None)),
            Next::End(status) => {
                // An abort may be why hosts were left as they are.
                let left = |step: &Step| matches!(step, Step::Skipped | Step::Pending);
                if steps.iter().any(left)
                    && let Gate::Aborted(by) = self.gate(false).await?
                {
                    return Ok(Turn::End(OperationStatus::Failed, by));
                }
                return Ok(Turn::End(status, String::new()));
            }
        };
        let pass = match self.gate(true).await? {
            Gate::Open(pass) => pass.while_cluster_is(&self.operation.cluster, cluster),
            Gate::Closed(why) => return Ok(Turn::Wait(Some(Waiting::Gate(why)))),
            Gate::Aborted(_) if steps.iter().any(|step| step.is_under_way()) => {
                return Ok(Turn::Wait(None));
            }
            Gate::Aborted(by) => return Ok(Turn::End(OperationStatus::Failed, by)),
        };
        if let Some(left) = self.moments.soak_left() {
            let why = format!("{} s until the next host", left.as_secs().max(1));
            return Ok(Turn::Wait(Some(Waiting::Soak(why))));
        }
        Ok(match self.no_room(index).await? {
            None => Turn::Start(index, pass),
            // Only its own hosts are unavailable: the next that is done makes room.
            Some(Waiting::Room(why)) if why.is_empty() => Turn::Wait(None),
            Some(waiting) => Turn::Wait(Some(waiting)),
        })
    }

    /// What the host at `index` has to wait for before it may be started, if anything: too many members of the cluster
    /// are unavailable (the reason is empty when those are hosts under way only), or a host that was done has rebooted
    /// by itself, which pauses the operation.
    pub(crate) async fn no_room(&self, index: usize) -> Result<Option<Waiting>> {
        let under_way = self.holding_a_place(index);
        let under_way: Vec<_> = under_way.iter().map(String::as_str).collect();
        let addresses = self.service.members_of(&self.operation).await?;
        let (storage, ports) = (&self.service.storage, &self.service.ports);
        let (kind, own) = (self.operation.kind, &self.service.own_boot_id);
        let members = members::look(storage, ports, &addresses, &under_way, kind, own).await?;
        if let Some(paused) = self.pause_for_reboots(&members).await? {
            return Ok(Some(paused));
        }
        Ok(self.no_room_among(index, &under_way, &members).map(Waiting::Room))
    }

    /// Notes what the roll waits for, once; what nobody sees to is not waited for without end.
    async fn note(
        &self,
        waiting: &mut Option<(Waiting, Instant)>,
        what: Option<Waiting>,
    ) -> Result<()> {
        let Some(what) = what else {
            *waiting = None;
            return Ok(());
        };
        let same_kind =
            |before: &Waiting| std::mem::discriminant(before) == std::mem::discriminant(&what);
        let since = match waiting {
            Some((before, since)) if same_kind(before) => *since,
            _ => Instant::now(),
        };
        let new = waiting.as_ref().is_none_or(|(before, _)| !same_kind(before));
        // How many seconds are left changes all the time; so may the reasons of hosts.
        if new {
            self.log_operation(Outcome::Waiting, what.why()).await?;
        }
        let too_long = since.elapsed() > self.service.config.room_timeout();
        if let Waiting::Room(why) = &what
            && too_long
            && self.under_way().is_empty()
        {
            self.or_store_again(|| self.pause(why)).await?;
        }
        *waiting = Some((what, since));
        Ok(())
    }

    /// Does something with the store that may be done twice, again and again while it does not answer.
    pub(crate) async fn or_store_again<T, F>(&self, doing: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        loop {
            match doing().await {
                Ok(done) => return Ok(done),
                Err(error) => self.wait_for_store(error).await?,
            }
        }
    }

    /// Passes an error on, unless the store may answer again before the lease is lost.
    pub(crate) async fn wait_for_store(&self, error: Error) -> Result<()> {
        let may_heal = matches!(error.kind(), Kind::Unavailable | Kind::Timeout);
        if !may_heal || self.held.check().is_err() {
            return Err(error);
        }
        warn_unless_outage!(error, "the store does not answer, trying again");
        tokio::time::sleep(STORE_RETRY).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
