//! What all operations of this process share. A leaf: nothing in it knows of operations.

use std::sync::Arc;

use bus::Result;
use host_access::{Deps, Fencing};
use model::{Address, Alarm, Cluster, ClusterName};
use runtime::{Lifecycle, random};
use storage_client::lease::Leases;
use storage_client::{StorageClient, queries};
use tokio::sync::Notify;

use crate::config::Config;
use crate::ports::Ports;
use crate::web::Web;
use crate::webhook::Webhook;

/// The connections and settings of an executor.
#[derive(Debug)]
pub struct Context {
    pub(crate) config: Config,
    /// The ports to hosts, bus and clock.
    pub deps: Deps,
    pub(crate) storage: StorageClient,
    pub(crate) lifecycle: Lifecycle,
    /// The leases of this executor.
    pub leases: Leases,
    /// The claims of this installation to hosts.
    pub(crate) fencing: Fencing,
    /// The SSH ports of hosts, and which were open at the last look.
    pub(crate) ports: Ports,
    /// The boot id of the machine that the executor runs on.
    pub(crate) own_boot_id: String,
    pub(crate) web: Web,
    pub(crate) webhook: Option<Webhook>,
    /// Signals that pending webhooks were written.
    pub(crate) pending_webhooks: Notify,
}

impl Context {
    /// The context of a process on the machine with the boot id `own_boot_id`.
    ///
    /// # Errors
    /// When the secret of the webhook cannot be read.
    pub fn new(
        deps: Deps,
        config: Config,
        web: Web,
        own_boot_id: String,
        lifecycle: &Lifecycle,
    ) -> Result<Self> {
        let storage = StorageClient::new(deps.bus.clone(), bus::Context::service("clusterexec"));
        let owner = format!("clusterexec:{}", random::uuid());
        Ok(Self {
            leases: Leases::new(storage.clone(), lifecycle.clone(), owner, deps.lease_ttl),
            fencing: Fencing::new(&deps, &storage),
            ports: Ports::new(Arc::clone(&deps.hosts)),
            own_boot_id,
            web,
            webhook: Webhook::new(&config)?,
            pending_webhooks: Notify::new(),
            lifecycle: lifecycle.clone(),
            config,
            storage,
            deps,
        })
    }

    /// The addresses of the current members of a cluster; none if the cluster does not exist.
    pub(crate) async fn members_of(&self, cluster: &ClusterName) -> Result<Vec<Address>> {
        let cluster = self.storage.find::<Cluster>(cluster).await?;
        Ok(cluster.map(|cluster| cluster.record.hostset).unwrap_or_default())
    }

    /// The alarm that concerns a cluster, if there is one.
    pub(crate) async fn alarm(&self, cluster: &ClusterName) -> Result<Option<Alarm>> {
        queries::alarm(&self.storage, cluster).await
    }
}
