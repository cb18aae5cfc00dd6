//! Conformance of the stores, the service's methods over the bus, sealing keys, leases.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]
#![expect(clippy::disallowed_methods, reason = "tasks of a test end with it")]

mod away;
mod backups;
mod compaction;
mod composed;
mod custodia;
mod etcd;
mod formats;
mod keyring;
mod last_checks;
mod leases;
mod leaving;
mod migrate;
mod registry;
mod service;
mod split;
mod sqlite;
mod store;
mod transform;
