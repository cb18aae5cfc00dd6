//! The time.

use jiff::Timestamp;

/// The time now.
#[expect(clippy::disallowed_methods, reason = "commctl has no clock of its own to pass around")]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}
