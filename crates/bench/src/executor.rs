//! Drives parts of the executor: what a step costs beside its effect, and how fast a go-ahead is.

use std::time::Duration;

use bus::{Error, Result};
use clusterexec_svc::Config;
use clusterexec_svc::accept::{OperationRequest, begin, plan};
use clusterexec_svc::budget::{Budget, Decision};
use clusterexec_svc::context::Context;
use clusterexec_svc::journal::{Journal, LogLine};
use clusterexec_svc::ports::FRESH;
use clusterexec_svc::rollout::{Action, next_action};
use clusterexec_svc::schedule::{Next, next};
use clusterexec_svc::web::Web;
use host_access::{Claim, ClaimMode, Deps, Mark, Playbook, Session};
use model::{
    Host, HostState, LeasePurpose, Limit, Operation, OperationHost, OperationKind, Options,
    Outcome, Step,
};
use runtime::{Lifecycle, random};
use serde_json::{Map, Value, json};
use storage_client::lease::Held;
use tokio::time::Instant;

/// The boot id of the controller's own machine; no host has it.
const OWN_BOOT_ID: &str = "no machine";

/// Accepts a restart of the cluster, and takes its first `hosts` hosts from their turns to their ends. Returns the time
/// of the acceptance, and of the decisions and writes for each host. The hosts have to accept connections; nothing else
/// is done to them.
///
/// # Errors
/// When the operation is rejected, or the storage service fails.
pub(crate) async fn steps(
    deps: Deps,
    config: Config,
    cluster: &str,
    hosts: usize,
    lifecycle: &Lifecycle,
) -> Result<(Duration, Vec<Duration>)> {
    let context = Context::new(deps, config, Web::network()?, OWN_BOOT_ID.to_owned(), lifecycle)?;
    let begun = Instant::now();
    let (held, operation) = accept(&context, cluster, Options::default()).await?;
    let accepted = begun.elapsed();
    let journal = Journal::new(&context, &held, operation);
    let budget = Budget::new(&journal);
    let mut took = Vec::with_capacity(hosts);
    for _ in 0..hosts {
        // A reboot takes longer than that, so that all members are connected to before each host.
        tokio::time::sleep(FRESH).await;
        let begun = Instant::now();
        one_host(&journal, &budget).await?;
        took.push(begun.elapsed());
    }
    Ok((accepted, took))
}

/// Accepts a restart of the cluster.
async fn accept(context: &Context, cluster: &str, options: Options) -> Result<(Held, Operation)> {
    let request = OperationRequest {
        cluster: cluster.into(),
        kind: OperationKind::Restart,
        version: String::new(),
        options,
        continues: None,
    };
    let mut plan = plan(context, &request).await?;
    if let Some(refused) = plan.refused.take() {
        return Err(refused.error);
    }
    let now = context.deps.clock.stamp();
    let operation = plan.operation("measured", &request, &bus::Context::service("bench"), now);
    let held = begin(context, plan, &operation, None).await?;
    Ok((held, operation))
}

/// Starts the host whose turn it is; its index.
async fn start(journal: &Journal<'_>, budget: &Budget<'_>) -> Result<usize> {
    let Action::Start(index, preconditions) = next_action(journal, budget).await? else {
        return Err(Error::internal("the disruption budget has no place for the host"));
    };
    journal.start(index, &preconditions).await?;
    Ok(index)
}

async fn one_host(journal: &Journal<'_>, budget: &Budget<'_>) -> Result<()> {
    let index = start(journal, budget).await?;
    for step in [Step::Reboot, Step::Verify] {
        let change = |host: &mut OperationHost| host.step = step;
        journal.save(index, change, &[LogLine(step, Outcome::Started, "")]).await?;
    }
    let change = |host: &mut OperationHost| host.step = Step::Done;
    let status = |_: &mut Host, state: &mut HostState| state.saw_boot(&"".into(), "another");
    let lines = [LogLine(Step::Verify, Outcome::Ok, "")];
    journal.save_with_host(index, change, &lines, status).await
}

/// What an operation with records, and nothing else, is carried out with.
#[derive(Debug)]
pub struct Recorded {
    context: Context,
    held: Held,
    operation: Operation,
}

