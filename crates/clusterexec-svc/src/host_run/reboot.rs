//! The step `reboot`: the command, with its go-ahead.

use std::time::Duration;

use bus::error::chain;
use host_access::{Playbook, PlaybookError, Session};
use model::{FailureReason, OperationHost, Outcome, Step};
use serde_json::{Map, json};

use super::boot::{shutdown, wait_until_up};
use super::go_ahead::{Late, Played, play_with_go_ahead, wait_for_turn};
use super::host::HostRun;
use crate::host_error::{HostError, HostFailure};
use crate::journal::LogLine;
use crate::waiting::Waiting;

/// How often a host is asked to reboot if the connection is lost each time.
const ATTEMPTS: usize = 3;

/// Timeout of the playbook, which does not wait for the reboot.
const TIMEOUT: Duration = Duration::from_mins(2);

/// Asks the host to reboot, and saves the step `verify`. If it is uncertain whether the host was asked before, by another
/// executor or over a connection that was lost, its boot id decides: the host was restarted, or it is asked again.
pub(super) async fn reboot(run: &mut HostRun<'_>) -> Result<(), HostError> {
    let mut probed = run.session.take();
    let before = run.part().boot_id_before.unwrap_or_default();
    let earlier = run.part().rebooted_at;
    let (mut lost, mut late) = (0, Late::default());
    while lost < ATTEMPTS {
        let session = if let Some(session) = probed.take() {
            session
        } else {
            let (session, boot_id) = wait_until_up(run, |_| true).await?;
            if boot_id != before {
                return save_rebooted(run, "it has been restarted already").await;
            }
            session
        };
        run.budget.wait(run.index);
        match ask(run, session.as_ref(), &before).await? {
            Asked::Rebooted => {
                save_rebooted(run, "").await?;
                shutdown(session.as_ref()).await;
                return Ok(());
            }
            Asked::Lost => lost += 1,
            Asked::NotYet(reason) => {
                // The host has confirmed that the command did not run, so the time for the reboot has not begun.
                if lost == 0 && run.part().rebooted_at != earlier {
                    run.save(|host| host.rebooted_at.clone_from(&earlier), &[]).await?;
                }
                late.count(&reason, run)?;
                wait_for_turn(run, reason).await?;
                probed = session.is_alive().await.then_some(session);
            }
        }
    }
    let message =
        format!("{} was lost {ATTEMPTS} times while it was asked to reboot", run.address());
    Err(HostFailure::new(FailureReason::Disconnected, message).into())
}

/// Saves that the host is restarting: from now on it has to be proven back.
async fn save_rebooted(run: &HostRun<'_>, detail: &str) -> Result<(), HostError> {
    let now = run.context().deps.clock.stamp();
    let change = |host: &mut OperationHost| {
        host.step = Step::Verify;
        host.rebooted_at.get_or_insert_with(|| now.clone());
    };
    let lines =
        [LogLine(Step::Reboot, Outcome::Ok, detail), LogLine(Step::Verify, Outcome::Started, "")];
    Ok(run.save(change, &lines).await?)
}

/// The outcome of a request to reboot.
enum Asked {
    /// The host reboots, or has done so.
    Rebooted,
    /// The connection was lost: the host may reboot or not.
    Lost,
    /// The host does not reboot, since the go-ahead was not given.
    NotYet(Waiting),
}

/// Asks for the reboot, which happens only in the boot with the id `before`, and only with a go-ahead.
async fn ask(run: &HostRun<'_>, session: &dyn Session, before: &str) -> Result<Asked, HostError> {
    let vars = Map::from_iter([
        ("commissaire_boot_id".to_owned(), json!(before)),
        ("commissaire_restart_command".to_owned(), json!(restart_command(run).await?)),
    ]);
    match play_with_go_ahead(run, session, Playbook::Restart, &vars, TIMEOUT).await? {
        Played::NotYet(reason) => Ok(Asked::NotYet(reason)),
        Played::Ended(Err(lost @ PlaybookError::Unreachable { .. })) => {
            let detail = format!("{}; looking whether it got through", chain(&lost));
            run.log(&[LogLine(Step::Reboot, Outcome::Failed, &detail)]).await?;
            Ok(Asked::Lost)
        }
        Played::Ended(result) => {
            result?;
            Ok(Asked::Rebooted)
        }
    }
}

async fn restart_command(run: &HostRun<'_>) -> Result<&'static str, HostError> {
    let host = run.journal.record_of(run.index).await?;
    let os = host.os.parse::<host_access::Os>().map_err(|error| {
        let address = &host.address;
        HostFailure::new(
            FailureReason::UnknownOs,
            format!("{error}; nothing was done to {address}"),
        )
    })?;
    Ok(os.commands("", false).restart)
}
