//! The step `verify`: the host is back and healthy.

use std::time::Duration;

use host_access::Session;
use model::{FailureReason, OperationHost, OperationKind, Outcome, Step};

use super::boot::wait_until_up;
use super::health::healthy;
use super::host::HostRun;
use super::playbook::run_playbook;
use super::ready::{Readiness, enter_ready};
use super::report;
use super::work::{self, Work};
use crate::host_error::{HostError, HostFailure};
use crate::journal::LogLine;

/// Timeout of the check of what is booted.
const CHECK_TIMEOUT: Duration = Duration::from_mins(2);

/// Waits until the host is back, with another boot id if it was restarted, and healthy; then it settles, or is done.
pub(super) async fn verify(run: &mut HostRun<'_>) -> Result<(), HostError> {
    let before = run.part().boot_id_before;
    let (session, boot_id) =
        wait_until_up(run, |boot_id| before.as_deref() != Some(boot_id)).await?;
    if before.is_some() {
        check_booted(run, session.as_ref()).await?;
    }
    run.session = healthy(run, session).await?;
    run.readiness.get_or_insert_with(Readiness::new);
    if !run.settles() {
        return enter_ready(run, &boot_id, &[]).await;
    }
    let change = |host: &mut OperationHost| host.step = Step::Settle;
    let detail = format!("boot id {boot_id}");
    run.save(change, &[LogLine(Step::Settle, Outcome::Started, &detail)]).await?;
    run.verified = Some(boot_id);
    Ok(())
}

/// Checks after the restart that the host has booted what was staged on it. A host with packages has nothing to show but
/// its new boot id.
pub(super) async fn check_booted(
    run: &HostRun<'_>,
    session: &dyn Session,
) -> Result<(), HostError> {
    let operation = &run.journal.operation;
    let result = run.part().result.unwrap_or_default();
    if let Some(checksum) = result.checksum() {
        let Some(Work { playbook, vars }) = Work::check(operation, checksum) else { return Ok(()) };
        run.journal.held.check()?;
        let summary = run_playbook(run, session, playbook, &vars, CHECK_TIMEOUT).await?;
        let summary =
            summary.map_err(|error| work::failure(operation, session.address(), &error))?;
        let is_booted = !report::result(&summary.data).reboot_required;
        if operation.kind == OperationKind::Deploy && !is_booted {
            let (address, version) = (session.address(), &operation.version);
            let message =
                format!("{address} was restarted, but {version} is not what it has booted");
            return Err(HostFailure::new(FailureReason::NotBooted, message).into());
        }
    }
    let change = |host: &mut OperationHost| {
        if let Some(result) = &mut host.result {
            result.reboot_required = false;
        }
    };
    Ok(run.save(change, &[]).await?)
}
