//! Conformance of the stores, the service's methods over the bus, and leases.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod leases;
mod service;
mod store;
