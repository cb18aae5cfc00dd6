//! What the bundled playbooks do on a simulated host.

use std::time::Duration;

use host_access::{
    Claim, Playbook, PlaybookError, Refusal, Session as _, Summary, TaskEvent, TaskOutcome,
};
use serde_json::{Map, Value, json};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use crate::machine::{Apply, Machine};
use crate::session::SimulatedSession;

/// The variable that names the go-ahead of a playbook, and what it reports where that was not given.
const GO_AHEAD: &str = "commissaire_go_ahead";

/// What an upgrade or a deployment reports where the host has to be restarted for it.
const REBOOT_REQUIRED: &str = "commissaire_reboot_required";

/// The variable with the claim of a bootstrap.
const CLAIM: &str = "commissaire_claim";

/// How long a task waits for its go-ahead.
const EXPIRY: Duration = Duration::from_mins(1);

/// The pause between looks at the host.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What a task that waits for its go-ahead receives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It may go, as long as the uptime is not more than this, in hundredths of a second, and the host accepts the claim.
    Go(u64, Claim),
    Refused,
}

/// What came of the wait for a go-ahead.
enum Awaited {
    /// None is needed, or it was given with this claim.
    Given(Option<Claim>),
    /// Why it was not given.
    NotGiven(&'static str),
}

/// One run of a playbook.
struct Play<'a> {
    session: &'a SimulatedSession,
    playbook: Playbook,
    vars: &'a Map<String, Value>,
}

/// Plays `playbook`, without a limit of time.
pub(crate) async fn play(
    session: &SimulatedSession,
    playbook: Playbook,
    vars: &Map<String, Value>,
    on_event: &mut (dyn FnMut(TaskEvent) + Send),
) -> Result<Summary, PlaybookError> {
    let start = session.on_host(|machine| (machine.play_start, machine.playbook_error));
    let (start, error) = start.unwrap_or_default();
    sleep(start).await;
    if let Some(error) = error {
        return Err(error(playbook));
    }
    let play = Play { session, playbook, vars };
    match playbook {
        Playbook::Restart => play.restart().await,
        Playbook::Upgrade | Playbook::Deploy => play.apply(on_event).await,
        Playbook::Bootstrap => play.bootstrap().await,
        Playbook::CheckHostAvailability => play.task(|_| summary(Map::new())).await,
    }
}

