//! What every Commissaire daemon runs on.
//!
//! - [`lifecycle`][]: signals, tasks, shutdown
//! - [`config`][]: configuration: JSON objects from files
//! - [`telemetry`][]: logs
//! - [`outage`][]: what is logged when something is unavailable
//! - [`error_text`][]: errors as text, for logs
//! - [`clock`][]: the time
//! - [`files`][]: files that are read while a service runs
//! - [`retry`][]: when something is tried again
//! - [`random`][]: random choices, identifiers and secrets
//! - [`claims`][]: what this process works on
//! - [`expiring`][]: a map of limited size whose entries expire
//!
//! It knows neither the bus nor the store.

pub mod claims;
pub mod clock;
pub mod config;
pub mod error_text;
pub mod expiring;
pub mod files;
pub mod lifecycle;
pub mod outage;
pub mod random;
pub mod retry;
pub mod telemetry;

pub use clock::Clock;
pub use files::Files;
pub use lifecycle::Lifecycle;
pub use outage::Outage;
