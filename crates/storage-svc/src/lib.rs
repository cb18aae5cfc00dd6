//! The storage service: keeps the records.
//!
//! - [`accounts`][]: what the accounts of the message broker may do
//! - `availability`: whether this replica reaches its store, and so takes requests
//! - [`mod@backup`][]: the records of all stores at one moment
//! - [`compaction`][]: dropping the history of etcd
//! - [`config`][]: what it is told
//! - [`registry`][]: which store keeps which models
//! - `format`: the format of the records in a store
//! - [`handlers`][]: the open stores, and where a record belongs
//! - [`service`][]: the methods on the bus
//! - [`inspection`][]: reading the stores without a change
//! - [`kinds`][]: the record types it knows
//! - [`keyring`][]: the sealing key in use
//! - `last_checks`: when hosts were last checked, from the reports of the watchers
//! - `members`: the members of clusters
//! - [`migrate`][]: taking over the data of the original
//! - `newest`: the documented records of operations
//! - `quota`: warnings before etcd is full
//! - [`restore`][]: putting a backup into the stores
//! - [`rekey`][]: changing the sealing key
//! - [`store`][]: where records are kept, and the interface every store fulfils
//! - [`secrets`][]: sealing of credentials before they reach a store
//! - [`vault`][]: where secrets are
//! - `split`: records that are kept in parts

pub mod accounts;
mod availability;
pub mod backup;
pub mod compaction;
pub mod config;
mod format;
pub mod handlers;
pub mod inspection;
pub mod keyring;
pub mod kinds;
mod last_checks;
mod members;
pub mod migrate;
mod newest;
mod quota;
pub mod registry;
pub mod rekey;
pub mod restore;
pub mod secrets;
pub mod service;
mod split;
pub mod store;
pub mod vault;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bus::error::chain;
use bus::{Bus, Context, Fitness, presence, topology};
use model::{CheckReport, Model as _};
use runtime::{Lifecycle, random};
use storage_client::StorageClient;
use storage_client::lease::Leases;
use tokio::sync::watch;

pub use config::{Compaction, Config, Handler};
pub use handlers::Handlers;
pub use inspection::Inspection;
use keyring::{Keyring, UnlockError};
pub use secrets::Sealer;
pub use service::StorageService;
pub use store::Store;
use vault::Vault;

/// Requests that are worked on at a time: more than a store answers at once, few enough to bound memory.
const PREFETCH: usize = 256;

/// How long a store may take to answer at the start before requests are served without it.
const PATIENCE: Duration = Duration::from_secs(3);

/// Between two checkpoints of the embedded store: a copy of its file alone lacks at most that much.
const CHECKPOINTS: Duration = Duration::from_mins(1);

/// The pause before notifications of check reports are subscribed to again.
const RESUBSCRIBE: Duration = Duration::from_secs(1);

/// The time to live of the lease of who compacts: long, since each renewal is a write.
const COMPACTION_LEASE: Duration = Duration::from_mins(5);

