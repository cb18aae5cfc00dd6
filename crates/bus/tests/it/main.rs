//! Conformance of the bus backends, what AMQP adds to it, and faults of the broker.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]
#![expect(clippy::disallowed_methods, reason = "tasks of a test end with it")]

mod bus;
mod cluster;
mod faults;
mod outages;
mod support;
mod traffic;
