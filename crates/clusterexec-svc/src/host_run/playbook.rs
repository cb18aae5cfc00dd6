//! Running a playbook. A package lock and other things that its command waits for become events of the operation.

use std::time::Duration;

use host_access::{Playbook, PlaybookError, Session, Summary, TaskEvent, TaskOutcome};
use serde_json::{Map, Value};
use service_core::model::Outcome;
use tokio::sync::mpsc;

use super::Trouble;
use crate::apply::report;
use crate::executor::{Execution, Line};

/// The most events about what a command waits for in one run: a host may name something else each time.
const WAITS: usize = 20;

/// Runs `playbook` on the host at `index`.
///
/// # Errors
/// When the lease is lost; how the playbook ended is in the result.
pub(crate) async fn run_playbook(
    execution: &Execution<'_>,
    index: usize,
    session: &dyn Session,
    playbook: Playbook,
    vars: &Map<String, Value>,
    deadline: Duration,
) -> Result<Result<Summary, PlaybookError>, Trouble> {
    let (reported, waits) = mpsc::channel(1);
    let mut on_event = move |event: TaskEvent| {
        let (task, outcome) = (event.task, event.outcome);
        tracing::debug!(host.address = session.address(), task, ?outcome, "task");
        if outcome == TaskOutcome::Waiting {
            // It is reported again and again: one that finds no room is not needed.
            drop(reported.try_send(event.message));
        }
    };
    // It takes `on_event` along: the end of the waits is the end of the playbook.
    let run = async move { Ok(session.play(playbook, vars, deadline, &mut on_event).await) };
    let (summary, ()) = tokio::try_join!(run, log_waits(execution, index, waits))?;
    Ok(summary)
}

/// Adds an event for each thing that a host waits for, until the playbook has ended.
async fn log_waits(
    execution: &Execution<'_>,
    index: usize,
    mut waits: mpsc::Receiver<String>,
) -> Result<(), Trouble> {
    let (mut last, mut logged) = (String::new(), 0);
    while let Some(message) = waits.recv().await {
        let message = report::sentence(&message);
        if message == last || logged == WAITS {
            continue;
        }
        let lines = [Line(execution.host(index).step, Outcome::Waiting, &message)];
        execution.log(index, &lines).await.map_err(Trouble::Ours)?;
        (last, logged) = (message, logged + 1);
    }
    Ok(())
}
