//! The whole of Commissaire in one deterministic process: faults from a seed, invariants checked after each event.
//!
//! Everything is the real code but for its ports: hosts are simulated, the store is in memory, and the bus is a network
//! that delays, loses and repeats messages. All runs on one thread in paused time, so that a rollout of hours takes
//! milliseconds, and the same seed gives the same run.
//!
//! # Layout
//!
//! - `scenario`: what happens in a run, made from its seed (pure)
//! - `fate`: what happens to each message (pure)
//! - `trace`: the story of a run
//! - `reads`: what a request read from the store (pure)
//! - `truth`: the store's commits and the hosts' real state, and the invariants
//! - `kubernetes`: the Kubernetes whose nodes the hosts are, in scenarios with one
//! - `network`: the connections of processes to the bus and to hosts
//! - `processes`: replicas, started, stopped and crashed
//! - `client`: requests of clients and operators
//! - `run`: one run
//! - `generations`: tests of two installations over the same hosts, one restored from a backup of the other
//! - `reasons`: tests that provoke the reasons of failures and waits
//! - `search`: many runs, and the smallest scenario that fails

mod client;
mod fate;
#[cfg(test)]
mod generations;
mod kubernetes;
mod network;
mod processes;
mod reads;
#[cfg(test)]
mod reasons;
mod run;
mod scenario;
pub mod search;
mod trace;
mod truth;

pub use run::Outcome;
pub use scenario::Shape;
