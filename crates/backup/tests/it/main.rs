//! Backups that are transformed.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod edited;
mod examples;
mod mapping;
mod selecting;
