//! Quorum groups: hosts such as those of an etcd or of a RabbitMQ, of which a majority has to be available over all clusters.
//! Pure.

use model::{BudgetClaim, WaitReason, abridged};

use crate::schedule::{Availability, Member};
use crate::waiting::Waiting;

/// The number of members of a group of `count` that may be unavailable at a time.
pub(crate) fn tolerated(count: usize) -> usize {
    count.saturating_sub(1) / 2
}

/// Why a member of a group may not be taken down now, beside those that are unavailable or claimed by an operation; `None`
/// if it may. One that is unavailable already takes nothing away.
pub(crate) fn wait_for(
    group: &str,
    address: &str,
    members: &[Member],
    claims: &[BudgetClaim],
    operation: &str,
) -> Option<Waiting> {
    let claim = |member: &Member| claims.iter().find(|claim| claim.address == member.address);
    let why = |member: &Member| match claim(member) {
        Some(claim) => Some(format!("operation {}", claim.operation)),
        None if member.availability == Availability::Unavailable => Some(member.reason.clone()),
        None => None,
    };
    let own = members.iter().find(|member| member.address == *address);
    if own.is_some_and(|own| own.availability == Availability::Unavailable) {
        return None;
    }
    let others = members.iter().filter(|member| member.address != *address);
    let unavailable: Vec<_> = others.filter_map(|member| Some((member, why(member)?))).collect();
    let tolerated = tolerated(members.len());
    if unavailable.len() < tolerated {
        return None;
    }
    let is_own = |member: &Member| claim(member).is_some_and(|claim| claim.operation == operation);
    if !unavailable.is_empty() && unavailable.iter().all(|(member, _)| is_own(member)) {
        return Some(Waiting::for_budget(String::new()));
    }
    let names = unavailable.iter().map(|(member, why)| format!("{} ({why})", member.address));
    let message = format!(
        "at most {tolerated} of the {} hosts of the quorum group {group} may be unavailable at a time, and these \
         are: {}",
        members.len(),
        abridged(names, ", ")
    );
    let is_for_operations =
        !unavailable.is_empty() && unavailable.iter().all(|(member, _)| claim(member).is_some());
    Some(Waiting { is_for_operations, ..Waiting::new(WaitReason::QuorumGroup, message) })
}

#[cfg(test)]
mod tests {
    use model::Stamp;

    use super::*;

    fn members(count: usize) -> Vec<Member> {
        let member = |n: usize| Member {
            address: format!("10.0.0.{n}").into(),
            availability: Availability::Healthy,
            reason: String::new(),
            boot_id: String::new(),
            machine_id: String::new(),
            runs_kubelet: false,
            rebooters: Vec::new(),
            is_self: false,
            last_done: Stamp::default(),
        };
        (0..count).map(member).collect()
    }

    fn claim(address: &str, operation: &str) -> BudgetClaim {
        let (address, operation) = (address.into(), operation.to_owned());
        BudgetClaim { address, operation, ..BudgetClaim::default() }
    }

    fn reason(members: &[Member], claims: &[BudgetClaim]) -> Option<WaitReason> {
        wait_for("etcd", "10.0.0.0", members, claims, "o1").map(|waiting| waiting.reason)
    }

    #[test]
    fn majority_stays_available_whoever_takes_the_others_down() {
        for (count, allowed) in [(1, 0), (2, 0), (3, 1), (4, 1), (5, 2)] {
            assert_eq!(tolerated(count), allowed);
        }
        let mut three = members(3);
        assert_eq!(reason(&three, &[]), None);
        assert_eq!(reason(&three, &[claim("10.0.0.1", "o2")]), Some(WaitReason::QuorumGroup));
        assert_eq!(reason(&three, &[claim("10.0.0.1", "o1")]), Some(WaitReason::OthersUnderWay));
        three[2].availability = Availability::Unavailable;
        assert_eq!(reason(&three, &[]), Some(WaitReason::QuorumGroup));
        assert_eq!(reason(&members(5), &[claim("10.0.0.1", "o2")]), None);
        assert_eq!(reason(&members(2), &[]), Some(WaitReason::QuorumGroup));
        // One that is down already takes nothing away.
        three[0].availability = Availability::Unavailable;
        assert_eq!(reason(&three, &[]), None);
    }
}
