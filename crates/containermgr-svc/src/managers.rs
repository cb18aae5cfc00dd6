//! The configured container managers.
//!
//! They follow the stored configurations, which are subscribed to first and then listed. A notification makes the
//! configuration be read again: notifications come in no order and without the secrets. A call for an unknown container
//! manager reads the store as well, since its notification may be late.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bus::error::chain;
use bus::{Bus, Error, Kind, Result, warn_unless_outage};
use model::messages::{KubernetesNodes, NodesRequest};
use model::{
    Address, ContainerManagerConfig, ContainerManagerSecret, ContainerManagerType,
    KubernetesOptions, Model as _, ident,
};
use runtime::{Files, random};
use serde_json::Value;
use storage_client::{Revised, StorageClient};
use tokio::sync::Mutex as AsyncMutex;

use crate::config::Config;
use crate::kubernetes::{ClientFactory, Kubernetes};
use crate::trivial::Trivial;

/// Pause before the configurations are subscribed to and listed again.
const PAUSE: Duration = Duration::from_secs(1);

/// A container manager; clones share it.
#[derive(Debug, Clone)]
pub(crate) enum Manager {
    Trivial(Box<Trivial>),
    Kubernetes(Arc<Kubernetes>),
}

impl Manager {
    /// Registers the node of a host; succeeds if it is registered.
    pub(crate) async fn register_node(&self, address: &str) -> Result<()> {
        match self {
            Self::Trivial(trivial) => trivial.register_node(address).await,
            Self::Kubernetes(kubernetes) => kubernetes.register_node(address).await,
        }
    }

    /// Removes the node of a host if this service has created it; succeeds if it is missing.
    pub(crate) async fn remove_node(&self, address: &str) -> Result<()> {
        match self {
            Self::Trivial(trivial) => trivial.remove_nodes(&[address.into()]).await,
            Self::Kubernetes(kubernetes) => kubernetes.remove_node(address).await,
        }
    }

    /// Removes the nodes of many hosts: see [`Self::remove_node`].
    pub(crate) async fn remove_nodes(&self, addresses: &[Address]) -> Result<()> {
        match self {
            Self::Trivial(trivial) => trivial.remove_nodes(addresses).await,
            Self::Kubernetes(kubernetes) => kubernetes.remove_nodes(addresses).await,
        }
    }

    /// Checks whether the node of a host is registered.
    ///
    /// # Errors
    /// [`Kind::ContainerManager`] when it is not.
    pub(crate) async fn check_registered(&self, address: &str) -> Result<()> {
        match self {
            Self::Trivial(trivial) => trivial.node_status(address).await.map(drop),
            Self::Kubernetes(kubernetes) => kubernetes.check_registered(address).await,
        }
    }

    /// The node of a host.
    pub(crate) async fn node_status(&self, address: &str) -> Result<Value> {
        match self {
            Self::Trivial(trivial) => trivial.node_status(address).await,
            Self::Kubernetes(kubernetes) => kubernetes.node_status(address).await,
        }
    }

    /// All nodes of a Kubernetes; none for a container manager that is not one.
    pub(crate) async fn nodes(&self, request: &NodesRequest) -> Result<KubernetesNodes> {
        match self {
            Self::Trivial(_) => Ok(KubernetesNodes::default()),
            Self::Kubernetes(kubernetes) => kubernetes.nodes(request).await,
        }
    }

    /// The Kubernetes.
    ///
    /// # Errors
    /// [`Kind::ContainerManager`] when it is of another type.
    pub(crate) fn kubernetes(&self) -> Result<&Kubernetes> {
        match self {
            Self::Kubernetes(kubernetes) => Ok(kubernetes),
            Self::Trivial(trivial) => {
                let name = trivial.name();
                let message =
                    format!("the container manager {name} has no nodes that can be cordoned");
                Err(Error::new(Kind::ContainerManager, message))
            }
        }
    }
}

/// The configured container managers, by name.
#[derive(Debug)]
pub(crate) struct Managers {
    storage: StorageClient,
    config: Config,
    files: Files,
    clients: ClientFactory,
    /// The usable container managers, with the revisions of the configurations that they were made from.
    known: Mutex<HashMap<String, (u64, Manager)>>,
    /// Held while configurations are read and applied, so that an older one never comes last.
    taking_over: AsyncMutex<()>,
}

impl Managers {
    pub(crate) fn new(
        storage: StorageClient,
        config: Config,
        files: Files,
        clients: ClientFactory,
    ) -> Self {
        let (known, taking_over) = (Mutex::default(), AsyncMutex::default());
        Self { storage, config, files, clients, known, taking_over }
    }

