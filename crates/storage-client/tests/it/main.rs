//! What the client of the storage service makes of the bus, which is a real broker in some of these tests.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]
#![expect(clippy::disallowed_methods, reason = "tasks of a test end with it")]

mod confidential;
mod leases;
mod reads;
mod support;
