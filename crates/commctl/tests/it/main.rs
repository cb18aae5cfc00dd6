//! The real binary against a server that answers as it is told.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails the test")]
#![expect(clippy::disallowed_methods, reason = "terminals and agents are read by threads")]

mod access;
mod binary;
mod cluster;
mod config;
mod container_manager;
mod contexts;
mod endpoints;
mod enroll;
mod explain;
mod help;
mod host;
mod host_names;
mod kubeconfig;
mod live;
mod login;
mod mistakes;
mod network;
mod oidc;
mod operations;
mod output;
mod passhash;
mod shell;
mod ssh;
mod support;
mod tables;
mod terminal;
mod token;
mod user_data;
mod waiting;
