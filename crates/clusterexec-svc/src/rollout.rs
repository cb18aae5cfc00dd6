//! Which host's turn it is, and which hosts are fit. Pure: from records alone.

use std::collections::HashSet;

use service_core::model::{Host, HostState, Operation, OperationStatus, Order, Status, Step};

/// Reasons for which a `failed` host can still be reached: restarting it costs nothing.
const REACHABLE: [&str; 5] =
    ["unknown-os", "no-facts", "bootstrap-impossible", "playbook-failed", "no-python"];

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// The host at this index may be started, if there is room for it.
    Turn(usize),
    /// Nothing, until a host under way is done.
    Wait,
    /// The operation is at its end.
    End(OperationStatus),
}

/// What is to be done next, by where the hosts are; at most `parallel` are under way at a time.
///
/// Of a roll that may have several hosts away the first healthy one goes alone: what breaks hosts breaks
/// one. When more hosts have failed than are tolerated, no further one is started.
pub fn next(operation: &Operation, steps: &[Step], parallel: usize) -> Next {
    let count = |wanted: fn(Step) -> bool| steps.iter().filter(|step| wanted(**step)).count();
    let under_way = count(Step::is_under_way);
    let failed = count(|step| step == Step::Failed);
    let turn = steps.iter().position(|step| *step == Step::Pending);
    let turn = turn.filter(|_| failed <= operation.options.tolerated());
    let Some(index) = turn else {
        return match (under_way, failed) {
            (1.., _) => Next::Wait,
            (0, 0) => Next::End(OperationStatus::Finished),
            (0, _) => Next::End(OperationStatus::Failed),
        };
    };
    let healthy = steps.get(operation.sick..).unwrap_or_default();
    let alone = index >= operation.sick && !healthy.contains(&Step::Done);
    if under_way >= parallel.max(1) || (alone && under_way > 0) {
        return Next::Wait;
    }
    Next::Turn(index)
}

/// Whether a host may be started, where `away` are unavailable for other reasons than this operation.
/// One that is away anyway costs nothing more.
pub fn has_room(turn: &str, under_way: &[&str], away: &[&str], budget: usize) -> bool {
    let gone: HashSet<&str> = under_way.iter().chain(away).copied().chain([turn]).collect();
    gone.len() <= budget
}

/// Whether a host can be worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fitness {
    /// Sick, but reachable: goes first, since it costs nothing.
    Sick,
    /// Well.
    Well,
    /// Not to be had: counts as unavailable.
    Unavailable,
}

/// Whether a host can be worked on, by its records.
pub fn fitness(host: Option<&Host>, state: Option<&HostState>) -> Fitness {
    match host.map(|host| host.status) {
        Some(Status::Active | Status::Disassociated) => Fitness::Well,
        Some(Status::Failed)
            if state.is_some_and(|state| REACHABLE.contains(&state.reason.as_str())) =>
        {
            Fitness::Sick
        }
        _ => Fitness::Unavailable,
    }
}

/// A member of the cluster, as far as its turn depends on it.
#[derive(Debug, Clone)]
pub struct Member {
    /// Its address.
    pub address: String,
    /// Whether it can be worked on.
    pub fitness: Fitness,
    /// Why not; empty where it can.
    pub reason: String,
    /// Its boot id when it was last seen; empty where it was not.
    pub boot_id: String,
    /// Whether the executor runs on it.
    pub is_self: bool,
    /// When the same was last done to it; empty for never.
    pub last_done: String,
}

/// Puts members in the order of their turns: the sick ones first, then the healthy ones by `by`, then
/// those that cannot be reached; the executor's own machine is the very last.
pub fn order(members: &mut [Member], by: Order) {
    members.sort_by(|a, b| {
        let place = |member: &Member| (member.is_self, member.fitness);
        let recent = match by {
            Order::Name => std::cmp::Ordering::Equal,
            Order::LeastRecent => a.last_done.cmp(&b.last_done),
        };
        place(a).cmp(&place(b)).then(recent).then_with(|| a.address.cmp(&b.address))
    });
}

#[cfg(test)]
mod tests;
