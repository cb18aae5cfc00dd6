//! What principals may do, and where.
//!
//! - [`rights`][]: the roles of a principal on clusters
//! - [`record_cache`][]: records that are kept in memory
//! - [`bindings`][], [`tokens`][]: the bindings and the API tokens
//! - [`gate`][]: whether a principal may make a call
//! - [`redaction`][]: sentences without the hosts that a principal may not see

pub mod bindings;
pub mod gate;
pub mod record_cache;
pub mod redaction;
pub mod rights;
pub mod tokens;

pub use bindings::Bindings;
pub use rights::{Grant, Rights};
pub use tokens::Tokens;
