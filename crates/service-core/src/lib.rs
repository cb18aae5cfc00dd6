//! What every Commissaire daemon shares.
//!
//! - [`bus`][]: requests, notifications and jobs between the services
//! - [`jsonrpc`][]: the messages on the bus
//! - [`json`][]: messages about JSON, without the names of Rust's types
//! - [`error`][]: one error type, and the one table error ↔ JSON-RPC code ↔ HTTP status
//! - [`messages`][]: the messages on the bus that are no records
//! - [`model`][]: the records, their keys and their validation
//! - [`storage`][]: the typed client of the storage service
//! - [`lease`][]: who may work on a record
//! - [`lifecycle`][]: signals, tasks, shutdown
//! - [`claims`][]: what this process works on
//! - [`config`][]: configuration, from files or etcd
//! - [`etcd`][]: the way to etcd
//! - [`networks`][]: sets of addresses
//! - [`queries`][]: questions about clusters and operations that several services ask
//! - [`explain`][]: the state of an object and the reason for it, in sentences
//! - [`outage`][]: what is logged when something is unavailable
//! - [`presence`][]: which services are running
//! - [`telemetry`][]: logs
//! - [`clock`][]: the time, and how it is written
//! - [`expiring`][]: a map of limited size whose entries expire
//! - [`files`][]: files that are read while a service runs
//! - [`retry`][]: when something is tried again
//! - [`random`][]: random choices, identifiers and secrets
//! - [`host_keys`][]: SSH host keys as text
//! - [`mod@abridged`][]: lists in sentences
//!
//! Data flows one way: a service is a library with a `run` function that takes a [`bus::Bus`], its
//! configuration and a [`lifecycle::Lifecycle`]; it knows the other services by their routing keys only.

pub mod abridged;
pub mod bus;
pub mod claims;
pub mod clock;
pub mod config;
pub mod error;
pub mod etcd;
pub mod expiring;
pub mod explain;
pub mod files;
pub mod host_keys;
pub mod json;
pub mod jsonrpc;
pub mod lease;
pub mod lifecycle;
pub mod messages;
pub mod model;
pub mod networks;
pub mod outage;
pub mod presence;
pub mod queries;
pub mod random;
pub mod retry;
pub mod storage;
pub mod telemetry;

pub use abridged::abridged;
pub use bus::Bus;
pub use clock::Clock;
pub use error::{Error, Kind, Result};
pub use files::Files;
pub use lifecycle::Lifecycle;
pub use networks::Networks;
pub use outage::Outage;
pub use storage::StorageClient;
