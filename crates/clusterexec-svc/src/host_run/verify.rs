//! The step `verify`: the host is back and healthy. What follows is the step `settle`.

use host_access::Target;
use service_core::model::{Host, HostProgress, HostState, Outcome, Step};

use super::Trouble;
use super::reach::wait_until_up;
use super::settle::{Settled, settle};
use crate::apply::check;
use crate::executor::{Execution, Line};
use crate::health::healthy;

/// Waits until the host is back, with another boot id where it was restarted, and healthy, and has stayed up; then
/// writes it down as done. One that reboots while it settles has to be verified again.
pub(super) async fn verify(
    execution: &Execution<'_>,
    index: usize,
    target: &Target,
) -> Result<(), Trouble> {
    let before = execution.host(index).boot_id_before;
    let restarted = before.is_some();
    let before = before.unwrap_or_default();
    loop {
        let (session, after) = wait_until_up(execution, index, target, |now| now != before).await?;
        if restarted {
            check(execution, index, session.as_ref()).await?;
        }
        let session = healthy(execution, index, target, session).await?;
        match settle(execution, index, target, session, &after).await? {
            Settled::Up(lines) => return done(execution, index, &after, restarted, &lines).await,
            Settled::Rebooted(detail) => {
                let lines = [Line(Step::Settle, Outcome::Failed, &detail)];
                execution.log(index, &lines).await.map_err(Trouble::Ours)?;
            }
        }
    }
}

/// Writes the host down as done.
async fn done(
    execution: &Execution<'_>,
    index: usize,
    after: &str,
    restarted: bool,
    failed_units: &[String],
) -> Result<(), Trouble> {
    execution.record_of(index).await?;
    let now = execution.service.deps.clock.stamp();
    let kind = execution.operation.kind.to_string();
    let change = |host: &mut HostProgress| {
        host.step = Step::Done;
        host.finished_at = Some(now.clone());
        host.boot_id_after = restarted.then(|| after.to_owned());
        if !failed_units.is_empty() {
            host.result.get_or_insert_default().failed_units = failed_units.to_vec();
        }
    };
    let mut seen = if restarted { format!("boot id {after}") } else { String::new() };
    if !failed_units.is_empty() {
        let units = failed_units.join(", ");
        let separator = if seen.is_empty() { "" } else { "; " };
        seen = format!("{seen}{separator}units that have failed since: {units}");
    }
    let step = execution.host(index).step;
    let lines = [Line(step, Outcome::Ok, &seen)];
    let status = |_: &mut Host, state: &mut HostState| {
        state.saw_boot(&now, after);
        state.operations.insert(kind.clone(), now.clone());
    };
    execution.save_with_host(index, change, &lines, status).await.map_err(Trouble::Ours)
}
