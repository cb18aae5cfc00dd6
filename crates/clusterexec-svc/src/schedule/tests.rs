use model::Step;
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn operation(hosts: usize, sick: usize, options: &serde_json::Value) -> Operation {
    let hosts: Vec<_> = (0..hosts).map(|n| format!("10.0.0.{n}")).collect();
    serde_json::from_value(json!({
        "id": "1", "cluster": "c1", "kind": "restart", "started_at": "", "hosts": hosts,
        "sick": sick, "options": options,
    }))
    .unwrap()
}

fn next(operation: &Operation, steps: &[Step], parallel: usize) -> Next {
    super::next(operation, &Steps::new(steps.iter().copied(), operation.sick), parallel)
}

#[test]
fn one_after_the_other_until_the_end() {
    use Step::{Done, Failed, Pending, Probe, Reboot, Skipped, Verify};
    for (steps, expected) in [
        (&[][..], Next::End(OperationStatus::Finished)),
        (&[Pending, Pending], Next::Turn(0)),
        (&[Done, Pending], Next::Turn(1)),
        (&[Skipped, Pending], Next::Turn(1)),
        (&[Done, Probe, Pending], Next::Wait),
        (&[Pending, Verify], Next::Wait),
        (&[Done, Skipped], Next::End(OperationStatus::Finished)),
        (&[Done, Failed, Pending], Next::End(OperationStatus::Failed)),
        (&[Done, Failed], Next::End(OperationStatus::Failed)),
        // One that is under way is brought to its end even though another has failed.
        (&[Failed, Reboot, Pending], Next::Wait),
    ] {
        let operation = operation(steps.len(), 0, &json!({}));
        assert_eq!(next(&operation, steps, 1), expected, "{steps:?}");
    }
}

#[test]
fn operation_with_nothing_but_exhausted_hosts_is_to_be_paused_unless_it_has_failed() {
    use Step::{Done, Failed, Pending};
    for (first, expected) in [
        (Done, Next::Pause),
        (Failed, Next::End(OperationStatus::Failed)),
        (Step::Drain, Next::Wait),
    ] {
        let mut steps = Steps::new([first, Pending], 0);
        steps.postpone(1, true);
        assert_eq!(super::next(&operation(2, 0, &json!({})), &steps, 9), expected, "{first}");
    }
}

#[test]
fn tolerated_failures_do_not_stop_the_rollout_but_are_failures_all_the_same() {
    use Step::{Done, Failed, Pending};
    let operation = operation(4, 0, &json!({"max_failures": 1}));
    assert_eq!(next(&operation, &[Done, Failed, Pending, Pending], 9), Next::Turn(2));
    assert_eq!(
        next(&operation, &[Done, Failed, Failed, Pending], 9),
        Next::End(OperationStatus::Failed)
    );
    assert_eq!(
        next(&operation, &[Done, Failed, Done, Done], 9),
        Next::End(OperationStatus::Failed)
    );
}

#[test]
fn the_first_healthy_host_is_a_canary() {
    use Step::{Done, Failed, Pending, Probe, Skipped, Verify};
    let operation = operation(4, 1, &json!({"max_unavailable": 3, "max_failures": 3}));
    for (steps, expected) in [
        ([Pending, Pending, Pending, Pending], Next::Turn(0)),
        ([Verify, Pending, Pending, Pending], Next::Wait),
        ([Done, Pending, Pending, Pending], Next::Turn(1)),
        ([Done, Verify, Pending, Pending], Next::Wait),
        // Neither one that needed nothing nor one that failed has shown that it works.
        ([Done, Skipped, Pending, Pending], Next::Turn(2)),
        ([Done, Skipped, Verify, Pending], Next::Wait),
        ([Done, Failed, Probe, Pending], Next::Wait),
        ([Done, Done, Pending, Pending], Next::Turn(2)),
        ([Done, Done, Probe, Pending], Next::Turn(3)),
    ] {
        assert_eq!(next(&operation, &steps, 9), expected, "{steps:?}");
    }
    assert_eq!(next(&operation, &[Done, Done, Probe, Pending], 1), Next::Wait, "the bound");
}

#[test]
fn hosts_with_reachable_failures_are_unhealthy_and_others_unavailable() {
    let host = |status| Host { status, ..Host::default() };
    let state = |reason: &str| HostState { reason: reason.to_owned(), ..HostState::default() };
    let failed = host(Status::Failed);
    assert_eq!(availability(Some(&host(Status::Active)), None), Availability::Healthy);
    assert_eq!(
        availability(Some(&failed), Some(&state("playbook-failed"))),
        Availability::Unhealthy
    );
    for reason in ["unreachable", "host-key-changed", "auth-refused", "unhealthy", ""] {
        assert_eq!(availability(Some(&failed), Some(&state(reason))), Availability::Unavailable);
    }
    assert_eq!(availability(Some(&host(Status::Investigating)), None), Availability::Unavailable);
    assert_eq!(availability(None, None), Availability::Unavailable);
}

