//! The watcher over the storage service, with simulated hosts in paused time; one test is with real `sshd`s.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod fencing;
mod fixture;
mod freezing;
mod hosts;
mod lonely;
mod reporting;
mod schedule;
mod sharing;
mod wary;
