//! The cluster executor: rolling operations over the hosts of a cluster.
//!
//! An operation record with status `in_process` *is* the job. Whoever holds the cluster's operation
//! lease works on it; the lease exists as long as the operation is in process, so it is also the lock
//! that keeps a second operation out.
//!
//! - [`config`][]: what it is told
//! - [`service`][]: accepts operations, and finds those that nobody works on any more
//! - [`rollout`][]: which host's turn it is, and which hosts are fit (pure)
//! - [`executor`][]: carries an operation out, host after host
//! - [`restart`][]: one host's restart, step by step
//! - `apply`: what an upgrade or a deployment does to a host before it is restarted

mod apply;
pub mod config;
pub mod executor;
pub mod restart;
pub mod rollout;
pub mod service;

pub use config::Config;
pub use service::run;
