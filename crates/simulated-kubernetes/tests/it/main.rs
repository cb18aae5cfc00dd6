//! Tests of the stand-in: recorded exchanges of a real API server, behaviour, and a real client.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod api;
mod client;
mod controllers;
mod evictions;
mod kubelets;
mod process;
mod replay;
mod robustness;
mod support;
