//! The real binary against a server that answers as it is told.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails the test")]

mod cluster;
mod config;
mod container_manager;
mod endpoints;
mod enroll;
mod host;
mod network;
mod output;
mod passhash;
mod shell;
mod ssh;
mod support;
mod user_data;
mod waiting;
