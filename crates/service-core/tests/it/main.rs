//! Conformance of the bus backends, what AMQP adds to it, faults of the broker, and etcd.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]
#![expect(clippy::disallowed_methods, reason = "tasks of a test end with it")]

mod bus;
mod cluster;
mod etcd;
mod faults;
mod outages;
mod reads;
mod support;
mod traffic;
