//! The steps `probe` and `reboot`: the boot id before, and the command.

use std::time::Duration;

use host_access::{Playbook, PlaybookError, Session, Target, boot_id};
use serde_json::{Map, json};
use service_core::error::chain;
use service_core::model::{HostProgress, Outcome, Step};

use super::Trouble;
use super::reach::{goes_down, reach, wait_until_up};
use crate::executor::{Execution, GiveUp, Line};
use crate::health::needs_reboot;

/// How often a host is asked to reboot when the connection is lost over it.
const ASKS: usize = 3;

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
    for _ in 0..ASKS {
        let session = if let Some(session) = fresh.take() {
            session
        } else {
            let (session, now) = wait_until_up(execution, index, target, |_| true).await?;
            if now != before {
                let lines = [Line(Step::Reboot, Outcome::Ok, "it has been restarted already")];
                return execution.log(index, &lines).await.map_err(Trouble::Ours);
            }
            session
        };
        if ask(execution, index, session, &before).await? {
            return Ok(());
        }
    }
    let address = &target.address;
    let reason = format!("{address} was lost {ASKS} times while it was asked to reboot");
    Err(GiveUp::new("disconnected", reason).into())
}

async fn probe(
    execution: &Execution<'_>,
    index: usize,
    target: &Target,
) -> Result<Session, Trouble> {
    let session = reach(execution, target).await?;
    let before = boot_id(&session).await?;
    let (service, options) = (execution.service, &execution.operation.options);
    if before == service.own_boot_id && options.include_self != Some(true) {
        let reason = "it is the machine that the executor runs on, by now: see include_self";
        return Err(Trouble::Left(reason.to_owned()));
    }
    if options.if_needed == Some(true) && !needs_reboot(&session).await? {
        return Err(Trouble::Left("it does not need a restart".to_owned()));
    }
    let now = service.deps.clock.stamp();
    let change = |host: &mut HostProgress| {
        host.step = Step::Reboot;
        host.boot_id_before = Some(before.clone());
        host.rebooted_at = Some(now.clone());
    };
    let seen = format!("boot id {before}");
    let lines = [Line(Step::Probe, Outcome::Ok, &seen), Line(Step::Reboot, Outcome::Started, "")];
    execution.enter(index, change, &lines).await?;
    Ok(session)
}

/// Asks for the reboot, which happens only while the boot id is still the one from before; false when
/// the connection was lost over it.
async fn ask(
    execution: &Execution<'_>,
    index: usize,
    session: Session,
    before: &str,
) -> Result<bool, Trouble> {
    let service = execution.service;
    let command = restart_command(execution, index).await?;
    let vars = Map::from_iter([
        ("commissaire_boot_id".to_owned(), json!(before)),
        ("commissaire_restart_command".to_owned(), json!(command)),
    ]);
    execution.held.check().map_err(Trouble::Ours)?;
    let run = service.deps.ansible.run(
        &service.deps.run_dir,
        &session,
        Playbook::Restart,
        &vars,
        REBOOT_DEADLINE,
        |_| {},
    );
    match run.await {
        Err(lost @ PlaybookError::Unreachable { .. }) => {
            let detail = format!("{}; looking whether it got through", chain(&lost));
            let lines = [Line(Step::Reboot, Outcome::Failed, &detail)];
            execution.log(index, &lines).await.map_err(Trouble::Ours)?;
            return Ok(false);
        }
        result => result?,
    };
    let change = |host: &mut HostProgress| host.step = Step::Verify;
    let lines = [Line(Step::Reboot, Outcome::Ok, ""), Line(Step::Verify, Outcome::Started, "")];
    execution.save(index, change, &lines).await.map_err(Trouble::Ours)?;
    goes_down(&session).await;
    Ok(true)
}

async fn restart_command(execution: &Execution<'_>, index: usize) -> Result<&'static str, Trouble> {
    let host = execution.record_of(index).await?;
    let os = host.os.parse::<host_access::Os>().map_err(|error| {
        let address = &host.address;
        GiveUp::new("unknown-os", format!("{error}; nothing was done to {address}"))
    })?;
    Ok(os.commands("", false).restart)
}
