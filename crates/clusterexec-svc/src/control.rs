//! What stops an operation from outside: operators pause and abort one operation or freeze all of them, and an alarm
//! stops the operations that it concerns.

use std::time::Duration;

use bus::Result;
use model::{Alarm, Freeze, OperationControl, OperationHost, WaitReason, Wanted};
use storage_client::{Transaction, queries};

use crate::host_error::HostError;
use crate::journal::{Journal, LogLine, Preconditions};
use crate::waiting::Waiting;

/// The pause between checks whether a wait is over.
pub(crate) const CHECK_AGAIN: Duration = Duration::from_secs(1);

/// Whether the operation may go on.
#[derive(Debug)]
pub(crate) enum Gate {
    /// It may, in writes with these preconditions.
    Open(Preconditions),
    /// It has to wait.
    Closed(Waiting),
    /// It is aborted; by whom.
    Aborted(String),
}

/// What the gate is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Going on with a host under way, which only a pause or an abort by an operator prevents.
    Continue,
    /// Taking a further host down, which a freeze and an alarm prevent, too.
    TakeDown,
}

/// Whether the operation may go on, by the current records.
///
/// # Errors
/// When the storage service fails.
pub(crate) async fn gate(journal: &Journal<'_>, purpose: Purpose) -> Result<Gate> {
    let (context, id) = (journal.context, &journal.operation.id);
    let control = context.storage.find::<OperationControl>(id).await?;
    if let Some(control) = control.as_ref().map(|control| &control.record) {
        match control.wanted {
            Wanted::Abort => return Ok(Gate::Aborted(format!("aborted by {}", control.by))),
            Wanted::Pause => return Ok(Gate::Closed(paused(control))),
            Wanted::Run => {}
        }
    }
    let takes_down = purpose == Purpose::TakeDown;
    if takes_down && let Some(freeze) = queries::freeze(&context.storage).await? {
        let Freeze { by, reason, .. } = freeze;
        let detail = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        let message = format!("all rolls are frozen by {by}{detail}");
        return Ok(Gate::Closed(Waiting::new(WaitReason::Frozen, message)));
    }
    if takes_down && let Some(alarm) = context.alarm(&journal.operation.cluster).await? {
        let Alarm { since, reason, .. } = alarm;
        let message = format!("an alarm has lasted since {since}: {reason}");
        return Ok(Gate::Closed(Waiting::new(WaitReason::Alarm, message)));
    }
    let revision = control.map(|control| control.revision);
    Ok(Gate::Open(Preconditions::new(id, revision, takes_down)))
}

fn paused(control: &OperationControl) -> Waiting {
    let reason = WaitReason::from_word(&control.code).unwrap_or(WaitReason::Paused);
    if control.reason.is_empty() {
        return Waiting::new(reason, format!("paused by {}", control.by));
    }
    let message =
        format!("paused: {}; resume it when that is seen to, or abort it", control.reason);
    Waiting::new(reason, message)
}

/// Pauses the operation, until an operator resumes it; false if an operator has paused or aborted it before, which stays
/// as it is.
///
/// # Errors
/// When the lease is lost, or the storage service fails.
pub(crate) async fn pause(journal: &Journal<'_>, code: WaitReason, reason: &str) -> Result<bool> {
    let context = journal.context;
    let control = OperationControl {
        id: journal.operation.id.clone(),
        wanted: Wanted::Pause,
        by: "clusterexec".to_owned(),
        at: context.deps.clock.stamp(),
        reason: reason.to_owned(),
        code: code.word().to_owned(),
    };
    let before = context.storage.find::<OperationControl>(&control.id).await?;
    if before.as_ref().is_some_and(|before| before.record.wanted != Wanted::Run) {
        return Ok(false);
    }
    let revision = before.map(|before| before.revision);
    let check = Transaction::default().check::<OperationControl>(&control.id, revision);
    // After a conflict, the operator's new decision holds.
    journal.unless_stale(journal.held.transact(check.save(&control)?).await)
}

/// Saves the intent of a host's next step, once the gate is open.
///
/// # Errors
/// The host is skipped when the operation is aborted, and has failed when its record is deleted; or the lease is lost.
pub(crate) async fn enter(
    journal: &Journal<'_>,
    index: usize,
    change: impl Fn(&mut OperationHost) + Send + Sync,
    lines: &[LogLine<'_>],
) -> Result<(), HostError> {
    let mut has_waited = false;
    loop {
        match journal.retry(|| gate(journal, Purpose::Continue)).await? {
            Gate::Open(preconditions) => {
                journal.record_of(index).await?;
                if journal.save_if(index, &change, lines, &preconditions).await? {
                    return Ok(());
                }
            }
            Gate::Closed(waiting) => {
                journal.wait_for(index, &waiting, !has_waited).await?;
                has_waited = true;
                tokio::time::sleep(CHECK_AGAIN).await;
            }
            Gate::Aborted(by) => return Err(HostError::Skipped(by)),
        }
    }
}
