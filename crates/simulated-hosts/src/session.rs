//! A connection to a simulated host.

use std::time::Duration;

use async_trait::async_trait;
use host_access::{
    AccessError, Claim, Facts, FactsError, GoAhead, Output, Playbook, PlaybookError, Refusal,
    SeenMarks, Session, Summary, SystemState, Target, TaskEvent, Uptime,
};
use serde_json::{Map, Value};
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use crate::machine::Machine;
use crate::playbooks::{Answer, play};
use crate::{ROUND_TRIP, SimulatedHosts};

/// How long `ssh` waits for answers before it ends a connection.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// How long a task may take until it waits for its go-ahead.
const READY: Duration = Duration::from_mins(2);

/// The pause between looks at the host.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// See the module.
#[derive(Debug)]
pub(crate) struct SimulatedSession {
    hosts: SimulatedHosts,
    address: String,
    user: String,
    host_keys: Vec<String>,
    connection: usize,
}

impl SimulatedSession {
    pub(crate) fn new(hosts: SimulatedHosts, target: &Target, connection: usize) -> Self {
        let shown = hosts.edit(&target.address, |machine| machine.host_key.clone());
        let pinned = &target.host_keys;
        let host_keys = if pinned.is_empty() { vec![shown] } else { pinned.clone() };
        let (address, user) = (target.address.clone(), target.user.clone());
        Self { hosts, address, user, host_keys, connection }
    }

    pub(crate) fn hosts(&self) -> &SimulatedHosts {
        &self.hosts
    }

    fn lost(&self) -> AccessError {
        AccessError::Disconnected { address: self.address.clone() }
    }

    /// Looks at the host, or changes it, over this connection; `None` when that is lost.
    pub(crate) fn on_host<T>(&self, what: impl FnOnce(&mut Machine) -> T) -> Option<T> {
        let over = |machine: &mut Machine| {
            (machine.has(self.connection) && machine.is_reachable).then(|| what(machine))
        };
        self.hosts.with(&self.address, over).flatten()
    }

    /// The same with the time that a command takes.
    async fn ask<T>(&self, what: impl FnOnce(&mut Machine) -> T) -> Result<T, AccessError> {
        sleep(ROUND_TRIP).await;
        self.hosts.contact(&self.address).await;
        if self.hosts.with(&self.address, |machine| machine.is_reachable) == Some(false) {
            sleep(KEEP_ALIVE).await;
        }
        self.on_host(what).ok_or_else(|| self.lost())
    }
}

#[async_trait]
impl Session for SimulatedSession {
    fn address(&self) -> &str {
        &self.address
    }

    fn user(&self) -> &str {
        &self.user
    }

    fn host_keys(&self) -> &[String] {
        &self.host_keys
    }

    async fn is_alive(&self) -> bool {
        self.hosts.with(&self.address, |machine| machine.has(self.connection)) == Some(true)
    }

    async fn boot_id(&self) -> Result<String, AccessError> {
        self.ask(|machine| machine.shown_boot_id()).await
    }

    async fn facts(&self, _timeout: Duration) -> Result<Facts, FactsError> {
        let facts = |machine: &mut Machine| match machine.facts_error {
            Some(error) => Err(error(&self.address)),
            None => Ok(Facts { boot_id: machine.shown_boot_id(), ..machine.facts.clone() }),
        };
        self.ask(facts).await.map_err(FactsError::Access)?
    }

    async fn system_state(&self) -> Result<SystemState, AccessError> {
        let state = |machine: &mut Machine| SystemState {
            boot_id: machine.shown_boot_id(),
            uptime: machine.uptime(Instant::now()),
            state: machine.system_state(Instant::now()).to_owned(),
            failed_units: machine.failed_units.clone(),
        };
        self.ask(state).await
    }

    async fn needs_reboot(&self) -> Result<bool, AccessError> {
        self.ask(|machine| machine.needs_reboot).await
    }

    async fn run_privileged(
        &self,
        _script: &str,
        _timeout: Duration,
    ) -> Result<Output, AccessError> {
        let output = |machine: &mut Machine| Output {
            status: machine.command_status,
            stdout: machine.command_output.clone(),
            stderr: String::new(),
        };
        self.ask(output).await
    }

    async fn claim(&self, claim: &Claim) -> Result<Option<Refusal>, AccessError> {
        self.ask(|machine| machine.claim(claim).err()).await
    }

    async fn marks(&self, instance: &str) -> Result<SeenMarks, AccessError> {
        self.ask(|machine| machine.seen_marks(instance)).await
    }

    async fn play(
        &self,
        playbook: Playbook,
        vars: &Map<String, Value>,
        within: Duration,
        on_event: &mut (dyn FnMut(TaskEvent) + Send),
    ) -> Result<Summary, PlaybookError> {
        let played = timeout(within, play(self, playbook, vars, on_event)).await;
        played.unwrap_or(Err(PlaybookError::Timeout { playbook, after: within }))
    }

    async fn go_ahead<'a>(&'a self, name: Uuid) -> Result<Box<dyn GoAhead + 'a>, AccessError> {
        let ready = async {
            loop {
                if self.ask(|machine| machine.waiting.contains_key(&name)).await? {
                    return Ok(());
                }
                sleep(LOOK_AGAIN).await;
            }
        };
        timeout(READY, ready).await.unwrap_or_else(|_| Err(self.lost()))?;
        Ok(Box::new(SimulatedGoAhead { session: self, name }))
    }

    async fn close(self: Box<Self>) {}
}

/// The channel to a task that waits.
struct SimulatedGoAhead<'a> {
    session: &'a SimulatedSession,
    name: Uuid,
}

impl SimulatedGoAhead<'_> {
    async fn send(&self, answer: Answer) -> Result<(), AccessError> {
        let delay = self.session.on_host(|machine| machine.go_ahead_delay);
        sleep(delay.unwrap_or_default()).await;
        let sent = self.session.ask(|machine| {
            let task = machine.waiting.remove(&self.name);
            task.is_some_and(|task| task.send(answer).is_ok())
        });
        if sent.await? { Ok(()) } else { Err(self.session.lost()) }
    }
}

#[async_trait]
impl GoAhead for SimulatedGoAhead<'_> {
    async fn uptime(&mut self) -> Result<Uptime, AccessError> {
        let uptime = self.session.ask(|machine| machine.uptime(Instant::now())).await?;
        let centiseconds = u64::try_from(uptime.as_millis() / 10).unwrap_or(u64::MAX);
        Ok(Uptime::new(centiseconds, Instant::now(), ROUND_TRIP))
    }

    async fn give(
        self: Box<Self>,
        uptime: Uptime,
        decided: Instant,
        claim: &Claim,
    ) -> Result<(), AccessError> {
        self.send(Answer::Go(uptime.deadline(decided), claim.clone())).await
    }

    async fn refuse(self: Box<Self>) -> Result<(), AccessError> {
        self.send(Answer::Refused).await
    }
}
