//! What the work on every host shares.

use host_access::{Deps, Fencing};
use runtime::Lifecycle;
use storage_client::StorageClient;
use tokio::sync::Semaphore;

use crate::config::Config;

/// See the module.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) config: Config,
    pub(crate) deps: Deps,
    pub(crate) storage: StorageClient,
    /// The claims of this installation to hosts.
    pub(crate) fencing: Fencing,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) ansible_slots: Semaphore,
}

impl Context {
    pub(crate) fn new(deps: Deps, config: Config, lifecycle: &Lifecycle) -> Self {
        let storage = StorageClient::new(deps.bus.clone(), bus::Context::service("investigator"));
        Self {
            fencing: Fencing::new(&deps, &storage),
            storage,
            ansible_slots: Semaphore::new(config.ansible_processes.max(1)),
            lifecycle: lifecycle.clone(),
            config,
            deps,
        }
    }
}
