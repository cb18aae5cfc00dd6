//! Providers of the tests' own, and real ones where there are any.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod keystone;
mod oidc;
mod openshift;
mod real_keystone;
