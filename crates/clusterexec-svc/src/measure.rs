//! Goes through an operation's records without its hosts: what a step costs beside what it does.

use std::sync::Arc;
use std::time::Duration;

use host_access::{Deps, Playbook, Session};
use serde_json::{Map, Value, json};
use service_core::bus::Context;
use service_core::model::{
    Host, HostProgress, HostState, Limit, OperationKind, Options, Outcome, Step,
};
use service_core::{Error, Lifecycle, Result, random};
use tokio::time::Instant;

use crate::Config;
use crate::accept::Wanted;
use crate::executor::{Decision, Execution, Line, Turn};
use crate::members::FRESH;
use crate::service::ClusterExec;

/// Accepts a restart of the cluster, and takes its first `hosts` hosts from their turns to their ends; how
/// long the acceptance took, and each host: decided and saved, step by step. Its hosts must let
/// themselves be connected to, and nothing is done to them.
///
/// # Errors
/// When the operation is refused, or the storage service does not answer.
pub async fn steps(
    deps: Deps,
    config: Config,
    cluster: &str,
    hosts: usize,
    lifecycle: &Lifecycle,
) -> Result<(Duration, Vec<Duration>)> {
    let service = Arc::new(ClusterExec::new(deps, config, "no machine".to_owned(), lifecycle));
    let wanted = Wanted {
        cluster: cluster.to_owned(),
        kind: OperationKind::Restart,
        version: String::new(),
        options: Options::default(),
        continues: None,
    };
    let begun = Instant::now();
    let mut plan = service.plan(&wanted).await?;
    if let Some(refused) = plan.refused.take() {
        return Err(refused);
    }
    let now = service.deps.clock.stamp();
    let operation = plan.operation("measured", &wanted, &Context::service("bench"), now);
    let held = service.write_down(plan, &operation, None).await?;
    let accepted = begun.elapsed();
    let execution = Execution::new(&service, &held, operation);
    let mut took = Vec::with_capacity(hosts);
    for _ in 0..hosts {
        // A host takes longer than that to reboot: all members are looked at before each.
        tokio::time::sleep(FRESH).await;
        let begun = Instant::now();
        one_host(&execution).await?;
        took.push(begun.elapsed());
    }
    Ok((accepted, took))
}

async fn one_host(execution: &Execution<'_>) -> Result<()> {
    let Turn::Start(index, pass) = execution.turn().await? else {
        return Err(Error::internal("there is no room for another host"));
    };
    execution.start(index, &pass).await?;
    for step in [Step::Reboot, Step::Verify] {
        let change = |host: &mut HostProgress| host.step = step;
        execution.save(index, change, &[Line(step, Outcome::Started, "")]).await?;
    }
    let change = |host: &mut HostProgress| host.step = Step::Done;
    let status = |_: &mut Host, state: &mut HostState| state.saw_boot("", "another");
    let lines = [Line(Step::Verify, Outcome::Ok, "")];
    execution.save_with_host(index, change, &lines, status).await
}

/// What a command writes when it runs, instead of a reboot.
const MARK: &str = "/tmp/commissaire-window";

/// How long a playbook and a command may take.
const DEADLINE: Duration = Duration::from_mins(1);

/// What [`window`] has measured.
#[derive(Debug, Default)]
pub struct Windows {
    /// How long after the end of the last look each command ran.
    pub ran: Vec<Duration>,
    /// How many go-aheads arrived too late, and were rejected by the host.
    pub late: usize,
}

/// Has a command run on the session's host `rounds` times as a reboot is: how long after the end of the last look at the
/// members of the cluster, of which one may be unavailable beside the first, it ran, by the host's uptime. A command
/// whose go-ahead the host rejects does not run, and is tried again.
///
/// # Errors
/// When the operation is refused, a go-ahead is not given, more of them arrive too late than in time, or the host does
/// not answer.
pub async fn window(
    deps: Deps,
    cluster: &str,
    session: &dyn Session,
    rounds: usize,
    lifecycle: &Lifecycle,
) -> Result<Windows> {
    let (config, own) = (Config::default(), "no machine".to_owned());
    let service = Arc::new(ClusterExec::new(deps, config, own, lifecycle));
    let options = Options {
        max_unavailable: Some(Limit::Count(2)),
        hosts: Some(vec![session.address().to_owned()]),
        ..Options::default()
    };
    let (cluster, version) = (cluster.to_owned(), String::new());
    let wanted =
        Wanted { cluster, kind: OperationKind::Restart, version, options, continues: None };
    let plan = service.plan(&wanted).await?;
    let now = service.deps.clock.stamp();
    let operation = plan.operation("measured", &wanted, &Context::service("bench"), now);
    let held = service.write_down(plan, &operation, None).await?;
    let execution = Execution::new(&service, &held, operation);
    let Turn::Start(index, pass) = execution.turn().await? else {
        return Err(Error::internal("there is no room for the host"));
    };
    execution.start(index, &pass).await?;
    let mut windows = Windows::default();
    while windows.ran.len() < rounds {
        match one_window(&execution, index, session).await? {
            Some(took) => windows.ran.push(took),
            None => windows.late += 1,
        }
        if windows.late > rounds {
            return Err(Error::internal("the host rejects most go-aheads as late"));
        }
    }
    Ok(windows)
}

/// One of them; `None` when the go-ahead arrived too late.
async fn one_window(
    execution: &Execution<'_>,
    index: usize,
    session: &dyn Session,
) -> Result<Option<Duration>> {
    let on_host = |error| Error::internal("the host does not answer").with_source(error);
    let name = random::uuid();
    let vars = Map::from_iter([
        ("commissaire_boot_id".to_owned(), json!(session.boot_id().await.map_err(on_host)?)),
        ("commissaire_go_ahead".to_owned(), json!(name.to_string())),
        ("commissaire_restart_command".to_owned(), json!(format!("cat /proc/uptime >{MARK}"))),
    ]);
    session.run_privileged(&format!("rm -f {MARK}"), DEADLINE).await.map_err(on_host)?;
    let mut ignore = |_| {};
    let run = session.play(Playbook::Restart, &vars, DEADLINE, &mut ignore);
    let give = async {
        let answering = execution.answering().await?;
        let mut channel = session.go_ahead(name).await.map_err(on_host)?;
        let uptime = channel.uptime().await.map_err(on_host)?;
        let Decision::Go(decided) = execution.decide(index, &answering).await? else {
            return Err(Error::internal("the go-ahead is refused"));
        };
        channel.give(uptime, decided).await.map_err(on_host)?;
        Ok(uptime.at(decided))
    };
    let (ran, decided) = tokio::join!(run, give);
    let ran = ran.map_err(|error| Error::internal("the playbook failed").with_source(error))?;
    let decided = decided?;
    match ran.data.get("commissaire_go_ahead").and_then(Value::as_str) {
        None => {}
        Some("late") => return Ok(None),
        Some(why) => return Err(Error::internal(format!("the go-ahead did not arrive: {why}"))),
    }
    let read = format!("until [ -s {MARK} ]; do sleep 0.01; done; cat {MARK}");
    let output = session.run_privileged(&read, DEADLINE).await.map_err(on_host)?;
    let uptime = output.stdout.split(' ').next().unwrap_or_default().replace('.', "");
    let ran = uptime.parse::<u64>().map_err(|e| Error::internal("no uptime").with_source(e))?;
    Ok(Some(Duration::from_millis(ran.saturating_sub(decided) * 10)))
}
