//! The real binary against a server that answers as it is told.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails the test")]

mod cluster;
mod config;
mod endpoints;
mod host;
mod network;
mod output;
mod passhash;
mod support;
mod waiting;
