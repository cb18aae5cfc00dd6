//! The container manager service: on a bus with a real storage service, and against an API server that sends the recorded
//! responses of a real one, or to one in the same process.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod cordons;
mod evictions;
mod following;
mod in_process;
mod kubernetes;
mod nodes;
mod refusals;
mod support;
mod tls;
mod trivial;