/// A restart of so many hosts that have no records of their own: what its steps cost without the look at them.
///
/// # Errors
/// When the storage service fails.
pub async fn recorded(deps: Deps, hosts: usize, lifecycle: &Lifecycle) -> Result<Recorded> {
    let (config, web, own) = (Config::default(), Web::network()?, OWN_BOOT_ID.to_owned());
    let now = deps.clock.stamp();
    let context = Context::new(deps, config, web, own, lifecycle)?;
    let addresses: Vec<_> = (0..hosts).map(|host| format!("h{host}")).collect();
    let operation = json!({
        "id": "measured", "cluster": "c1", "kind": "restart", "started_at": now, "hosts": addresses,
    });
    let operation = serde_json::from_value(operation)
        .map_err(|error| Error::internal("no operation").with_source(error))?;
    let held = context.leases.try_acquire(&LeasePurpose::Operation("c1").name()).await?;
    let held = held.ok_or_else(|| Error::internal("the lease is held"))?;
    Ok(Recorded { context, held, operation })
}

impl Recorded {
    /// The journal of the operation.
    pub fn journal(&self) -> Journal<'_> {
        Journal::new(&self.context, &self.held, self.operation.clone())
    }

    /// Plans and saves the steps of the first `hosts` hosts.
    ///
    /// # Errors
    /// When the storage service fails.
    pub async fn save_steps(&self, journal: &Journal<'_>, hosts: usize) -> Result<()> {
        for _ in 0..hosts {
            let turn = journal.by_steps(|steps| next(&self.operation, steps, 1));
            let Next::Turn(index) = turn else {
                return Err(Error::internal("it is no host's turn"));
            };
            for step in [Step::Probe, Step::Reboot, Step::Verify] {
                let change = |host: &mut OperationHost| host.step = step;
                journal.save(index, change, &[LogLine(step, Outcome::Started, "")]).await?;
            }
            let change = |host: &mut OperationHost| host.step = Step::Done;
            let status =
                |_: &mut Host, state: &mut HostState| state.saw_boot(&"".into(), "another");
            let lines = [LogLine(Step::Verify, Outcome::Ok, "")];
            journal.save_with_host(index, change, &lines, status).await?;
        }
        Ok(())
    }
}

/// The file that the command writes instead of a reboot.
const MARK: &str = "/tmp/commissaire-window";

/// Timeout of a playbook and of a command.
const DEADLINE: Duration = Duration::from_mins(1);

/// The measurement of [`window`].
#[derive(Debug, Default)]
pub(crate) struct Windows {
    /// How long after the end of the last look each command ran.
    pub(crate) ran: Vec<Duration>,
    /// How many go-aheads arrived too late, and were rejected by the host.
    pub(crate) late: usize,
}

/// Runs a command on the session's host `rounds` times as a reboot is run, and measures by the host's uptime how long
/// after the decision it ran. One more member of the cluster may be unavailable. A command whose go-ahead the host
/// rejects as late does not run, and is repeated.
///
/// # Errors
/// When the operation is refused, a go-ahead is not given, more of them arrive too late than in time, or the host does
/// not answer.
pub(crate) async fn window(
    deps: Deps,
    cluster: &str,
    session: &dyn Session,
    rounds: usize,
    lifecycle: &Lifecycle,
) -> Result<Windows> {
    let (config, web, own) = (Config::default(), Web::network()?, OWN_BOOT_ID.to_owned());
    let context = Context::new(deps, config, web, own, lifecycle)?;
    let options = Options {
        max_unavailable: Some(Limit::Count(2)),
        hosts: Some(vec![session.address().to_owned()]),
        ..Options::default()
    };
    let (held, operation) = accept(&context, cluster, options).await?;
    let journal = Journal::new(&context, &held, operation);
    let budget = Budget::new(&journal);
    let index = start(&journal, &budget).await?;
    let mut windows = Windows::default();
    while windows.ran.len() < rounds {
        match one_window(&budget, index, session).await? {
            Some(took) => windows.ran.push(took),
            None => windows.late += 1,
        }
        if windows.late > rounds {
            return Err(Error::internal("the host rejects most go-aheads as late"));
        }
    }
    Ok(windows)
}

/// One measurement; `None` if the go-ahead arrived too late.
async fn one_window(
    budget: &Budget<'_>,
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
    let mark = Mark { generation: 1, id: "bench".to_owned(), signature: "AAAA".to_owned() };
    let claim = Claim { instance: "bench".to_owned(), mark, mode: ClaimMode::Take };
    let mut ignore = |_| {};
    let run = session.play(Playbook::Restart, &vars, DEADLINE, &mut ignore);
    let give = async {
        let answering = budget.answering().await?;
        let mut channel = session.go_ahead(name).await.map_err(on_host)?;
        let uptime = channel.uptime().await.map_err(on_host)?;
        let Decision::Go(decided) = budget.decide(index, &answering).await? else {
            return Err(Error::internal("the go-ahead is refused"));
        };
        channel.give(uptime, decided, &claim).await.map_err(on_host)?;
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
