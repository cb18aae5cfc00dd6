//! The stand-in against what a real API server was recorded to answer, and against a real client.

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
