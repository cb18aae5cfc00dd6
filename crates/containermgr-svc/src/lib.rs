//! The container manager service: registers hosts as nodes with container managers, which schedule containers on them.
//!
//! - [`config`][]: the configuration
//! - `service`: the methods on the bus
//! - `managers`: the configured container managers
//! - `debts`: nodes that are to be uncordoned
//! - `trivial`: the container manager that only remembers its nodes
//! - `kubernetes`: Kubernetes and OpenShift

pub mod config;
mod debts;
mod kubernetes;
mod managers;
mod service;
mod trivial;

pub use config::Config;
pub use kubernetes::{ClientFactory, ClientFunction};
pub use service::{run, run_with};
