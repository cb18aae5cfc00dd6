//! Why an operation is rejected before it begins. A leaf.

use bus::Error;
use model::FailureReason;

/// Why an operation is rejected.
#[derive(Debug)]
pub struct Rejection {
    /// The reason.
    pub reason: FailureReason,
    /// The error that answers the request.
    pub error: Error,
}

impl Rejection {
    pub(crate) fn new(reason: FailureReason, message: impl Into<String>) -> Self {
        Self { reason, error: Error::conflict(message) }
    }
}
