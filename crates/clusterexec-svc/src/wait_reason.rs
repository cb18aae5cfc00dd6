//! Why an operation, or one host of it, waits. A leaf.

use std::time::Duration;

use tokio::time::Instant;

/// Why an operation, or one host of it, waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WaitReason {
    /// A pause or a freeze by an operator, or an alarm.
    Gate(String),
    /// The soak time between two hosts.
    Soak(String),
    /// The disruption budget is used up; empty if only hosts under way use it.
    Budget(String),
    /// A go-ahead did not arrive in time and is repeated.
    GoAhead(String),
}

impl WaitReason {
    pub(crate) fn message(&self) -> &str {
        match self {
            Self::Gate(message)
            | Self::Soak(message)
            | Self::Budget(message)
            | Self::GoAhead(message) => message,
        }
    }

    fn is_same_kind(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

/// The wait that is going on: its reason, and since when it has had a reason of this kind.
#[derive(Debug)]
pub(crate) struct Wait {
    pub(crate) reason: WaitReason,
    since: Instant,
    /// Whether the reason before was of another kind. Messages alone change all the time, such as the seconds left.
    pub(crate) is_new: bool,
}

impl Wait {
    /// The wait that continues `before`, if its reason is of the same kind, or begins now.
    pub(crate) fn after(before: Option<&Self>, reason: WaitReason) -> Self {
        match before.filter(|before| before.reason.is_same_kind(&reason)) {
            Some(before) => Self { reason, since: before.since, is_new: false },
            None => Self { reason, since: Instant::now(), is_new: true },
        }
    }

    /// The message of a wait for the disruption budget that has lasted longer than `limit`.
    pub(crate) fn budget_exceeds(&self, limit: Duration) -> Option<&str> {
        match &self.reason {
            WaitReason::Budget(message) if !message.is_empty() && self.since.elapsed() > limit => {
                Some(message)
            }
            _ => None,
        }
    }
}
