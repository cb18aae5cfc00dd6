//! Daemons over the real storage service, on the bus inside the process.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod accounts;
mod ledger;
mod run_dir;
mod server_keys;

use bus::{Bus, Context};
use runtime::Lifecycle;
use storage_client::StorageClient;
use tempfile::TempDir;

/// A storage service and what it keeps.
struct Store {
    bus: Bus,
    storage: StorageClient,
    life: Lifecycle,
    folder: TempDir,
}

impl Store {
    async fn start() -> Self {
        let store = Self::not_started();
        store.serve().await;
        store
    }

    fn not_started() -> Self {
        let folder = tempfile::Builder::new().prefix("d").tempdir().unwrap();
        let bus = Bus::memory();
        let storage = StorageClient::new(bus.clone(), Context::service("test"));
        Self { bus, storage, life: Lifecycle::new(), folder }
    }

    async fn serve(&self) {
        let path = |name: &str| self.folder.path().join(name);
        let config = storage_svc::Config::sqlite(path("store.db"), path("secret.key"));
        storage_svc::run(&self.bus, &config, &self.life).await.unwrap();
    }
}