impl Play<'_> {
    fn var(&self, name: &str) -> Option<&str> {
        self.vars.get(name).and_then(Value::as_str)
    }

    /// One task on the host.
    async fn task<T>(&self, what: impl FnOnce(&mut Machine) -> T) -> Result<T, PlaybookError> {
        self.session.hosts().contact(self.session.address()).await;
        self.session.on_host(what).ok_or_else(|| PlaybookError::Unreachable {
            playbook: self.playbook,
            message: "Shared connection closed.".to_owned(),
        })
    }

    async fn bootstrap(&self) -> Result<Summary, PlaybookError> {
        let claim = self.var(CLAIM).and_then(|claim| claim.parse::<Claim>().ok());
        let claimed =
            self.task(|machine| claim.as_ref().map_or(Ok(()), |claim| machine.claim(claim)));
        let playbook = self.playbook;
        let refused = |refusal| PlaybookError::Fenced { playbook, refusal };
        claimed.await?.map(|()| summary(Map::new())).map_err(refused)
    }

    async fn restart(&self) -> Result<Summary, PlaybookError> {
        let look = |machine: &mut Machine| {
            (machine.boot_id().to_owned(), machine.facts.os.commands("", false).restart)
        };
        let (boot_id, command) = self.task(look).await?;
        let asked = self.var("commissaire_restart_command").unwrap_or_default();
        if asked != command {
            let (playbook, task) = (self.playbook, "restart".to_owned());
            let message = format!("{asked}: command not found");
            return Err(PlaybookError::Failed { playbook, task, message });
        }
        if self.var("commissaire_boot_id").is_some_and(|asked| asked != boot_id) {
            return Ok(summary(Map::new()));
        }
        let claim = match self.await_go_ahead().await? {
            Awaited::Given(claim) => claim,
            Awaited::NotGiven(why) => return Ok(not_given(why)),
        };
        let (hosts, address) = (self.session.hosts(), self.session.address());
        // Nothing is awaited between the comparison of the claim and the command.
        let claimed = self.task(|machine| {
            let is_lost = take(&mut machine.loses_commands);
            (!is_lost).then(|| claim.as_ref().map_or(Ok(()), |claim| machine.claim(claim)))
        });
        let is_lost_before = match claimed.await? {
            None => true,
            Some(Err(refusal)) => return Ok(not_given(&refusal.to_string())),
            Some(Ok(())) => {
                hosts.command(address, claim.as_ref());
                false
            }
        };
        let is_lost_after = self.task(|machine| take(&mut machine.loses_answers)).await?;
        if is_lost_before || is_lost_after {
            hosts.cut(address);
        }
        self.task(|_| summary(Map::new())).await
    }

    /// Waits for the go-ahead, where one is needed.
    async fn await_go_ahead(&self) -> Result<Awaited, PlaybookError> {
        let name = self.var(GO_AHEAD).and_then(|name| name.parse().ok());
        let Some(name) = name else { return Ok(Awaited::Given(None)) };
        let (sender, receiver) = oneshot::channel();
        self.task(|machine| machine.waiting.insert(name, sender)).await?;
        let answer = timeout(EXPIRY, receiver).await;
        self.task(|machine| {
            machine.waiting.remove(&name);
            let uptime = machine.uptime(Instant::now()).as_millis() / 10;
            match answer {
                Ok(Ok(Answer::Go(deadline, claim))) if uptime <= u128::from(deadline) => {
                    Awaited::Given(Some(claim))
                }
                Ok(Ok(Answer::Go(..))) => Awaited::NotGiven("late"),
                Ok(Ok(Answer::Refused)) => Awaited::NotGiven("refused"),
                Ok(Err(_)) | Err(_) => Awaited::NotGiven("expired"),
            }
        })
        .await
    }

    /// An upgrade or a deployment: a unit that goes on when the connection is lost, and whose result is reported when
    /// it is played again.
    async fn apply(
        &self,
        on_event: &mut (dyn FnMut(TaskEvent) + Send),
    ) -> Result<Summary, PlaybookError> {
        let unit = self.var("commissaire_unit").unwrap_or_default();
        let Apply { takes, result, waits } = self.task(|machine| machine.apply.clone()).await?;
        let is_known = |machine: &mut Machine| {
            machine.completed.contains_key(unit) || machine.units.contains_key(unit)
        };
        if !self.task(is_known).await? {
            let claim = match self.await_go_ahead().await? {
                Awaited::Given(claim) => claim,
                Awaited::NotGiven(why) => return Ok(not_given(why)),
            };
            let end = Instant::now() + takes;
            let begun = self.task(|machine| {
                claim.as_ref().map_or(Ok(()), |claim| machine.claim(claim))?;
                machine.begun += 1;
                machine.units.insert(unit.to_owned(), end);
                Ok::<_, Refusal>(())
            });
            if let Err(refusal) = begun.await? {
                return Ok(not_given(&refusal.to_string()));
            }
            self.session.hosts().report(self.session.address(), Some(unit), claim.as_ref());
            for message in waits {
                let (task, outcome) = ("upgrade".to_owned(), TaskOutcome::Waiting);
                on_event(TaskEvent { task, outcome, message, ignored: false });
                sleep(LOOK_AGAIN).await;
            }
        }
        let ended = |machine: &mut Machine| {
            machine.units.get(unit).is_none_or(|end| *end <= Instant::now())
        };
        while !self.task(ended).await? {
            sleep(LOOK_AGAIN).await;
        }
        let (playbook, task) = (self.playbook, "upgrade".to_owned());
        let failed = |message| PlaybookError::Failed { playbook, task, message };
        let mut data = result.map_err(failed)?;
        if self.task(|machine| machine.complete(unit) && !machine.falls_back).await? {
            data.insert(REBOOT_REQUIRED.to_owned(), json!(false));
        }
        Ok(summary(data))
    }
}

/// One of the faults that are left, if any.
fn take(left: &mut usize) -> bool {
    let is_left = *left > 0;
    *left = left.saturating_sub(1);
    is_left
}

fn summary(data: Map<String, Value>) -> Summary {
    Summary { ok: 1, changed: 1, data, ..Summary::default() }
}

fn not_given(why: &str) -> Summary {
    summary(Map::from_iter([(GO_AHEAD.to_owned(), json!(why))]))
}
