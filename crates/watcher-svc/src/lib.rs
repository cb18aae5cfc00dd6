//! The watcher: checks every host once per interval, and says so when one is gone.
//!
//! Whatever it knows lies in records: when a host was last checked, and how often in a row that failed.
//! So any number of watchers share the hosts, and each goes on where another has stopped.
//!
//! - [`config`][]: what it is told
//! - `context`: what the work on all hosts shares
//! - [`service`][]: keeps the roster up to date and starts the checks that are due
//! - [`membership`][]: which watchers there are, by their leases
//! - [`check`][]: one check, from reading the records to writing what came of it
//! - `look`: what a check does on the host, and its generation mark
//! - `reports`: when hosts were last checked, for the others to read
//! - [`roster`][]: all hosts as their records say; who is due, who is away (pure)
//! - [`schedule`][]: whose a host is, and when it is due (pure)
//! - [`timeline`][]: the time of the schedule
//! - [`scopes`][]: the groups of hosts that an alarm may be about (pure)
//! - [`alarms`][]: when alarms are raised and ended (pure)
//! - `turns`: which hosts are under way in an operation
//! - [`decide`][]: what a check makes of a host (pure)

pub mod alarms;
pub mod check;
pub mod config;
mod context;
pub mod decide;
mod look;
pub mod membership;
mod reports;
pub mod roster;
pub mod schedule;
pub mod scopes;
pub mod service;
pub mod timeline;
mod turns;

pub use config::Config;
pub use roster::claims::active_within;
pub use service::run;
