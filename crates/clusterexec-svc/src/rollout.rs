//! Which host's turn it is, and which hosts are fit. Pure: from records alone.

use service_core::model::{
    Host, HostProgress, HostState, Operation, OperationStatus, Status, Step,
};

/// How many hosts may be unavailable at a time, those included that are so for other reasons.
pub const MAX_UNAVAILABLE: usize = 1;

/// Reasons for which a `failed` host can still be reached: restarting it costs nothing.
const REACHABLE: [&str; 5] =
    ["unknown-os", "no-facts", "bootstrap-impossible", "playbook-failed", "no-python"];

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Work on the host at this index.
    Host(usize),
    /// The operation is at its end.
    End(OperationStatus),
}

/// What is to be done next. A host under way goes on before another one starts; the first failure
/// stops the roll.
pub fn next(operation: &Operation) -> Next {
    let at = |wanted: fn(Step) -> bool| operation.hosts.iter().position(|host| wanted(host.step));
    if let Some(index) = at(Step::is_under_way) {
        return Next::Host(index);
    }
    if at(|step| step == Step::Failed).is_some() {
        return Next::End(OperationStatus::Failed);
    }
    at(|step| step == Step::Pending).map_or(Next::End(OperationStatus::Finished), Next::Host)
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

/// The hosts of a roll in the order of their turns: the sick ones first, else by address.
pub fn order(mut members: Vec<(String, Fitness)>) -> Vec<HostProgress> {
    members.sort_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0)));
    let turns =
        members.into_iter().map(|(address, _)| HostProgress { address, ..HostProgress::default() });
    turns.collect()
}

#[cfg(test)]
mod tests {
    use service_core::model::OperationKind;

    use super::*;

    fn operation(steps: &[Step]) -> Operation {
        let host = |(index, step): (usize, &Step)| HostProgress {
            address: format!("10.0.0.{index}"),
            step: *step,
            ..HostProgress::default()
        };
        Operation {
            id: "1".to_owned(),
            cluster: "c1".to_owned(),
            kind: OperationKind::Restart,
            version: String::new(),
            status: OperationStatus::InProcess,
            started_by: String::new(),
            request_id: String::new(),
            started_at: String::new(),
            finished_at: None,
            hosts: steps.iter().enumerate().map(host).collect(),
            events: Vec::new(),
        }
    }

    #[test]
    fn one_after_the_other_until_the_end() {
        use Step::{Done, Failed, Pending, Probe, Reboot, Verify};
        for (steps, expected) in [
            (&[][..], Next::End(OperationStatus::Finished)),
            (&[Pending, Pending], Next::Host(0)),
            (&[Done, Pending], Next::Host(1)),
            (&[Done, Probe, Pending], Next::Host(1)),
            (&[Pending, Verify], Next::Host(1)),
            (&[Done, Done], Next::End(OperationStatus::Finished)),
            (&[Done, Failed, Pending], Next::End(OperationStatus::Failed)),
            // One that is under way is brought to its end even though another has failed.
            (&[Failed, Reboot, Pending], Next::Host(1)),
        ] {
            assert_eq!(next(&operation(steps)), expected, "{steps:?}");
        }
    }

    #[test]
    fn never_a_second_host_while_one_is_under_way() {
        let all = [
            Step::Pending,
            Step::Probe,
            Step::Apply,
            Step::Reboot,
            Step::Verify,
            Step::Done,
            Step::Failed,
        ];
        for a in all {
            for b in all {
                for c in all {
                    let steps = [a, b, c];
                    let busy = Step::is_under_way;
                    if let Next::Host(index) = next(&operation(&steps))
                        && steps.into_iter().any(busy)
                    {
                        assert!(busy(steps[index]), "{steps:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_sick_go_first_and_the_unreachable_count() {
        let host = |status| Host { status, ..Host::default() };
        let state = |reason: &str| HostState { reason: reason.to_owned(), ..HostState::default() };
        let failed = host(Status::Failed);
        assert_eq!(fitness(Some(&host(Status::Active)), None), Fitness::Well);
        assert_eq!(fitness(Some(&failed), Some(&state("playbook-failed"))), Fitness::Sick);
        for reason in ["unreachable", "host-key-changed", "auth-refused", ""] {
            assert_eq!(fitness(Some(&failed), Some(&state(reason))), Fitness::Unavailable);
        }
        assert_eq!(fitness(Some(&host(Status::Investigating)), None), Fitness::Unavailable);
        assert_eq!(fitness(None, None), Fitness::Unavailable);
        let turns = order(vec![
            ("b".to_owned(), Fitness::Well),
            ("c".to_owned(), Fitness::Sick),
            ("a".to_owned(), Fitness::Well),
        ]);
        let turns: Vec<_> = turns.into_iter().map(|turn| turn.address).collect();
        assert_eq!(turns, ["c", "a", "b"]);
    }
}
