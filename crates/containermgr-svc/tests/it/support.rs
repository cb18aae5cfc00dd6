//! The fixture.

mod api;
mod pki;
pub(crate) mod simulated;

use bus::{Bus, Context, Error};
use containermgr_svc::ClientFactory;
use runtime::Lifecycle;
use runtime::files::{Files, MemoryFiles};
use serde_json::{Value, json};
use storage_client::StorageClient;

pub(crate) use api::{Api, Fault, TOKEN, recorded};
pub(crate) use pki::Pki;

/// The service, with a real storage service behind it.
pub(crate) struct Fixture {
    pub(crate) bus: Bus,
    pub(crate) storage: StorageClient,
    /// The files that configurations may name.
    pub(crate) files: MemoryFiles,
    _folder: tempfile::TempDir,
    life: Lifecycle,
}

impl Fixture {
    pub(crate) async fn start() -> Self {
        let fixture = Self::without_service().await;
        fixture.start_service().await;
        fixture
    }

    /// Only the storage service.
    pub(crate) async fn without_service() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (bus, life) = (Bus::memory(), Lifecycle::new());
        let config = storage_svc::Config::sqlite(
            folder.path().join("store.db"),
            folder.path().join("secret.key"),
        );
        storage_svc::run(&bus, &config, &life).await.unwrap();
        let storage = StorageClient::new(bus.clone(), Context::service("test"));
        Self { bus, storage, files: MemoryFiles::default(), _folder: folder, life }
    }

    /// A replica of the service; its life ends with `shutdown`, or with the test.
    pub(crate) async fn start_service(&self) -> Lifecycle {
        self.start_service_with(ClientFactory::Network).await
    }

    /// The same with clients that the test makes.
    pub(crate) async fn start_service_with(&self, clients: ClientFactory) -> Lifecycle {
        let life = Lifecycle::new();
        let config = containermgr_svc::Config {
            connect_timeout: 2,
            timeout: 4,
            ..containermgr_svc::Config::default()
        };
        let files = Files::Memory(self.files.clone());
        let bus = self.bus.clone();
        containermgr_svc::run_with(bus, config, files, clients, &life).await.unwrap();
        life
    }

    /// A fixture whose container manager `k` is this API server.
    pub(crate) async fn with(api: &Api) -> Self {
        let fixture = Self::start().await;
        fixture.configure("k", "kubernetes", api.options()).await;
        fixture
    }

    /// Saves a configuration as anybody on the bus does, secrets and all.
    pub(crate) async fn configure(&self, name: &str, kind: &str, options: Value) {
        let record = json!({"name": name, "type": kind, "options": options});
        self.ask("storage.save", json!(["ContainerManagerConfig", record])).await.unwrap();
    }

    pub(crate) async fn ask(&self, key: &str, params: Value) -> Result<Value, Error> {
        self.bus.request(key, &params, &Context::service("test")).await
    }

    /// A method of `container` about a node of `k`.
    pub(crate) async fn call(&self, method: &str, address: &str) -> Result<Value, Error> {
        self.ask(&format!("container.{method}"), json!(["k", address])).await
    }

    /// Such a call that fails with -20001, and its message.
    pub(crate) async fn refused(&self, method: &str, address: &str) -> String {
        let error = self.call(method, address).await.unwrap_err();
        assert_eq!(error.kind(), bus::Kind::ContainerManager, "{error}");
        assert!(!error.to_string().contains(TOKEN), "{error}");
        error.to_string()
    }

    /// Such a call that fails with -20003, and its message.
    pub(crate) async fn unavailable(&self, method: &str, address: &str) -> String {
        let error = self.call(method, address).await.unwrap_err();
        assert_eq!(error.kind(), bus::Kind::Unavailable, "{error}");
        error.to_string()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.life.stop();
    }
}
