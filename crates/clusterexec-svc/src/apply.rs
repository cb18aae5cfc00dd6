//! What an upgrade or a deployment does to a host before it is restarted, and the look at what is booted
//! afterwards.
//!
//! The playbooks never reboot by themselves here: a reboot is the executor's own step, guarded by the boot
//! id. What takes long they run as a unit on the host, named after operation and step: it goes on when the
//! connection is lost or this process dies, and whoever asks for it again waits for it and has its result.

use std::time::Duration;

use host_access::{
    AccessError, Facts, FactsError, Playbook, PlaybookError, Session, Summary, Target,
};
use serde_json::{Map, Value, json};
use service_core::error::chain;
use service_core::model::{HostProgress, Operation, OperationKind, Outcome, RebootWhen, Step};
use tokio::time::Instant;

use crate::executor::{Execution, GiveUp, Line};
use crate::host_run::{
    Played, Trouble, note_failed_units, play_with_go_ahead, reach, run_playbook,
};

pub(crate) mod report;

/// How long a host may take to tell its facts.
const FACTS_DEADLINE: Duration = Duration::from_secs(20);

/// How long the look at what is booted may take.
const CHECK_DEADLINE: Duration = Duration::from_mins(2);

/// The pause between tries to reach a host that was lost meanwhile.
const REACH_AGAIN: Duration = Duration::from_secs(2);

impl From<FactsError> for GiveUp {
    fn from(error: FactsError) -> Self {
        Self::new(error.reason(), chain(&error))
    }
}

/// What is to be played on a host.
#[derive(Debug)]
struct Work {
    playbook: Playbook,
    vars: Map<String, Value>,
}

/// Upgrades the host at `index`, or stages a version on it; true when it must be restarted for that.
pub(crate) async fn apply(
    execution: &Execution<'_>,
    index: usize,
    target: &Target,
) -> Result<bool, Trouble> {
    let session = reach(execution, target).await?;
    let facts = session.facts(FACTS_DEADLINE).await?;
    let work = work(&execution.operation, &facts, &target.address)?;
    if execution.host(index).step != Step::Apply {
        note_failed_units(execution, index, session.as_ref()).await?;
        let change = |host: &mut HostProgress| host.step = Step::Apply;
        execution.enter(index, change, &[Line(Step::Apply, Outcome::Started, "")]).await?;
    }
    let summary = play_to_the_end(execution, index, target, session, &work).await?;
    let result = report::result(&summary.data);
    let option = execution.operation.options.reboot;
    let reboots = reboots(facts.ostree, option, result.reboot_required);
    let change = |host: &mut HostProgress| host.result = Some(result.clone());
    let done = result.to_string();
    let lines = [Line(Step::Apply, Outcome::Ok, &done)];
    execution.save(index, change, &lines).await.map_err(Trouble::Ours)?;
    Ok(reboots)
}

/// Whether a host is to be restarted after an upgrade or a deployment. Without an option, an OSTree host
/// is when that is needed, since nothing has changed on it before, and a host with packages is not.
pub(crate) fn reboots(ostree: bool, option: Option<RebootWhen>, required: bool) -> bool {
    let default = if ostree { RebootWhen::IfNeeded } else { RebootWhen::Never };
    match option.unwrap_or(default) {
        RebootWhen::Never => false,
        RebootWhen::IfNeeded => required,
        RebootWhen::Always => true,
    }
}

/// Makes sure, after the restart, that what was staged is what is booted.
pub(crate) async fn check(
    execution: &Execution<'_>,
    index: usize,
    session: &dyn Session,
) -> Result<(), Trouble> {
    let operation = &execution.operation;
    let result = execution.host(index).result.unwrap_or_default();
    // A host with packages has no more to show than its new boot id.
    if let Some(checksum) = result.checksum() {
        let expected = ("commissaire_expected_checksum", checksum);
        let work = match operation.kind {
            OperationKind::Restart => return Ok(()),
            OperationKind::Upgrade => Work::new(Playbook::Upgrade, operation, &[expected]),
            OperationKind::Deploy => deployment(operation),
        };
        let summary = play(execution, index, session, &work, CHECK_DEADLINE).await?;
        let summary = summary.map_err(|error| gave_up(execution, session.address(), &error))?;
        if operation.kind == OperationKind::Deploy && report::result(&summary.data).reboot_required
        {
            let (address, version) = (session.address(), &operation.version);
            let reason =
                format!("{address} was restarted, but {version} is not what it has booted");
            return Err(GiveUp::new("not-booted", reason).into());
        }
    }
    let change = |host: &mut HostProgress| {
        if let Some(result) = &mut host.result {
            result.reboot_required = false;
        }
    };
    execution.save(index, change, &[]).await.map_err(Trouble::Ours)
}

/// What is to be done; a refusal when this cannot be done to such a host.
fn work(operation: &Operation, facts: &Facts, address: &str) -> Result<Work, GiveUp> {
    if operation.kind == OperationKind::Upgrade {
        let commands = facts.os.commands(&facts.version, facts.ostree);
        let vars = [
            // Without its own step, fetching the lists is part of the upgrade.
            ("commissaire_refresh_command", commands.refresh.unwrap_or("true")),
            ("commissaire_upgrade_command", commands.upgrade),
            ("commissaire_recover_command", commands.recover.unwrap_or_default()),
        ];
        return Ok(Work::new(Playbook::Upgrade, operation, &vars));
    }
    if !facts.ostree {
        let reason = format!(
            "{address} is no OSTree host: a version can be deployed on those only, and nothing was done to it"
        );
        return Err(GiveUp::new("not-ostree", reason));
    }
    Ok(deployment(operation))
}

