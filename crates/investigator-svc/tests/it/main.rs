//! The investigator, as far as it goes without a whole host: what becomes of hosts that are set up, and of one
//! that turns it away.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod enrollment;
mod marks;
mod registration;
mod throttling;
