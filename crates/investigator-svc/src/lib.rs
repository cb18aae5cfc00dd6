//! The investigator: looks at new hosts and sets them up.
//!
//! A host whose status says that it is under investigation *is* the job; messages only make it sooner.
//! So is a `disassociated` member of a cluster with a container manager: it is to be registered there.
//!
//! - [`config`][]: what it is told
//! - `context`: what the work on all hosts shares
//! - [`jobs`][]: finds hosts to look at, and claims each by a lease
//! - [`investigation`][]: the work on one host, from log-in to the last write
//! - `mark`: the generation mark of a host
//! - [`plan`][]: what is to be done to a host (pure)
//! - `login`: tries credentials on a host before they are kept
//! - `registration`: hands hosts that are set up to the container manager of their cluster

pub mod config;
mod context;
mod enrollment;
pub mod investigation;
pub mod jobs;
mod login;
mod mark;
pub mod plan;
mod registration;

pub use config::Config;
pub use jobs::run;
