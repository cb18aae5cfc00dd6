//! The cluster executor: rolling operations over the hosts of a cluster.
//!
//! An operation record with status `in_process` *is* the job. The replica that holds the cluster's operation lease works
//! on it. The lease exists as long as the operation is in process, so it also rejects a second operation.
//!
//! Dependencies point downwards only, from the last of these modules to the first:
//!
//! - [`config`], `host_error`, `identity`, `nodes`, `debts`, `rejection`, [`steps`], [`waiting`], `unfinished`, [`web`], `history`: leaves
//! - [`ports`], `webhook`, [`context`]: what all operations of the process share
//! - [`schedule`]: whose turn it is, in which order, within which disruption budget (pure); `members` applies it
//! - [`journal`]: the only writer of an operation's records
//! - `node_budget`, `quorum`: the budgets that clusters share (pure); `shared_budgets` applies them
//! - `control`, `alarm`: pause, abort, freeze and alarms
//! - `log_in`, `done_hosts`, [`budget`]: connections to hosts, and the go-ahead for a command
//! - `host_run`: one host, one function per step
//! - [`rollout`]: the loop over the hosts; `late_hosts`: hosts that come back after its end
//! - `node_plan`, [`accept`], `continuation`, `manual_cordon`: before the beginning; `delivery`: pending webhooks
//! - [`service`]: serves requests, and takes over operations whose executor is gone

pub mod accept;
mod alarm;
pub mod budget;
pub mod config;
pub mod context;
mod continuation;
mod control;
mod debts;
mod delivery;
mod done_hosts;
mod history;
mod host_error;
mod host_run;
mod identity;
pub mod journal;
mod late_hosts;
mod log_in;
mod manual_cordon;
mod members;
mod node_budget;
mod node_plan;
mod nodes;
pub mod ports;
mod quorum;
mod rejection;
pub mod rollout;
pub mod schedule;
pub mod service;
mod shared_budgets;
pub mod steps;
mod unfinished;
pub mod waiting;
pub mod web;
mod webhook;

pub use config::Config;
pub use service::{run, serve};
