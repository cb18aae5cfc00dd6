//! What principals may do, and where.
//!
//! - [`rights`][]: the roles of a principal on clusters
//! - [`bindings`][]: the bindings, as they are in the store
//! - [`gate`][]: whether a principal may make a call
//! - [`redaction`][]: sentences without the hosts that a principal may not see

pub mod bindings;
pub mod gate;
pub mod redaction;
pub mod rights;

pub use bindings::Bindings;
pub use rights::{Grant, Rights};
