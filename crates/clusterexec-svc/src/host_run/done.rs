//! The end of the work on a host that has come through.

use model::{Host, HostState, OperationHost, Outcome, Step};

use super::host::HostRun;
use crate::host_error::HostError;
use crate::journal::LogLine;

/// Saves a host as done that is not rebooted: its node stays cordoned.
pub(super) async fn save_drained(run: &HostRun<'_>) -> Result<(), HostError> {
    run.journal.record_of(run.index).await?;
    let now = run.context().deps.clock.stamp();
    let kind = run.journal.operation.kind.to_string();
    let change = |host: &mut OperationHost| {
        host.step = Step::Done;
        host.finished_at = Some(now.clone());
    };
    let lines = [LogLine(Step::Drain, Outcome::Ok, "drained; its node stays cordoned")];
    let status = |_: &mut Host, state: &mut HostState| {
        state.operations.insert(kind.clone(), now.clone());
    };
    Ok(run.journal.save_with_host(run.index, change, &lines, status).await?)
}

/// Saves the host as done, with the boot id with which it was verified and the units that have failed since the
/// operation began with it.
pub(super) async fn save_done(
    run: &HostRun<'_>,
    boot_id: &str,
    failed_units: &[String],
) -> Result<(), HostError> {
    run.journal.record_of(run.index).await?;
    let part = run.part();
    let was_restarted = part.boot_id_before.is_some();
    let now = run.context().deps.clock.stamp();
    let kind = run.journal.operation.kind.to_string();
    let change = |host: &mut OperationHost| {
        host.step = Step::Done;
        host.finished_at = Some(now.clone());
        host.boot_id_after = was_restarted.then(|| boot_id.to_owned());
        if !failed_units.is_empty() {
            host.result.get_or_insert_default().failed_units = failed_units.to_vec();
        }
    };
    let mut details = Vec::new();
    if was_restarted {
        details.push(format!("boot id {boot_id}"));
    }
    if !failed_units.is_empty() {
        details.push(format!("units that have failed since: {}", failed_units.join(", ")));
    }
    let detail = details.join("; ");
    // The removal of a cordon has an event of its own, before evicted pods are waited for.
    let step = if part.step == Step::Uncordon { Step::Done } else { part.step };
    let lines = [LogLine(step, Outcome::Ok, &detail)];
    let status = |_: &mut Host, state: &mut HostState| {
        state.saw_boot(&now, boot_id);
        state.operations.insert(kind.clone(), now.clone());
    };
    Ok(run.journal.save_with_host(run.index, change, &lines, status).await?)
}
