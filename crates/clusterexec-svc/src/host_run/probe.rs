//! The step `probe`: the boot id before the reboot.

use model::{OperationHost, Outcome, Step};

use super::host::HostRun;
use super::node::enter_with_node;
use super::settle::save_failed_units;
use crate::control::enter;
use crate::host_error::HostError;
use crate::journal::LogLine;
use crate::log_in::log_in;

/// Reads the boot id of the host, and saves it with the step that follows: `reboot`, unless its node is drained before.
pub(super) async fn probe(run: &mut HostRun<'_>) -> Result<(), HostError> {
    let session = log_in(run.context(), &run.target).await?;
    let boot_id = session.boot_id().await?;
    let options = &run.journal.operation.options;
    if boot_id == run.context().own_boot_id && options.include_self != Some(true) {
        let reason = "it is the machine that the executor runs on, by now: see include_self";
        return Err(HostError::Skipped(reason.to_owned()));
    }
    if options.if_needed == Some(true) && !session.needs_reboot().await? {
        return Err(HostError::Skipped("it does not need a restart".to_owned()));
    }
    save_failed_units(run, session.as_ref()).await?;
    let detail = format!("boot id {boot_id}");
    if run.part().step == Step::Probe {
        enter_with_node(run, session.as_ref(), &boot_id, Step::Reboot, &detail).await?;
    } else {
        let change = |host: &mut OperationHost| {
            host.step = Step::Reboot;
            host.boot_id_before = Some(boot_id.clone());
        };
        let lines = [
            LogLine(Step::Probe, Outcome::Ok, &detail),
            LogLine(Step::Reboot, Outcome::Started, ""),
        ];
        enter(run.journal, run.index, change, &lines).await?;
    }
    run.session = Some(session);
    Ok(())
}
