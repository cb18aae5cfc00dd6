//! The container manager service: registers hosts as nodes with what schedules containers on them.
//!
//! - [`config`][]: what it is told
//! - `service`: the methods on the bus
//! - `managers`: the container managers that are configured, as they are configured now
//! - `trivial`: the one that only remembers its nodes
//! - `kubernetes`: Kubernetes and OpenShift

pub mod config;
mod kubernetes;
mod managers;
mod service;
mod trivial;

pub use config::Config;
pub use service::run;
