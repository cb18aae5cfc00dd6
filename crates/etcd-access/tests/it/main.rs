//! A real etcd: TLS, users, and configuration that is kept there.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod etcd;
