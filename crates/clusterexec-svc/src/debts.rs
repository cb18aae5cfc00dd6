//! The debt to uncordon a node, as it follows from a change of its host's part in an operation. Pure.
//!
//! A debt is written in the transaction that saves the step `cordon`, before its effect, and changes with the records of
//! the host: there is no cordon of ours without one.

use model::{
    Address, CordonDebt, CordonOwner, DebtState, HostNode, Operation, OperationHost, Stamp, Step,
};

/// A change of a debt.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "it lives until the transaction is composed")]
pub(crate) enum DebtChange {
    /// It is created, or its state changes.
    Save(CordonDebt),
    /// The node with this id is uncordoned.
    Delete(String),
}

/// What the debts of an operation have in common.
#[derive(Debug, Clone)]
pub(crate) struct Debtor {
    /// The container manager of the cluster.
    pub(crate) manager: String,
    /// The id of the installation.
    pub(crate) instance: String,
}

impl Debtor {
    /// The annotation of nodes that an operation has cordoned.
    pub(crate) fn owner(&self, operation: &str) -> String {
        let (instance, operation) = (self.instance.clone(), operation.to_owned());
        CordonOwner::Operation { instance, operation }.to_string()
    }

    /// The change of a host's debt that follows from a change of its part.
    pub(crate) fn change(
        &self,
        operation: &Operation,
        before: &OperationHost,
        after: &OperationHost,
        now: &Stamp,
    ) -> Option<DebtChange> {
        let node = after.node.as_ref().or(before.node.as_ref())?;
        let debt = |state, reason: &str| {
            Some(DebtChange::Save(self.debt(operation, &after.address, node, state, reason, now)))
        };
        match (is_cordoned(before), is_cordoned(after)) {
            (false, true) => debt(DebtState::Held, ""),
            (true, false) if before.step.is_under_way() => {
                Some(DebtChange::Delete(CordonDebt::id_of(&node.kubernetes, &node.name)))
            }
            (true, true) if has_left(before, after) => match after.step {
                Step::Failed if !nothing_was_done(before) => {
                    let reason =
                        after.failure.as_ref().map_or("", |failure| failure.reason.as_str());
                    debt(DebtState::Kept, reason)
                }
                Step::Done if !operation.kind.facts().reboots => {
                    debt(DebtState::Kept, &format!("drained by {}", operation.started_by))
                }
                Step::Failed | Step::Done | Step::Skipped | Step::Pending => {
                    debt(DebtState::Due, "")
                }
                _ => None,
            },
            _ => None,
        }
    }

    fn debt(
        &self,
        operation: &Operation,
        address: &Address,
        node: &HostNode,
        state: DebtState,
        reason: &str,
        now: &Stamp,
    ) -> CordonDebt {
        CordonDebt {
            id: CordonDebt::id_of(&node.kubernetes, &node.name),
            container_manager: self.manager.clone(),
            node: node.name.clone(),
            node_uid: node.uid.clone(),
            address: address.clone(),
            cluster: operation.cluster.clone(),
            cordoned_by: self.owner(&operation.id),
            operation: operation.id.clone(),
            since: node.cordoned_at.clone().unwrap_or_else(|| now.clone()),
            state,
            reason: reason.to_owned(),
        }
    }
}

/// Whether a host leaves the steps of its turn, or comes back after it has failed.
fn has_left(before: &OperationHost, after: &OperationHost) -> bool {
    before.step != after.step && (before.step.is_under_way() || before.step == Step::Failed)
}

fn is_cordoned(part: &OperationHost) -> bool {
    part.node.as_ref().is_some_and(|node| node.is_cordoned)
}

/// Whether a host that fails at this step is as it was before.
fn nothing_was_done(part: &OperationHost) -> bool {
    part.rebooted_at.is_none()
        && part.result.is_none()
        && matches!(part.step, Step::Cordon | Step::Drain | Step::Reboot)
}

#[cfg(test)]
mod tests {
    use model::Failure;
    use serde_json::json;

    use super::*;

    fn part(step: Step, is_cordoned: bool) -> OperationHost {
        let node = HostNode {
            kubernetes: "k1".to_owned(),
            name: "w1".to_owned(),
            is_cordoned,
            ..HostNode::default()
        };
        OperationHost { step, node: Some(node), ..OperationHost::pending("o1", "10.0.0.1") }
    }

    fn change(before: &OperationHost, after: &OperationHost) -> Option<DebtChange> {
        let operation: Operation = serde_json::from_value(json!({
            "id": "o1", "cluster": "c1", "kind": "restart", "started_at": "t0", "hosts": ["10.0.0.1"],
        }))
        .unwrap();
        let debtor = Debtor { manager: "m1".to_owned(), instance: "i1".to_owned() };
        debtor.change(&operation, before, after, &"t1".into())
    }

    fn state(before: &OperationHost, after: &OperationHost) -> Option<DebtState> {
        match change(before, after)? {
            DebtChange::Save(debt) => Some(debt.state),
            DebtChange::Delete(id) => panic!("{id} is deleted"),
        }
    }

    #[test]
    fn cordon_begins_a_debt_and_the_uncordon_ends_it() {
        let begun = change(&part(Step::Probe, false), &part(Step::Cordon, true));
        let Some(DebtChange::Save(debt)) = begun else { panic!("{begun:?}") };
        assert_eq!((debt.id.as_str(), debt.cordoned_by.as_str()), ("k1.w1", "i1/o1"));
        assert_eq!((debt.state, debt.since.as_str()), (DebtState::Held, "t1"));
        let ended = change(&part(Step::Uncordon, true), &part(Step::Uncordon, false));
        assert_eq!(ended, Some(DebtChange::Delete("k1.w1".to_owned())));
        assert_eq!(change(&part(Step::Drain, true), &part(Step::Reboot, true)), None);
        assert_eq!(change(&part(Step::Pending, true), &part(Step::Probe, false)), None);
    }

    #[test]
    fn host_that_leaves_its_operation_cordoned_is_uncordoned_unless_it_has_failed() {
        for (step, after) in [
            (Step::Drain, Step::Pending),
            (Step::Reboot, Step::Skipped),
            (Step::Uncordon, Step::Done),
            (Step::Drain, Step::Failed),
            (Step::Failed, Step::Done),
        ] {
            assert_eq!(
                state(&part(step, true), &part(after, true)),
                Some(DebtState::Due),
                "{step}"
            );
        }
        let mut failed = part(Step::Failed, true);
        failed.failure = Some(Failure {
            host: "10.0.0.1".into(),
            step: "verify".to_owned(),
            reason: "not back".to_owned(),
        });
        let mut rebooted = part(Step::Reboot, true);
        rebooted.rebooted_at = Some("t0".into());
        for before in [rebooted, part(Step::Verify, true), part(Step::Apply, true)] {
            let Some(DebtChange::Save(debt)) = change(&before, &failed) else { panic!("saved") };
            assert_eq!((debt.state, debt.reason.as_str()), (DebtState::Kept, "not back"));
        }
    }
}
