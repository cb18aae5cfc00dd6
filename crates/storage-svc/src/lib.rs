//! The storage service: keeps the records.
//!
//! - [`service`][]: the methods on the bus
//! - [`kinds`][]: the record types it knows
//! - [`rekey`][]: changing the sealing key
//! - [`store`][]: where records are kept, and the interface every store fulfils
//! - [`secrets`][]: sealing of credentials before they reach a store

pub mod kinds;
pub mod rekey;
pub mod secrets;
pub mod service;
pub mod store;

use std::path::PathBuf;
use std::sync::Arc;

use service_core::bus::topology;
use service_core::{Bus, Lifecycle};

pub use secrets::Sealer;
pub use service::StorageService;
pub use store::Store;

/// Requests that are worked on at a time: more than a store answers at once, few enough to bound memory.
const PREFETCH: usize = 256;

/// What the storage service needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file of the embedded store.
    pub database: PathBuf,
    /// The key file that credentials are sealed with; made at the first start of an empty store.
    pub secret_key_file: PathBuf,
}

/// Why the storage service does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store cannot be opened.
    #[error("cannot open the store")]
    Store(#[source] store::StoreError),
    /// The sealing key cannot be used.
    #[error("cannot use the sealing key")]
    Key(#[source] secrets::KeyError),
    /// The bus cannot be reached.
    #[error("cannot serve the bus")]
    Bus(#[source] service_core::Error),
}

/// Opens the store and serves it on the bus until the daemon is told to stop.
///
/// # Errors
/// [`StartError`].
pub async fn run(bus: &Bus, config: &Config, lifecycle: &Lifecycle) -> Result<(), StartError> {
    let store = Store::sqlite(&config.database).map_err(StartError::Store)?;
    let holds_secrets = kinds::has_sealed(&store).await.map_err(StartError::Store)?;
    let sealer = Sealer::open(&config.secret_key_file, holds_secrets).map_err(StartError::Key)?;
    let service = Arc::new(StorageService::new(store, sealer, bus.clone()));
    let handler = move |call| {
        let service = Arc::clone(&service);
        async move { service.call(call).await }
    };
    bus.serve(topology::STORAGE, PREFETCH, lifecycle, handler).await.map_err(StartError::Bus)
}
