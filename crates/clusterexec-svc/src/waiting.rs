//! What an operation, or one host of it, waits for. A leaf.

use std::time::Duration;

use model::WaitReason;
use tokio::time::Instant;

/// Message of a host that waits while only other hosts of its operation use the budget up.
const OTHERS_UNDER_WAY: &str = "other hosts of the operation are under way";

/// Why an operation, or one host of it, waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The reason.
    pub reason: WaitReason,
    /// A sentence for the operator: what exactly is waited for.
    pub message: String,
    /// Whether only other operations use a shared budget up: their ends are waited for, however long that takes.
    pub(crate) is_for_operations: bool,
}

impl Waiting {
    pub(crate) fn new(reason: WaitReason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), is_for_operations: false }
    }

    /// The disruption budget is used up; the message is empty if only hosts under way use it.
    pub(crate) fn for_budget(message: String) -> Self {
        if message.is_empty() {
            Self::new(WaitReason::OthersUnderWay, OTHERS_UNDER_WAY)
        } else {
            Self::new(WaitReason::Budget, message)
        }
    }

    /// The reason as one of a host under way.
    pub(crate) fn host_reason(&self) -> WaitReason {
        match self.reason {
            WaitReason::Budget
            | WaitReason::NodeBudget
            | WaitReason::ControlPlane
            | WaitReason::QuorumGroup => WaitReason::HostBudget,
            WaitReason::NodesUnknown => WaitReason::KubernetesAway,
            WaitReason::OthersUnderWay
            | WaitReason::GoAheadMissed
            | WaitReason::Draining
            | WaitReason::DrainBlocked
            | WaitReason::KubernetesAway => self.reason,
            _ => WaitReason::HostGate,
        }
    }
}

/// The wait that is going on: its reason, and since when it has had it.
#[derive(Debug)]
pub(crate) struct Ongoing {
    pub(crate) waiting: Waiting,
    since: Instant,
    /// Whether the reason before was another one. Messages alone change all the time, such as the seconds left.
    pub(crate) is_new: bool,
}

impl Ongoing {
    /// The wait that continues `before`, if its reason is the same, or begins now.
    pub(crate) fn after(before: Option<&Self>, waiting: Waiting) -> Self {
        let is_same = |before: &&Self| {
            before.waiting.reason == waiting.reason
                && before.waiting.is_for_operations == waiting.is_for_operations
        };
        match before.filter(is_same) {
            Some(before) => Self { waiting, since: before.since, is_new: false },
            None => Self { waiting, since: Instant::now(), is_new: true },
        }
    }

    /// Whether it has lasted longer than `limit`.
    pub(crate) fn exceeds(&self, limit: Duration) -> bool {
        self.since.elapsed() > limit
    }

    /// The message of a wait for unavailable hosts that has lasted longer than `limit`.
    pub(crate) fn budget_exceeds(&self, limit: Duration) -> Option<&str> {
        let is_budget = matches!(
            self.waiting.reason,
            WaitReason::Budget
                | WaitReason::NodeBudget
                | WaitReason::ControlPlane
                | WaitReason::QuorumGroup
        );
        let is_exceeded = is_budget && !self.waiting.is_for_operations && self.exceeds(limit);
        is_exceeded.then_some(self.waiting.message.as_str())
    }
}
