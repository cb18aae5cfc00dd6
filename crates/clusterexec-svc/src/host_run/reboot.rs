//! The steps `probe` and `reboot`: the boot id before, and the command.

use std::time::Duration;

use host_access::{Playbook, PlaybookError, Session, Target};
use serde_json::{Map, json};
use service_core::error::chain;
use service_core::model::{HostProgress, Outcome, Step};

use super::Trouble;
use super::asking::{Played, play_with_go_ahead};
use super::reach::{goes_down, reach, wait_until_up};
use super::settle::note_failed_units;
use crate::executor::{Execution, GiveUp, Line, Waiting};

/// How often a host is asked to reboot when the connection is lost over it.
const ASKS: usize = 3;

/// How often in succession a go-ahead may arrive too late.
const LATE: usize = 10;

/// How long the reboot playbook may take: it does not wait for the reboot.
const REBOOT_DEADLINE: Duration = Duration::from_mins(2);

/// Reads the boot id, writes it down together with the intent, and asks for the reboot. When it is not
/// certain whether the host was asked, by another executor or over a connection that was lost, the host
/// itself is looked at: it has had another boot since, or it is asked again.
pub(super) async fn probe_and_reboot(
    execution: &Execution<'_>,
    index: usize,
    target: &Target,
) -> Result<(), Trouble> {
    let mut fresh = None;
    if execution.host(index).step != Step::Reboot {
        fresh = Some(probe(execution, index, target).await?);
    }
    let before = execution.host(index).boot_id_before.unwrap_or_default();
    let earlier = execution.host(index).rebooted_at;
    let (mut lost, mut late) = (0, 0);
    while lost < ASKS && late < LATE {
        let session = if let Some(session) = fresh.take() {
            session
        } else {
            let (session, now) = wait_until_up(execution, index, target, |_| true).await?;
            if now != before {
                return rebooted(execution, index, "it has been restarted already").await;
            }
            session
        };
        execution.go_aheads.wait(index);
        match ask(execution, index, session.as_ref(), &before).await? {
            Asked::Rebooted => {
                rebooted(execution, index, "").await?;
                goes_down(session.as_ref()).await;
                return Ok(());
            }
            Asked::Lost => lost += 1,
            Asked::NotYet(waiting) => {
                // The host has confirmed that the command was not run: its deadline has not begun.
                if lost == 0 && execution.host(index).rebooted_at != earlier {
                    let change = |host: &mut HostProgress| host.rebooted_at.clone_from(&earlier);
                    execution.save(index, change, &[]).await.map_err(Trouble::Ours)?;
                }
                late = if matches!(waiting, Waiting::GoAhead(_)) { late + 1 } else { 0 };
                execution.wait_for_permit(index, waiting).await?;
                fresh = session.is_alive().await.then_some(session);
            }
        }
    }
    let address = &target.address;
    let (word, reason) = if lost == ASKS {
        let reason = format!("{address} was lost {ASKS} times while it was asked to reboot");
        ("disconnected", reason)
    } else {
        let reason = format!(
            "the go-ahead for the reboot of {address} arrived too late {LATE} times, and nothing was done \
             to it: see whether the connection or this machine is overloaded, then start again"
        );
        ("go-ahead-late", reason)
    };
    Err(GiveUp::new(word, reason).into())
}

/// Writes down that the host is restarting; it has to be proven back.
async fn rebooted(execution: &Execution<'_>, index: usize, detail: &str) -> Result<(), Trouble> {
    let now = execution.service.deps.clock.stamp();
    let change = |host: &mut HostProgress| {
        host.step = Step::Verify;
        host.rebooted_at.get_or_insert_with(|| now.clone());
    };
    let lines = [Line(Step::Reboot, Outcome::Ok, detail), Line(Step::Verify, Outcome::Started, "")];
    execution.save(index, change, &lines).await.map_err(Trouble::Ours)
}

async fn probe(
    execution: &Execution<'_>,
    index: usize,
    target: &Target,
) -> Result<Box<dyn Session>, Trouble> {
    let session = reach(execution, target).await?;
    let before = session.boot_id().await?;
    let (service, options) = (execution.service, &execution.operation.options);
    if before == service.own_boot_id && options.include_self != Some(true) {
        let reason = "it is the machine that the executor runs on, by now: see include_self";
        return Err(Trouble::Left(reason.to_owned()));
    }
    if options.if_needed == Some(true) && !session.needs_reboot().await? {
        return Err(Trouble::Left("it does not need a restart".to_owned()));
    }
    note_failed_units(execution, index, session.as_ref()).await?;
    let change = |host: &mut HostProgress| {
        host.step = Step::Reboot;
        host.boot_id_before = Some(before.clone());
    };
    let seen = format!("boot id {before}");
    let lines = [Line(Step::Probe, Outcome::Ok, &seen), Line(Step::Reboot, Outcome::Started, "")];
    execution.enter(index, change, &lines).await?;
    Ok(session)
}

/// What became of a request to reboot.
enum Asked {
    /// The host does so, or has done so.
    Rebooted,
    /// The connection was lost: it may, or may not.
    Lost,
    /// It does not: the go-ahead was not given.
    NotYet(Waiting),
}

/// Asks for the reboot, which happens only while the boot id is still the one from before, and only with a go-ahead.
async fn ask(
    execution: &Execution<'_>,
    index: usize,
    session: &dyn Session,
    before: &str,
) -> Result<Asked, Trouble> {
    let command = restart_command(execution, index).await?;
    let vars = Map::from_iter([
        ("commissaire_boot_id".to_owned(), json!(before)),
        ("commissaire_restart_command".to_owned(), json!(command)),
    ]);
    let played =
        play_with_go_ahead(execution, index, session, Playbook::Restart, &vars, REBOOT_DEADLINE);
    match played.await? {
        Played::NotYet(waiting) => Ok(Asked::NotYet(waiting)),
        Played::Ended(Err(lost @ PlaybookError::Unreachable { .. })) => {
            let detail = format!("{}; looking whether it got through", chain(&lost));
            let lines = [Line(Step::Reboot, Outcome::Failed, &detail)];
            execution.log(index, &lines).await.map_err(Trouble::Ours)?;
            Ok(Asked::Lost)
        }
        Played::Ended(result) => {
            result?;
            Ok(Asked::Rebooted)
        }
    }
}

async fn restart_command(execution: &Execution<'_>, index: usize) -> Result<&'static str, Trouble> {
    let host = execution.record_of(index).await?;
    let os = host.os.parse::<host_access::Os>().map_err(|error| {
        let address = &host.address;
        GiveUp::new("unknown-os", format!("{error}; nothing was done to {address}"))
    })?;
    Ok(os.commands("", false).restart)
}