/// Why the storage service does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The stores cannot be opened.
    #[error("cannot open the stores")]
    Open(#[source] handlers::OpenError),
    /// The sealing key cannot be used.
    #[error("credentials cannot be kept")]
    Key(#[source] UnlockError),
    /// Custodia cannot be used.
    #[error("credentials cannot be kept")]
    Custodia(#[source] secrets::CustodiaError),
    /// The bus cannot be reached.
    #[error("cannot serve the bus")]
    Bus(#[source] bus::Error),
}

/// Opens the stores and serves them on the bus until the daemon is told to stop.
///
/// A store that is reached over the network may be silent: it is then waited for, and until it answers this replica
/// takes no requests.
///
/// # Errors
/// [`StartError`].
pub async fn run(bus: &Bus, config: &Config, lifecycle: &Lifecycle) -> Result<(), StartError> {
    let handlers = Handlers::open(config.handlers()).await.map_err(StartError::Open)?;
    let (handlers, keyring) = (Arc::new(handlers), Arc::new(Keyring::default()));
    let locked = if config.custodia_socket_path.is_none() {
        let key_file = config.key_file();
        unlock(&handlers, &keyring, key_file, lifecycle).await.map_err(StartError::Key)?
    } else {
        None
    };
    let vault = Vault::new(config.custodia_socket_path.as_ref(), keyring);
    let vault = vault.map_err(StartError::Custodia)?;

    look_after_etcd(&handlers, config.compaction, bus, lifecycle);
    let (fitness, is_fit) = watch::channel(handlers.answers(PATIENCE).await);
    // A store that is unavailable is logged as that.
    if let Some(error) = locked.filter(|_| *is_fit.borrow()) {
        tracing::warn!(error, "the sealing key is not confirmed yet: no credentials can be used");
    }
    let probing = availability::keep(Arc::clone(&handlers), fitness, lifecycle.clone());
    lifecycle.spawn_critical("availability", probing);
    let service = StorageService::new(Arc::clone(&handlers), vault, bus.clone());
    let service = Arc::new(service.with_accounts(config.accounts.clone()));
    let keeping = keep_files(handlers, Arc::clone(&service), lifecycle.clone());
    lifecycle.spawn("checkpoints", keeping);
    let hearing = hear_of_reports(bus.clone(), Arc::clone(&service), lifecycle.clone());
    lifecycle.spawn("check reports", hearing);
    let handler = move |call| {
        let service = Arc::clone(&service);
        async move { service.call(call).await }
    };
    let fitness = Fitness::following(is_fit);
    let served = bus.serve_while(topology::STORAGE, PREFETCH, fitness, lifecycle, handler);
    served.await.map_err(StartError::Bus)?;
    presence::answer_pings(bus, topology::STORAGE.name, lifecycle);
    Ok(())
}

/// Has check reports that other replicas write read at once, and not only when those that are known are a second
/// old: hosts must not show an earlier last check here than a moment ago elsewhere.
async fn hear_of_reports(bus: Bus, service: Arc<StorageService>, lifecycle: Lifecycle) {
    let hearing = async {
        loop {
            match bus.subscribe(&topology::changed(CheckReport::TYPE, "*")).await {
                Ok(mut changes) => {
                    while changes.next().await.is_some() {
                        service.reports_changed();
                    }
                }
                Err(error) => {
                    tracing::debug!(error = chain(&error), "no notifications of check reports");
                }
            }
            tokio::time::sleep(RESUBSCRIBE).await;
        }
    };
    tokio::select! {
        () = hearing => {}
        () = lifecycle.stopping() => {}
    }
}

/// Has etcd compacted, and warns before it is full.
fn look_after_etcd(handlers: &Handlers, wanted: Compaction, bus: &Bus, lifecycle: &Lifecycle) {
    for (handler, options, etcd) in handlers.in_etcd() {
        let name = handler.name.clone();
        let quota = options.quota_backend_bytes;
        let watch = quota::watch(name.clone(), etcd.clone(), quota, lifecycle.clone());
        lifecycle.spawn("quota", watch);
        if wanted == Compaction::Off {
            continue;
        }
        let client = StorageClient::new(bus.clone(), Context::service("storage"));
        let owner = format!("storage-{:016x}", u64::from_be_bytes(random::bytes()));
        let leases = Leases::new(client, lifecycle.clone(), owner, COMPACTION_LEASE);
        let keep =
            compaction::keep(name, etcd, leases, compaction::Pace::default(), lifecycle.clone());
        lifecycle.spawn("compaction", keep);
    }
}

/// Keeps the files of embedded stores up to date. Requests that are under way at the stop still write: the store
/// has each of them in its file before it acknowledges it.
async fn keep_files(handlers: Arc<Handlers>, service: Arc<StorageService>, lifecycle: Lifecycle) {
    let stopping = lifecycle.stopping();
    tokio::pin!(stopping);
    loop {
        tokio::select! {
            () = &mut stopping => return handlers.close().await,
            () = tokio::time::sleep(CHECKPOINTS) => {
                // A snapshot keeps the WAL from being emptied.
                service.drop_old_snapshots();
                handlers.checkpoint().await;
            }
        }
    }
}

/// Finds the sealing key. A store that is unavailable is waited for in the background, which is why there is no key yet.
async fn unlock(
    handlers: &Arc<Handlers>,
    keyring: &Arc<Keyring>,
    key_file: PathBuf,
    lifecycle: &Lifecycle,
) -> Result<Option<String>, UnlockError> {
    if key_file.exists() {
        Sealer::open(&key_file, true).map_err(UnlockError::Key)?;
    }
    let unlock = keyring::unlock(handlers, &key_file);
    let why = match tokio::time::timeout(PATIENCE, unlock).await {
        Ok(Ok(sealer)) => {
            keyring.put(sealer);
            None
        }
        Ok(Err(error)) if !handlers.is_away(&error) => return Err(error),
        Ok(Err(error)) => Some(chain(&error)),
        Err(_) => Some(format!("no answer within {} s", PATIENCE.as_secs())),
    };
    let (keyring, handlers) = (Arc::clone(keyring), Arc::clone(handlers));
    let reloads = lifecycle.reloads();
    let keep = keyring::keep(keyring, handlers, key_file, lifecycle.clone(), reloads);
    lifecycle.spawn_critical("sealing key", keep);
    Ok(why)
}
