//! Conformance of the bus backends, and leases over a real storage client.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod bus;
