//! What a failure of etcd means.

use std::error::Error as _;

use tonic::{Code, ConnectError};

/// What has become of a request that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// etcd answered that it will not do it.
    Refused,
    /// It was not carried out, and may be sent again.
    NotDone,
    /// Nobody knows.
    Unknown,
}

/// Why etcd, or one of its members, did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Cause {
    text: String,
    code: Code,
    outcome: Outcome,
}

/// Said by a member that has not passed the request on: it, or another, may soon.
const NOT_DONE: [&str; 5] = [
    "raft proposal dropped",
    "etcdserver: no leader",
    "etcdserver: too many requests",
    "etcdserver: invalid auth token",
    "etcdserver: revision of auth store is old",
];

impl Cause {
    pub(super) fn not_done(text: String) -> Self {
        Self { text, code: Code::Unavailable, outcome: Outcome::NotDone }
    }

    pub(super) fn silence(outcome: Outcome) -> Self {
        let text = "no answer in time".to_owned();
        Self { text, code: Code::DeadlineExceeded, outcome }
    }

    /// The same for a failure before the request itself was sent.
    pub(super) fn while_connecting(mut self) -> Self {
        if self.outcome == Outcome::Unknown {
            self.outcome = Outcome::NotDone;
        }
        self
    }

    pub(super) fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// The user may not do that.
    pub fn is_no_permission(&self) -> bool {
        self.code == Code::PermissionDenied
    }

    /// The revision that was asked for is gone.
    pub fn is_compacted(&self) -> bool {
        self.text.contains("required revision has been compacted")
    }

    /// The answer is larger than we read: ask for less at a time.
    pub fn is_answer_too_large(&self) -> bool {
        self.code == Code::OutOfRange && self.text.contains("decoded message length too large")
    }

    /// The database has reached its quota (alarm NOSPACE): reads go on, writes are refused.
    pub fn is_no_space(&self) -> bool {
        self.text.contains("database space exceeded")
    }

    /// More operations than a transaction may have (`--max-txn-ops`).
    pub fn is_too_many_operations(&self) -> bool {
        self.text.contains("too many operations in txn request")
    }

    /// More bytes than a request may have (`--max-request-bytes`).
    pub fn is_request_too_large(&self) -> bool {
        self.text.contains("request is too large") || self.text.contains("larger than max")
    }
}

impl From<etcd_client::Error> for Cause {
    fn from(error: etcd_client::Error) -> Self {
        let etcd_client::Error::GRpcStatus(status) = error else {
            // About the endpoint or our request, so it was not sent.
            return Self::not_done(error.to_string());
        };
        let causes = || std::iter::successors(status.source(), |&error| error.source());
        let outcome = if causes().any(<dyn std::error::Error>::is::<ConnectError>)
            || NOT_DONE.contains(&status.message())
        {
            Outcome::NotDone
        } else {
            outcome(status.code())
        };
        let mut text = status.message().to_owned();
        if let Some(root) = causes().last().map(ToString::to_string)
            && root != text
        {
            text = if text.is_empty() { root } else { format!("{text}: {root}") };
        }
        Self { text, code: status.code(), outcome }
    }
}

/// What a code means where nothing else is known.
fn outcome(code: Code) -> Outcome {
    match code {
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented => Outcome::Refused,
        Code::Unauthenticated => Outcome::NotDone,
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => Outcome::Unknown,
    }
}