fn deployment(operation: &Operation) -> Work {
    Work::new(Playbook::Deploy, operation, &[("commissaire_deploy_version", &operation.version)])
}

/// The name of the unit that runs on each host of an operation.
fn unit(operation: &Operation) -> String {
    format!("commissaire-{}-{}", operation.id, Step::Apply)
}

impl Work {
    fn new(playbook: Playbook, operation: &Operation, own: &[(&str, &str)]) -> Self {
        let unit = unit(operation);
        let shared = [("commissaire_reboot", "never"), ("commissaire_unit", unit.as_str())];
        let vars = own.iter().chain(&shared);
        let vars = vars.map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        Self { playbook, vars }
    }
}

/// Plays what takes long, over as many connections as that takes.
async fn play_to_the_end(
    execution: &Execution<'_>,
    index: usize,
    target: &Target,
    mut session: Box<dyn Session>,
    work: &Work,
) -> Result<Summary, Trouble> {
    let mut deadline = Instant::now() + execution.service.config.apply_timeout();
    loop {
        // After a host was away, its result is worth a look in any case.
        let left = deadline.saturating_duration_since(Instant::now()).max(CHECK_DEADLINE);
        let Work { playbook, vars } = work;
        let played =
            play_with_go_ahead(execution, index, session.as_ref(), *playbook, vars, left).await?;
        let error = match played {
            Played::Ended(Ok(summary)) => return Ok(summary),
            Played::Ended(Err(error)) => error,
            // Nothing has begun, so its time has not either.
            Played::NotYet(waiting) => {
                execution.wait_for_permit(index, waiting).await?;
                deadline = Instant::now() + execution.service.config.apply_timeout();
                if !session.is_alive().await {
                    session = reach(execution, target).await?;
                }
                continue;
            }
        };
        let lost = match &error {
            PlaybookError::Unreachable { .. } => true,
            PlaybookError::Access(error) => error.heals(),
            _ => false,
        };
        if !lost || Instant::now() >= deadline {
            return Err(gave_up(execution, &target.address, &error).into());
        }
        let detail = format!("{}; it goes on by itself, and is asked again", chain(&error));
        let lines = [Line(Step::Apply, Outcome::Failed, &detail)];
        execution.log(index, &lines).await.map_err(Trouble::Ours)?;
        session = reach_again(execution, target).await.map_err(|error| {
            let (address, unit) = (&target.address, unit(&execution.operation));
            let reason = format!(
                "{address} was lost in the middle of it: {}; it may go on there: look at its console, \
                 and at `journalctl --unit {unit}` on it, before the {} is started again",
                chain(&error),
                noun(execution.operation.kind),
            );
            GiveUp { seen_key: error.seen_key().unwrap_or_default().to_owned(), ..GiveUp::new(error.reason(), reason) }
        })?;
    }
}

/// Logs in to a host again that was lost, which may be about to boot, for as long as a reboot may take.
async fn reach_again(
    execution: &Execution<'_>,
    target: &Target,
) -> Result<Box<dyn Session>, AccessError> {
    let deadline = Instant::now() + execution.service.config.verify_timeout();
    loop {
        match reach(execution, target).await {
            Ok(session) => return Ok(session),
            Err(error @ AccessError::KeyChanged { .. }) => return Err(error),
            // Refused log-ins included: while it boots a host may let nobody in.
            Err(error) if Instant::now() >= deadline => return Err(error),
            Err(_) => tokio::time::sleep(REACH_AGAIN).await,
        }
    }
}

/// Plays it once.
async fn play(
    execution: &Execution<'_>,
    index: usize,
    session: &dyn Session,
    work: &Work,
    deadline: Duration,
) -> Result<Result<Summary, PlaybookError>, Trouble> {
    execution.held.check().map_err(Trouble::Ours)?;
    let Work { playbook, vars } = work;
    run_playbook(execution, index, session, *playbook, vars, deadline).await
}

/// What an operator reads about a playbook that failed: where, why, and what to do.
fn gave_up(execution: &Execution<'_>, address: &str, error: &PlaybookError) -> GiveUp {
    let operation = &execution.operation;
    let (unit, noun) = (unit(operation), noun(operation.kind));
    let what_next = match error {
        PlaybookError::Failed { .. } => {
            format!("; once the cause is gone, start the {noun} again")
        }
        PlaybookError::Timeout { .. } => format!(
            "; it goes on there: look at it with `systemctl status {unit}` on the host, and start the {noun} \
             again when it has ended"
        ),
        _ => String::new(),
    };
    let reason = format!("the {noun} of {address} failed: {}{what_next}", chain(error));
    GiveUp::new(error.reason(), reason)
}

fn noun(kind: OperationKind) -> &'static str {
    match kind {
        OperationKind::Restart => "restart",
        OperationKind::Upgrade => "upgrade",
        OperationKind::Deploy => "deployment",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_restarted_when_that_is_asked_for_or_its_tree_needs_it() {
        use RebootWhen::{Always, IfNeeded, Never};
        for (ostree, option, required, expected) in [
            (true, None, true, true),
            (true, None, false, false),
            (false, None, true, false),
            (false, None, false, false),
            (true, Some(Never), true, false),
            (false, Some(IfNeeded), true, true),
            (false, Some(IfNeeded), false, false),
            (false, Some(Always), false, true),
            (true, Some(Always), false, true),
        ] {
            assert_eq!(
                reboots(ostree, option, required),
                expected,
                "{ostree} {option:?} {required}"
            );
        }
    }
}
