//! The container manager service: over a bus with a real storage service, and against an API server that
//! answers as a real one was recorded to.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod following;
mod kubernetes;
mod refusals;
mod support;
mod tls;
mod trivial;
