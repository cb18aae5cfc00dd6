//! One error type for everything that can go wrong between services.
//!
//! Errors know no HTTP and no AMQP: [`Kind`] carries the one table that maps them to a JSON-RPC code
//! on the bus and to an HTTP status at the gateway.

use std::sync::Arc;

use serde_json::{Value, json};

pub use runtime::error_text::chain;

/// The field of an error's data that names the part that is unavailable.
const PART: &str = "part";

/// The result of anything that goes over the bus.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What sort of failure it is; decides what the caller can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The message was not JSON.
    Parse,
    /// The message was not a JSON-RPC request.
    InvalidRequest,
    /// The service has no such method.
    MethodNotFound,
    /// The parameters are wrong; nothing was changed.
    InvalidParams,
    /// A defect, or something nobody foresaw.
    Internal,
    /// There is no such record.
    NotFound,
    /// The container manager refused or failed.
    ContainerManager,
    /// The state of the world does not allow it: a stale revision, something in use or in process.
    Conflict,
    /// The service, the store or the manager does not answer.
    Unavailable,
    /// No answer came in time: whether it was carried out is unknown.
    Timeout,
    /// The service is not configured to do this for the sender's account; nothing was changed.
    Denied,
}

impl Kind {
    /// The table: kind, JSON-RPC code, HTTP status.
    ///
    /// A timeout has no code of its own: it is noticed by the caller, and passed on it means
    /// "unavailable" to the next one.
    const TABLE: [(Self, i64, u16); 11] = [
        (Self::Parse, -32700, 500),
        (Self::InvalidRequest, -32600, 500),
        (Self::MethodNotFound, -32601, 500),
        (Self::InvalidParams, -32602, 400),
        (Self::Internal, -32603, 500),
        (Self::NotFound, -20000, 404),
        (Self::ContainerManager, -20001, 502),
        (Self::Conflict, -20002, 409),
        (Self::Unavailable, -20003, 503),
        (Self::Timeout, -20003, 504),
        (Self::Denied, -20004, 500),
    ];

    fn row(self) -> (Self, i64, u16) {
        // Every variant is in the table: a unit test holds us to it.
        Self::TABLE.into_iter().find(|row| row.0 == self).unwrap_or((self, -32603, 500))
    }

    /// The JSON-RPC error code.
    pub fn code(self) -> i64 {
        self.row().1
    }

    /// The HTTP status.
    pub fn status(self) -> u16 {
        self.row().2
    }

    /// The kind that a JSON-RPC code stands for; codes nobody knows are [`Kind::Internal`].
    pub fn from_code(code: i64) -> Self {
        Self::TABLE.into_iter().find(|row| row.1 == code).map_or(Self::Internal, |row| row.0)
    }
}

/// A failure, with a message for a person and, where there is one, its cause.
///
/// `Display` is the message alone; the cause is in [`std::error::Error::source`]. The cause stays in
/// the process where it happened and is logged there: only message, code and data travel.
#[derive(Debug, Clone)]
pub struct Error {
    kind: Kind,
    message: String,
    data: Option<Value>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
    /// Whether it is part of an outage that has a line of its own in the log. Stays in the process.
    is_outage: bool,
}

impl Error {
    /// An error of the given kind.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), data: None, source: None, is_outage: false }
    }

    /// Wrong input; nothing was changed.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Kind::InvalidParams, message)
    }

    /// No such record.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, message)
    }

    /// The state of the world does not allow it.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(Kind::Conflict, message)
    }

    /// The sender's account may not do that.
    pub fn denied(message: impl Into<String>) -> Self {
        Self::new(Kind::Denied, message)
    }

    /// Something does not answer.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(Kind::Unavailable, message)
    }

    /// A defect.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Kind::Internal, message)
    }

    /// Adds machine-readable details (the `data` of a JSON-RPC error).
    #[must_use]
    pub fn with_data(mut self, data: Value) -> Self {
        self.data = Some(data);
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// Names the part that is unavailable (a service, the store): the message is then fit for clients of the API.
    #[must_use]
    pub fn of_part(self, part: &str) -> Self {
        self.with_data(json!({PART: part}))
    }

    /// The part that is unavailable, where the error names one.
    pub fn part(&self) -> Option<&str> {
        self.data.as_ref()?.get(PART)?.as_str()
    }

    /// Marks it as part of an outage that is logged by an [`Outage`](runtime::Outage): see
    /// [`warn_unless_outage!`](crate::warn_unless_outage).
    #[must_use]
    pub fn of_outage(mut self) -> Self {
        self.is_outage = true;
        self
    }

    /// Whether it is part of an outage that has a line of its own in the log.
    pub fn is_outage(&self) -> bool {
        self.is_outage
    }

    /// What sort of failure it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The details for a machine.
    pub fn data(&self) -> Option<&Value> {
        self.data.as_ref()
    }

    /// True for [`Kind::NotFound`].
    pub fn is_not_found(&self) -> bool {
        self.kind == Kind::NotFound
    }

    /// True for [`Kind::Conflict`].
    pub fn is_conflict(&self) -> bool {
        self.kind == Kind::Conflict
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source.as_ref() as _)
    }
}

/// Logs a failure with all its causes: as a warning, or, where an outage is the reason, which has a line of its own, at
/// `debug`. Takes an [`Error`], fields and a message: `warn_unless_outage!(error, lease = name, "no renewal")`.
#[macro_export]
macro_rules! warn_unless_outage {
    ($error:expr, $($fields_and_message:tt)+) => {{
        let failure: &$crate::Error = &$error;
        if failure.is_outage() {
            tracing::debug!(error = $crate::error::chain(failure), $($fields_and_message)+);
        } else {
            tracing::warn!(error = $crate::error::chain(failure), $($fields_and_message)+);
        }
    }};
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_survives_the_wire() {
        for (kind, code, status) in Kind::TABLE {
            assert_eq!((kind.code(), kind.status()), (code, status));
            let arrived = Kind::from_code(code);
            assert_eq!(arrived, if kind == Kind::Timeout { Kind::Unavailable } else { kind });
        }
    }

    #[test]
    fn the_part_that_is_unavailable_is_named() {
        let error = Error::unavailable("the store does not answer");
        assert_eq!(error.part(), None);
        assert_eq!(error.of_part("store").part(), Some("store"));
    }

    #[test]
    fn an_unknown_code_is_internal() {
        assert_eq!(Kind::from_code(-1), Kind::Internal);
    }
}
