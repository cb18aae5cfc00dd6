//! Goes through an operation's records without its hosts: what a step costs beside what it does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use host_access::Deps;
use service_core::bus::Context;
use service_core::model::{Host, HostProgress, HostState, OperationKind, Options, Outcome, Step};
use service_core::{Error, Lifecycle, Result};

use crate::Config;
use crate::accept::Wanted;
use crate::executor::{Execution, Line, Turn};
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
