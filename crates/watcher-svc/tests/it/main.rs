//! The watcher over the real storage service, against real sshds.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod fixture;
mod freezing;
mod hosts;
mod lonely;
mod reporting;
mod schedule;
mod sharing;
mod wary;
