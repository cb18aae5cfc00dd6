//! The cluster executor: rolling operations over the hosts of a cluster.
//!
//! An operation record with status `in_process` *is* the job. Whoever holds the cluster's operation
//! lease works on it; the lease exists as long as the operation is in process, so it is also the lock
//! that keeps a second operation out.
//!
//! - [`config`][]: what it is told
//! - [`service`][]: serves requests, and finds operations that nobody works on any more
//! - `accept`: what would happen, and why not
//! - [`rollout`][]: which host's turn it is, and which hosts are fit (pure)
//! - `members`: the members of a cluster as they are now
//! - `gate`: whether anything may be started now
//! - [`executor`][]: carries an operation out, several hosts at a time
//! - `host_run`: one host, step by step
//! - `apply`: what an upgrade or a deployment does to a host before it is restarted
//! - `health`: whether a host that is back is healthy
//! - `continuation`: what is left of an operation that has ended
//! - `history`, `webhook`, `late`: what follows the end
//! - `web`: requests to URLs of the operator's
//! - [`measure`]: what a step costs beside what it does

mod accept;
mod apply;
pub mod config;
mod continuation;
pub mod executor;
mod gate;
mod health;
mod history;
mod host_run;
mod late;
pub mod measure;
mod members;
pub mod rollout;
pub mod service;
mod web;
mod webhook;

pub use config::Config;
pub use service::run;
