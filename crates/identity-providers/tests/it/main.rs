//! Providers as they are: skipped where there are none.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod oidc;
