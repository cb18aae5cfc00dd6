//! Whose turn it is, in which order, and within which disruption budget. Pure: it decides by its arguments alone.

use std::collections::HashSet;

use model::{
    Address, FailureReason, Host, HostState, Operation, OperationStatus, Order, Stamp, Status,
    abridged,
};

use crate::steps::Steps;

/// Codes of failures after which a host is still reachable: it is unhealthy, and a restart of it takes nothing away.
const REACHABLE: [FailureReason; 7] = [
    FailureReason::UnknownOs,
    FailureReason::NoFacts,
    FailureReason::BootstrapImpossible,
    FailureReason::PlaybookFailed,
    FailureReason::NoPython,
    FailureReason::NoSudo,
    FailureReason::DiskFull,
];

/// The next action of an operation.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// It is the turn of the host at this index, if the disruption budget allows it.
    Turn(usize),
    /// Wait for the end of a host under way.
    Wait,
    /// Pause the operation: only hosts are left that were postponed too often.
    Pause,
    /// End the operation.
    End(OperationStatus),
}

/// The next action, by the steps of the hosts; at most `parallel` hosts are under way at a time.
///
/// The first healthy host is the canary: no other host is under way with it. When more hosts have failed than are
/// tolerated, no further host is started.
pub fn next(operation: &Operation, steps: &Steps, parallel: usize) -> Next {
    let (under_way, failed) = (steps.under_way(), steps.failed());
    let turn = steps.turn().filter(|_| failed <= operation.options.tolerated());
    let Some(index) = turn else {
        let is_stopped = failed > operation.options.tolerated();
        return match (under_way, failed) {
            (1.., _) => Next::Wait,
            _ if !is_stopped && !steps.exhausted().is_empty() => Next::Pause,
            (0, 0) => Next::End(OperationStatus::Finished),
            (0, _) => Next::End(OperationStatus::Failed),
        };
    };
    if under_way >= parallel.max(1) || (steps.is_canary(index) && under_way > 0) {
        return Next::Wait;
    }
    Next::Turn(index)
}

/// Why the disruption budget has no place for the host with the address `turn`, if so: the message is empty if only
/// hosts under way use the budget up. Those in `holding` hold a place.
pub(crate) fn over_budget(
    turn: &str,
    holding: &[&str],
    members: &[Member],
    budget: usize,
) -> Option<String> {
    let unavailable: Vec<&Member> = members
        .iter()
        .filter(|member| member.availability == Availability::Unavailable)
        .filter(|member| !holding.contains(&member.address.as_str()))
        .collect();
    let addresses: Vec<&str> = unavailable.iter().map(|member| member.address.as_str()).collect();
    if fits(turn, holding, &addresses, budget) {
        return None;
    }
    if unavailable.is_empty() {
        return Some(String::new());
    }
    let reasons = unavailable.iter().map(|m| format!("{} ({})", m.address, m.reason));
    Some(format!(
        "at most {budget} may be unavailable at a time, and these are: {}",
        abridged(reasons, ", ")
    ))
}

/// Whether the host `turn` may become unavailable beside those that hold a place and those that are unavailable for
/// other reasons. A host that is unavailable already takes no further place.
fn fits(turn: &str, holding: &[&str], unavailable: &[&str], budget: usize) -> bool {
    let all: HashSet<&str> = holding.iter().chain(unavailable).copied().chain([turn]).collect();
    all.len() <= budget
}

/// Whether a host can be worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Availability {
    /// It has failed, but is reachable: it goes first, since that takes nothing away.
    Unhealthy,
    /// It is healthy.
    Healthy,
    /// It counts as unavailable.
    Unavailable,
}

/// Whether a host can be worked on, by its records.
pub(crate) fn availability(host: Option<&Host>, state: Option<&HostState>) -> Availability {
    match host.map(|host| host.status) {
        Some(Status::Active | Status::Disassociated) => Availability::Healthy,
        Some(Status::Failed) if state.is_some_and(is_reachable) => Availability::Unhealthy,
        _ => Availability::Unavailable,
    }
}

fn is_reachable(state: &HostState) -> bool {
    FailureReason::from_word(&state.reason).is_some_and(|reason| REACHABLE.contains(&reason))
}

/// A member of a cluster.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) address: Address,
    pub(crate) availability: Availability,
    /// Why it is unavailable; else empty.
    pub(crate) reason: String,
    /// Its boot id by the last check of the watcher; empty if there was none.
    pub(crate) boot_id: String,
    /// Its machine id by its investigation; empty if that is not known.
    pub(crate) machine_id: String,
    /// Whether it ran a kubelet then.
    pub(crate) runs_kubelet: bool,
    /// Services that rebooted it by themselves then.
    pub(crate) rebooters: Vec<String>,
    /// Whether the executor runs on it.
    pub(crate) is_self: bool,
    /// When the last operation of the same kind was done on it; empty for never.
    pub(crate) last_done: Stamp,
}

/// Sorts members by their turns: by their `place`; those with the same place first the unhealthy, then the healthy by
/// `by`, then the unavailable. The machine that the executor runs on is the last.
pub(crate) fn order(members: &mut [Member], by: Order, place: impl Fn(&str) -> u8) {
    members.sort_by(|a, b| {
        let place = |member: &Member| (member.is_self, place(&member.address), member.availability);
        let recent = match by {
            Order::Name => std::cmp::Ordering::Equal,
            Order::LeastRecent => a.last_done.cmp(&b.last_done),
        };
        place(a).cmp(&place(b)).then(recent).then_with(|| a.address.cmp(&b.address))
    });
}

#[cfg(test)]
mod tests;
