//! The investigator: looks at new hosts and sets them up.
//!
//! A host whose status says that it is under investigation *is* the job; messages only make it sooner.
//!
//! - [`config`][]: what it is told
//! - [`jobs`][]: finds hosts to look at, and claims each by a lease
//! - [`investigation`][]: the work on one host, from log-in to the last write
//! - [`plan`][]: what is to be done to a host (pure)

pub mod config;
pub mod investigation;
pub mod jobs;
pub mod plan;

pub use config::Config;
pub use jobs::run;
