//! The REST contract, case by case: a running gateway and the real storage service on a bus inside the
//! test; small stand-ins serve the queues of the other daemons.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod audit;
mod authentication;
mod backups;
mod bodies;
mod changes;
mod clusters;
mod container_managers;
mod continuing;
mod contract;
mod control;
mod enrollments;
mod events;
mod explain;
mod failures;
mod freeze;
mod health;
mod history;
mod hosts;
mod idempotency;
mod isolation;
mod limits;
mod members;
mod methods;
mod metrics;
mod networks;
mod nodes;
mod openapi;
mod operations;
mod options;
mod paths;
mod properties;
mod providers;
mod restart;
mod roles;
mod schemathesis;
mod secrets;
mod simulated;
mod smuggling;
mod support;
mod tls;
mod tokens;
