//! What an upgrade or a deployment does to a host before it is restarted, and the look at what is booted
//! afterwards.
//!
//! The playbooks never reboot by themselves here: a reboot is the executor's own step, guarded by the boot
//! id. What they do may be asked for twice.

use std::time::Duration;

use host_access::{Facts, FactsError, Playbook, Session, Summary, Target, gather};
use serde_json::{Map, Value, json};
use service_core::error::chain;
use service_core::model::{HostProgress, Operation, OperationKind, Outcome, Step};

use crate::executor::{Execution, GiveUp, Line};
use crate::restart::{Trouble, reach};

/// How long a host may take to tell its facts.
const FACTS_DEADLINE: Duration = Duration::from_secs(20);

/// How long the look at what is booted may take.
const CHECK_DEADLINE: Duration = Duration::from_mins(2);

impl From<FactsError> for GiveUp {
    fn from(error: FactsError) -> Self {
        Self::new(error.reason(), chain(&error))
    }
}

/// Upgrades the host at `index`, or stages a version on it; true when it must be restarted for that.
/// A host with packages is not: that a reboot is needed stands in the operation.
pub(crate) async fn apply(
    execution: &Execution<'_>,
    index: usize,
    target: &Target,
) -> Result<bool, Trouble> {
    let session = reach(execution, target).await?;
    let facts = gather(&session, FACTS_DEADLINE).await?;
    let (playbook, vars) = work(&execution.operation, &facts, &target.address)?;
    if execution.host(index).step != Step::Apply {
        let change = |host: &mut HostProgress| host.step = Step::Apply;
        execution.enter(index, change, &[Line(Step::Apply, Outcome::Started, "")]).await?;
    }
    let deadline = execution.service.config.apply_timeout();
    let summary = play(execution, &session, playbook, vars, deadline).await?;
    let required = reboot_required(&summary);
    let checksum = summary.data.get("commissaire_checksum").and_then(Value::as_str);
    let change = |host: &mut HostProgress| {
        host.reboot_required = required;
        host.checksum = checksum.map(str::to_owned);
    };
    let detail = if required { "a reboot is needed" } else { "" };
    let lines = [Line(Step::Apply, Outcome::Ok, detail)];
    execution.save(index, change, &lines).await.map_err(Trouble::Ours)?;
    Ok(required && facts.ostree)
}

/// Makes sure that what was staged is what is booted.
pub(crate) async fn check(
    execution: &Execution<'_>,
    index: usize,
    session: &Session,
) -> Result<(), Trouble> {
    let operation = &execution.operation;
    let (playbook, vars) = match operation.kind {
        OperationKind::Restart => return Ok(()),
        OperationKind::Upgrade => {
            let checksum = execution.host(index).checksum.unwrap_or_default();
            (Playbook::Upgrade, vars("commissaire_expected_checksum", &checksum))
        }
        OperationKind::Deploy => {
            (Playbook::Deploy, vars("commissaire_deploy_version", &operation.version))
        }
    };
    let summary = play(execution, session, playbook, vars, CHECK_DEADLINE).await?;
    if operation.kind == OperationKind::Deploy && reboot_required(&summary) {
        let (address, version) = (session.address(), &operation.version);
        let reason = format!("{address} was restarted, but {version} is not what it has booted");
        return Err(GiveUp::new("not-booted", reason).into());
    }
    let change = |host: &mut HostProgress| host.reboot_required = false;
    execution.save(index, change, &[]).await.map_err(Trouble::Ours)
}

/// The playbook and its variables; a refusal when this cannot be done to such a host.
fn work(
    operation: &Operation,
    facts: &Facts,
    address: &str,
) -> Result<(Playbook, Map<String, Value>), GiveUp> {
    if operation.kind == OperationKind::Upgrade {
        let command = facts.os.commands(&facts.version, facts.ostree).upgrade;
        return Ok((Playbook::Upgrade, vars("commissaire_upgrade_command", command)));
    }
    if !facts.ostree {
        let reason = format!(
            "{address} is no OSTree host: a version can be deployed on those only, and nothing was done to it"
        );
        return Err(GiveUp::new("not-ostree", reason));
    }
    Ok((Playbook::Deploy, vars("commissaire_deploy_version", &operation.version)))
}

fn vars(name: &str, value: &str) -> Map<String, Value> {
    Map::from_iter([
        (name.to_owned(), json!(value)),
        ("commissaire_reboot".to_owned(), json!("never")),
    ])
}

async fn play(
    execution: &Execution<'_>,
    session: &Session,
    playbook: Playbook,
    vars: Map<String, Value>,
    deadline: Duration,
) -> Result<Summary, Trouble> {
    execution.held.check().map_err(Trouble::Ours)?;
    let deps = &execution.service.deps;
    let log = |event: host_access::TaskEvent| {
        let (task, outcome) = (event.task, event.outcome);
        tracing::debug!(host.address = session.address(), task, ?outcome, "task");
    };
    Ok(deps.ansible.run(&deps.run_dir, session, playbook, &vars, deadline, log).await?)
}

fn reboot_required(summary: &Summary) -> bool {
    summary.data.get("commissaire_reboot_required") == Some(&Value::Bool(true))
}
