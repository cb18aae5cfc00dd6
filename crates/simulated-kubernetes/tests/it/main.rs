//! The stand-in against what a real API server was recorded to answer, and against a real client.

mod api;
mod client;
mod controllers;
mod evictions;
mod kubelets;
mod process;
mod replay;
mod support;
