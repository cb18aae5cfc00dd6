//! The event log of an operation, and which operation is the newest. Pure.

use bus::Result;
use model::{
    NewestOperation, Operation, OperationEvent, OperationHost, Outcome, Stamp, Step, abridged,
    by_kind,
};
use storage_client::Transaction;

/// The step of events that concern the operation as a whole.
pub(super) const OPERATION: &str = "operation";

/// Adds to a transaction that an operation is the newest of its kind: the documented record is composed from its records.
pub(crate) fn save_newest(transaction: Transaction, operation: &Operation) -> Result<Transaction> {
    let Operation { cluster, id, .. } = operation;
    by_kind!(operation.kind, W => transaction.save(&NewestOperation::<W>::new(cluster, id)))
}

/// The first event of an operation.
pub(crate) fn accepted(operation: &Operation, budget: usize) -> OperationEvent {
    let Operation { kind, hosts, started_by, started_at, .. } = operation;
    let count = hosts.len();
    let hosts = if count == 1 { "host" } else { "hosts" };
    let mut detail = format!(
        "{kind} of {count} {hosts} by {started_by}, at most {budget} unavailable at a time"
    );
    if !operation.left_out.is_empty() {
        let left_out = abridged(&operation.left_out, ", ");
        detail = format!("{detail}; unreachable and left out: {left_out}");
    }
    event(operation, 1, started_at, "", OPERATION, Outcome::Started, &detail)
}

/// An event of an operation.
pub(super) fn event(
    operation: &Operation,
    seq: u64,
    time: &Stamp,
    host: &str,
    step: &str,
    outcome: Outcome,
    detail: &str,
) -> OperationEvent {
    OperationEvent {
        id: OperationEvent::id_of(&operation.id, seq),
        seq,
        time: time.clone(),
        host: host.into(),
        step: step.to_owned(),
        outcome,
        reason: String::new(),
        detail: detail.to_owned(),
    }
}

/// The word of an event of a host: why its step failed or waits.
pub(super) fn reason(outcome: Outcome, part: &OperationHost) -> String {
    match (outcome, &part.wait) {
        (Outcome::Failed, _) if part.step == Step::Failed => part.reason.clone(),
        (Outcome::Waiting, Some(wait)) => wait.reason.clone(),
        _ => String::new(),
    }
}