    // A mutex of std: it is held for a few map operations and never across an await.
    fn known(&self) -> MutexGuard<'_, HashMap<String, (u64, Manager)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The container manager of this name.
    pub(crate) async fn get(&self, name: &str) -> Result<Manager> {
        ident::name(name).map_err(|_| unknown(name))?;
        if let Some((_, manager)) = self.known().get(name) {
            return Ok(manager.clone());
        }
        self.read(name).await?.ok_or_else(|| unknown(name))
    }

    /// Follows the stored configurations without end.
    pub(crate) async fn follow(&self, bus: &Bus) {
        loop {
            match self.follow_notifications(bus).await {
                Ok(()) => tracing::debug!("changes of container managers may have been missed"),
                Err(error) => {
                    warn_unless_outage!(error, "cannot read the container managers");
                }
            }
            tokio::time::sleep(random::jitter(PAUSE)).await;
        }
    }

    /// Follows the stored configurations until notifications are lost or the storage service is unavailable.
    async fn follow_notifications(&self, bus: &Bus) -> Result<()> {
        let pattern = bus::topology::changed(ContainerManagerConfig::TYPE, "*");
        let mut changes = bus.subscribe(&pattern).await?;
        self.read_all().await?;
        while let Some(change) = changes.next().await {
            let Some(name) = change.params["model"]["name"].as_str() else { continue };
            let known = self.known().get(name).map(|(revision, _)| *revision);
            if known.is_some() && known >= change.params["revision"].as_u64() {
                continue;
            }
            if let Err(error) = self.read(name).await {
                report(name, error)?;
            }
        }
        Ok(())
    }

    async fn read_all(&self) -> Result<()> {
        let _alone = self.taking_over.lock().await;
        let stored = self.storage.list::<ContainerManagerConfig>().await?;
        self.known().retain(|name, _| stored.iter().any(|config| config.record.name == *name));
        for config in stored {
            let name = config.record.name.clone();
            if let Err(error) = self.take_over(config).await {
                report(&name, error)?;
            }
        }
        Ok(())
    }

    async fn read(&self, name: &str) -> Result<Option<Manager>> {
        let _alone = self.taking_over.lock().await;
        let found = self.storage.find::<ContainerManagerConfig>(name).await?;
        let Some(config) = found else {
            self.known().remove(name);
            return Ok(None);
        };
        self.take_over(config).await.map(Some)
    }

    async fn take_over(&self, config: Revised<ContainerManagerConfig>) -> Result<Manager> {
        let Revised { record, revision } = config;
        // A notification and a call may read it at the same time: what the first of them has made remembers answers.
        if let Some((_, manager)) =
            self.known().get(&record.name).filter(|known| known.0 == revision)
        {
            return Ok(manager.clone());
        }
        let secret = self.storage.find::<ContainerManagerSecret>(&record.name).await?;
        let secret = secret.map(|secret| secret.record);
        let made = self.make(&record, secret.as_ref()).await;
        match &made {
            Ok(manager) => self.known().insert(record.name, (revision, manager.clone())),
            // The earlier configuration is not in force any more.
            Err(_) => self.known().remove(&record.name),
        };
        made
    }

    async fn make(
        &self,
        config: &ContainerManagerConfig,
        secret: Option<&ContainerManagerSecret>,
    ) -> Result<Manager> {
        let name = &config.name;
        let unusable = |why| {
            let message = format!("the container manager {name} cannot be used: {why}");
            Error::new(Kind::ContainerManager, message)
        };
        match config.kind {
            ContainerManagerType::Trivial => {
                Ok(Manager::Trivial(Box::new(Trivial::new(self.storage.clone(), name))))
            }
            ContainerManagerType::Kubernetes | ContainerManagerType::Openshift => {
                let options = config.joined(secret).map_err(unusable)?;
                let options = KubernetesOptions::parse(&options).map_err(unusable)?;
                let client = self.clients.client(&options, &self.config, &self.files).await;
                let client = client.map_err(unusable)?;
                if options.insecure_skip_tls_verify {
                    tracing::warn!(
                        container_manager.name = name,
                        "the certificate of the container manager is not verified (insecure_skip_tls_verify): an attacker on the network can read the token and use it"
                    );
                }
                let timeout = self.config.timeout();
                let kubernetes = Kubernetes::with_client(name, client, &options, timeout);
                Ok(Manager::Kubernetes(Arc::new(kubernetes)))
            }
        }
    }
}

/// Logs that a configuration is unusable.
///
/// # Errors
/// The same error, if it comes from an unavailable storage service.
fn report(name: &str, error: Error) -> Result<()> {
    if matches!(error.kind(), Kind::Unavailable | Kind::Timeout) {
        return Err(error);
    }
    tracing::warn!(
        container_manager.name = name,
        error = chain(&error),
        "container manager unusable"
    );
    Ok(())
}

fn unknown(name: &str) -> Error {
    Error::new(Kind::ContainerManager, format!("there is no container manager {name:?}"))
}
