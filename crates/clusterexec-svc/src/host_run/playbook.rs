//! Runs a playbook. What its command on the host waits for, such as a package lock, becomes an event of the operation.

use std::time::Duration;

use host_access::{Playbook, PlaybookError, Session, Summary, TaskEvent, TaskOutcome};
use model::{OperationHost, Outcome, WaitReason};
use serde_json::{Map, Value};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::host::HostRun;
use super::report::sentence;
use crate::host_error::HostError;
use crate::journal::LogLine;

/// Limit of such events in one run: a host may report something else each time.
const WAITS: usize = 20;

/// How long a wait is taken to go on without another report: a task that waits reports every few seconds.
const REPORTED: Duration = Duration::from_secs(30);

/// Runs `playbook` on the host.
///
/// # Errors
/// When the lease is lost. A failure of the playbook is in the result.
pub(super) async fn run_playbook(
    run: &HostRun<'_>,
    session: &dyn Session,
    playbook: Playbook,
    vars: &Map<String, Value>,
    deadline: Duration,
) -> Result<Result<Summary, PlaybookError>, HostError> {
    let (reported, waits) = mpsc::channel(1);
    let mut on_event = move |event: TaskEvent| {
        let (task, outcome) = (event.task, event.outcome);
        tracing::debug!(host.address = session.address(), task, ?outcome, "task");
        if outcome == TaskOutcome::Waiting {
            // It is reported again and again: a report that does not fit into the channel is not needed.
            drop(reported.try_send(event.message));
        }
    };
    // It owns `on_event`, so that the channel closes at the end of the playbook.
    let playing = async move { Ok(session.play(playbook, vars, deadline, &mut on_event).await) };
    let (summary, ()) = tokio::try_join!(playing, log_waits(run, waits))?;
    Ok(summary)
}

/// Records what a host waits for, each with an event, until the playbook has ended.
async fn log_waits(run: &HostRun<'_>, mut waits: mpsc::Receiver<String>) -> Result<(), HostError> {
    let (mut last, mut logged) = (String::new(), 0);
    loop {
        let limit = if last.is_empty() { Duration::MAX } else { REPORTED };
        let Ok(reported) = timeout(limit, waits.recv()).await else {
            last.clear();
            run.save(|host| host.wait = None, &[]).await?;
            continue;
        };
        let Some(message) = reported.as_deref().map(sentence) else { return Ok(()) };
        if message == last || logged == WAITS {
            continue;
        }
        let wait = run.wait(WaitReason::PackageLock, &message);
        let change = |host: &mut OperationHost| host.wait = Some(wait.clone());
        let lines = [LogLine(run.part().step, Outcome::Waiting, &message)];
        run.save(change, &lines).await?;
        (last, logged) = (message, logged + 1);
    }
}
