//! The step `verify`: the host is back and healthy.

use host_access::Target;
use service_core::model::{Host, HostProgress, HostState, Outcome, Step};

use super::Trouble;
use super::reach::wait_until_up;
use crate::apply::check;
use crate::executor::{Execution, Line};
use crate::health::healthy;

/// Waits until the host is back, with another boot id where it was restarted, and healthy; then writes it
/// down as done.
pub(super) async fn verify(
    execution: &Execution<'_>,
    index: usize,
    target: &Target,
) -> Result<(), Trouble> {
    let host = execution.host(index);
    let before = host.boot_id_before.unwrap_or_default();
    let (session, after) = wait_until_up(execution, index, target, |now| now != before).await?;
    let restarted = host.rebooted_at.is_some();
    if restarted {
        check(execution, index, &session).await?;
    }
    healthy(execution, index, target, session).await?;
    execution.record_of(index).await?;
    let now = execution.service.deps.clock.stamp();
    let kind = execution.operation.kind.to_string();
    let change = |host: &mut HostProgress| {
        host.step = Step::Done;
        host.finished_at = Some(now.clone());
        host.boot_id_after = restarted.then(|| after.clone());
    };
    let seen = if restarted { format!("boot id {after}") } else { String::new() };
    let lines = [Line(Step::Verify, Outcome::Ok, &seen)];
    let status = |_: &mut Host, state: &mut HostState| {
        state.saw_boot(&now, &after);
        state.operations.insert(kind.clone(), now.clone());
    };
    execution.save_with_host(index, change, &lines, status).await.map_err(Trouble::Ours)
}
