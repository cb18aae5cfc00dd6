//! Why the work on a host ends before the host is done. A leaf: it knows errors only.

use bus::Error;
use bus::error::chain;
use host_access::{AccessError, FactsError, PlaybookError};
use model::{FailureReason, OperationHost, Step};

/// The failure of a host, as its records and the log of the operation show it.
#[derive(Debug)]
pub(crate) struct HostFailure {
    /// The reason.
    pub(crate) code: FailureReason,
    /// A sentence for the operator: what failed, and what to do next.
    pub(crate) message: String,
    /// The host key that the host showed instead of the pinned one, if that is the failure; else empty.
    pub(crate) seen_key: String,
}

impl HostFailure {
    pub(crate) fn new(code: FailureReason, message: String) -> Self {
        Self { code, message, seen_key: String::new() }
    }

    /// The failure of a host whose records were deleted during the operation.
    pub(crate) fn deleted(address: &str) -> Self {
        let message = format!(
            "deleted: {address} is not registered any more, so nothing further is done to it; look at it \
             yourself, since a step may have been under way"
        );
        Self::new(FailureReason::Deleted, message)
    }
}

impl From<AccessError> for HostFailure {
    fn from(error: AccessError) -> Self {
        let seen_key = error.seen_key().unwrap_or_default().to_owned();
        Self { seen_key, ..Self::new(error.reason(), chain(&error)) }
    }
}

impl From<PlaybookError> for HostFailure {
    fn from(error: PlaybookError) -> Self {
        Self::new(error.reason(), chain(&error))
    }
}

impl From<FactsError> for HostFailure {
    fn from(error: FactsError) -> Self {
        Self::new(error.reason(), chain(&error))
    }
}

/// Why the work on a host ends early.
#[derive(Debug)]
pub(crate) enum HostError {
    /// The host has failed.
    Failed(HostFailure),
    /// The host is skipped, in the state that it is in; the reason.
    Skipped(String),
    /// Nothing was done to the host, and its turn comes again after the other hosts; the reason.
    Postponed(String),
    /// The lease is lost, or the storage service has failed: another executor continues.
    Internal(Error),
}

impl<E: Into<HostFailure>> From<E> for HostError {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl From<Error> for HostError {
    fn from(error: Error) -> Self {
        Self::Internal(error)
    }
}

/// Whether a host has failed for a reason that ends when the host comes back.
pub(crate) fn may_come_back(host: &OperationHost) -> bool {
    host.step == Step::Failed && ends_with_return(&host.reason)
}

/// Whether this is the word of a reason that ends when the host comes back.
pub(crate) fn ends_with_return(reason: &str) -> bool {
    let reason = FailureReason::from_word(reason);
    matches!(
        reason,
        Some(FailureReason::NotBack | FailureReason::NotRestarted | FailureReason::NodeNotReady)
    )
}
