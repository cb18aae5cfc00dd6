//! The whole product against real hosts: `commissaire` as a process, test hosts of `tools/testbed`.
//!
//! Each test has hosts and a server of its own. What happened to a host is asked of the host and of its
//! supervisor, not of the server's records.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod crashes;
mod failures;
mod first_start;
mod main_job;
mod server;
