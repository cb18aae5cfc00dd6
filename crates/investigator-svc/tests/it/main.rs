//! The investigator, as far as it goes without a host: what becomes of hosts that are set up.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod enrollment;
mod registration;