fn member(address: &str, availability: Availability, last_done: &str) -> Member {
    Member {
        address: address.into(),
        availability,
        reason: String::new(),
        boot_id: String::new(),
        machine_id: String::new(),
        runs_kubelet: false,
        rebooters: Vec::new(),
        is_self: address == "self",
        last_done: last_done.into(),
    }
}

#[test]
fn turns_are_by_name_or_least_recent_and_ones_own_machine_is_last() {
    let mut members = vec![
        member("self", Availability::Unhealthy, ""),
        member("b", Availability::Healthy, "2026-01-01"),
        member("c", Availability::Unhealthy, "2026-01-03"),
        member("d", Availability::Healthy, ""),
        member("x", Availability::Unavailable, ""),
        member("a", Availability::Healthy, "2026-01-02"),
    ];
    let turns = |members: &[Member]| {
        members.iter().map(|member| member.address.clone()).collect::<Vec<_>>().join(" ")
    };
    order(&mut members, Order::Name, |_| 0);
    assert_eq!(turns(&members), "c a b d x self");
    order(&mut members, Order::LeastRecent, |_| 0);
    assert_eq!(turns(&members), "c d b a x self");
    order(&mut members, Order::Name, |address| u8::from(address == "c"));
    assert_eq!(turns(&members), "a b d x c self");
}

proptest! {
    /// With any steps of the hosts and any number of other unavailable members: never more are unavailable than
    /// allowed, each host has one turn, and the rollout ends.
    #[test]
    fn a_rollout_never_exceeds_its_budget_and_ends(
        hosts in 1usize..12,
        sick in 0usize..4,
        budget in 1usize..5,
        parallel in 1usize..5,
        tolerated in 0u32..3,
        dead in proptest::collection::vec(any::<bool>(), 12),
        fates in proptest::collection::vec(0u8..4, 12),
        order in proptest::collection::vec(any::<prop::sample::Index>(), 64),
    ) {
        let operation = operation(
            hosts, sick.min(hosts), &json!({"max_unavailable": budget, "max_failures": tolerated}),
        );
        let mut steps = vec![Step::Pending; hosts];
        let mut turns = vec![0; hosts];
        let mut choices = order.iter();
        let (mut ended, mut stuck) = (false, false);
        for _ in 0..hosts * 4 {
            // Failed and dead ones are away; of the failed ones only those that did not come back.
            let away: Vec<&str> = operation.hosts.iter().enumerate()
                .filter(|(n, _)| (dead[*n] && !steps[*n].is_under_way()) || (steps[*n] == Step::Failed && fates[*n] == 3))
                .map(|(_, address)| address.as_str()).collect();
            let under_way: Vec<&str> = steps.iter().zip(&operation.hosts)
                .filter(|(step, _)| step.is_under_way()).map(|(_, address)| address.as_str()).collect();
            let room = |n: usize| fits(&operation.hosts[n], &under_way, &away, budget);
            match next(&operation, &steps, parallel) {
                Next::Turn(n) if room(n) => {
                    steps[n] = Step::Reboot;
                    turns[n] += 1;
                    let mut gone: HashSet<&str> = away.iter().copied().collect();
                    gone.extend(&under_way);
                    gone.insert(&operation.hosts[n]);
                    prop_assert!(gone.len() <= budget);
                    prop_assert!(under_way.len() < parallel);
                }
                Next::Turn(_) if under_way.is_empty() => { stuck = true; break }
                Next::Turn(_) | Next::Wait => {
                    let busy: Vec<_> = (0..hosts).filter(|n| steps[*n].is_under_way()).collect();
                    prop_assert!(!busy.is_empty(), "nothing would ever happen");
                    let n = busy[choices.next().map_or(0, |choice| choice.index(busy.len()))];
                    steps[n] = match fates[n] { 0 | 1 => Step::Done, 2 => Step::Skipped, _ => Step::Failed };
                }
                Next::Pause => prop_assert!(false, "no host was postponed"),
                Next::End(status) => {
                    let failed = steps.contains(&Step::Failed);
                    prop_assert_eq!(status == OperationStatus::Failed, failed);
                    prop_assert!(failed || !steps.contains(&Step::Pending));
                    ended = true;
                    break;
                }
            }
        }
        // Only hosts that are away for other reasons can leave it without room.
        prop_assert!(ended || stuck);
        prop_assert!(turns.iter().all(|times| *times <= 1));
    }
}
