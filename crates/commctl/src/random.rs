//! Randomness.

use uuid::Uuid;

/// A random identifier.
#[expect(
    clippy::disallowed_methods,
    reason = "commctl shares no code with the services, which seed theirs"
)]
pub(crate) fn id() -> Uuid {
    Uuid::new_v4()
}
