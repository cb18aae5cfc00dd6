//! A playbook whose command on the host waits for the go-ahead.
//!
//! The order is what counts: Ansible is connected and its task runs on the host, then the decision is made, then the
//! task gets its go-ahead, over a channel that is open already and valid for a moment only. Without a go-ahead
//! nothing happens: when this process or the connection is gone, the task gives up by itself.

use std::time::Duration;

use host_access::{Playbook, PlaybookError, Session, Summary};
use serde_json::{Map, Value, json};
use service_core::error::chain;
use service_core::random;
use uuid::Uuid;

use super::Trouble;
use super::playbook::run_playbook;
use crate::executor::{Decision, Execution, Waiting};

/// What a playbook reports where its go-ahead was not given.
const NOT_GIVEN: &str = "commissaire_go_ahead";

/// What became of a playbook whose command waits for a go-ahead.
pub(crate) enum Played {
    /// It ended.
    Ended(Result<Summary, PlaybookError>),
    /// Its command was not run; what it waits for.
    NotYet(Waiting),
}

/// Why no go-ahead was given, if so.
enum Verdict {
    /// It was given, or the host was lost: how the playbook ends says more.
    Awaited,
    Refused(Waiting),
    Aborted(String),
}

/// Plays `playbook` on the host at `index`, and decides when its command is ready to run. A command that needs no
/// go-ahead, since it has been run already, is not asked about.
pub(crate) async fn play_with_go_ahead(
    execution: &Execution<'_>,
    index: usize,
    session: &dyn Session,
    playbook: Playbook,
    vars: &Map<String, Value>,
    deadline: Duration,
) -> Result<Played, Trouble> {
    let name = random::uuid();
    let mut vars = vars.clone();
    vars.insert(NOT_GIVEN.to_owned(), json!(name.to_string()));
    execution.held.check().map_err(Trouble::Ours)?;
    // Both are large.
    let mut run = Box::pin(run_playbook(execution, index, session, playbook, &vars, deadline));
    let mut giving = Box::pin(give(execution, index, session, name));
    let (result, verdict) = tokio::select! {
        result = &mut run => (result?, Verdict::Awaited),
        // An error of ours ends the playbook here, and the task on the host for want of a go-ahead.
        verdict = &mut giving => {
            let verdict = verdict?;
            (run.await?, verdict)
        }
    };
    let why = result.as_ref().ok().and_then(|summary| summary.data.get(NOT_GIVEN));
    let Some(why) = why.and_then(Value::as_str) else { return Ok(Played::Ended(result)) };
    execution.go_aheads.wait(index);
    match verdict {
        Verdict::Aborted(by) => Err(Trouble::Left(by)),
        Verdict::Refused(waiting) => Ok(Played::NotYet(waiting)),
        Verdict::Awaited => {
            let detail = format!("{} did not get its go-ahead in time: {why}", session.address());
            Ok(Played::NotYet(Waiting::GoAhead(detail)))
        }
    }
}

/// Waits for the task on the host, decides, and answers it.
async fn give(
    execution: &Execution<'_>,
    index: usize,
    session: &dyn Session,
    name: Uuid,
) -> Result<Verdict, Trouble> {
    let first_look = execution.or_store_again(|| execution.answering());
    let (channel, answering) = tokio::join!(session.go_ahead(name), first_look);
    let answering = answering.map_err(Trouble::Ours)?;
    let lost = |error| {
        let (address, error) = (session.address(), chain(&error));
        tracing::info!(host.address = address, error, "no channel for the go-ahead");
        Verdict::Awaited
    };
    let mut channel = match channel {
        Ok(channel) => channel,
        Err(error) => return Ok(lost(error)),
    };
    execution.go_aheads.wait(index);
    let uptime = match channel.uptime().await {
        Ok(uptime) => uptime,
        Err(error) => return Ok(lost(error)),
    };
    let decision = execution.or_store_again(|| execution.decide(index, &answering)).await;
    let (answered, verdict) = match decision.map_err(Trouble::Ours)? {
        Decision::Go(decided) => (channel.give(uptime, decided).await, Verdict::Awaited),
        Decision::Wait(waiting) => (channel.refuse().await, Verdict::Refused(waiting)),
        Decision::Abort(by) => (channel.refuse().await, Verdict::Aborted(by)),
    };
    // A host that goes down does not confirm it.
    if let Err(error) = answered {
        tracing::debug!(host.address = session.address(), error = chain(&error), "not confirmed");
    }
    Ok(verdict)
}
