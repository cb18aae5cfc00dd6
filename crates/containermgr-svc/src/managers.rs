//! The container managers that are configured, as they are configured now.
//!
//! They follow the stored configurations: subscribed to first, then listed; what a notification says is
//! read afresh, since its order means nothing and the secrets are not in it. A call for one that is not
//! known looks into the store before it says so: the notification may be late.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bus::error::chain;
use bus::{Bus, Error, Kind, Result, warn_unless_outage};
use model::{
    Address, ContainerManagerConfig, ContainerManagerSecret, ContainerManagerType,
    KubernetesOptions, Model as _, ident,
};
use runtime::{Files, random};
use serde_json::Value;
use storage_client::{Revised, StorageClient};
use tokio::sync::Mutex as AsyncMutex;

use crate::config::Config;
use crate::kubernetes::Kubernetes;
use crate::trivial::Trivial;

/// The pause before the configurations are subscribed to and listed again.
const PAUSE: Duration = Duration::from_secs(1);

/// A container manager; clones share it.
#[derive(Debug, Clone)]
pub(crate) enum Manager {
    Trivial(Box<Trivial>),
    Kubernetes(Kubernetes),
}

impl Manager {
    /// Makes a host a node; done already is done.
    pub(crate) async fn register_node(&self, address: &str) -> Result<()> {
        match self {
            Self::Trivial(trivial) => trivial.register_node(address).await,
            Self::Kubernetes(kubernetes) => kubernetes.register_node(address).await,
        }
    }

    /// Removes the node of a host, if it was made for it; gone already is gone.
    pub(crate) async fn remove_node(&self, address: &str) -> Result<()> {
        match self {
            Self::Trivial(trivial) => trivial.remove_nodes(&[address.into()]).await,
            Self::Kubernetes(kubernetes) => kubernetes.remove_node(address).await,
        }
    }

    /// The same for many.
    pub(crate) async fn remove_nodes(&self, addresses: &[Address]) -> Result<()> {
        match self {
            Self::Trivial(trivial) => trivial.remove_nodes(addresses).await,
            Self::Kubernetes(kubernetes) => kubernetes.remove_nodes(addresses).await,
        }
    }

    /// The node of a host.
    pub(crate) async fn node_status(&self, address: &str) -> Result<Value> {
        match self {
            Self::Trivial(trivial) => trivial.node_status(address).await,
            Self::Kubernetes(kubernetes) => kubernetes.node_status(address).await,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Managers {
    storage: StorageClient,
    config: Config,
    files: Files,
    /// Those that can be used, and the revision of the configuration they were made from.
    known: Mutex<HashMap<String, (u64, Manager)>>,
    /// Held while configurations are read and taken over, so that an older one never comes last.
    taking_over: AsyncMutex<()>,
}

impl Managers {
    pub(crate) fn new(storage: StorageClient, config: Config, files: Files) -> Self {
        Self { storage, config, files, known: Mutex::default(), taking_over: AsyncMutex::default() }
    }

    // A std mutex: it is held for a few map operations and never across an await.
    fn known(&self) -> MutexGuard<'_, HashMap<String, (u64, Manager)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The container manager of that name.
    pub(crate) async fn get(&self, name: &str) -> Result<Manager> {
        ident::name(name).map_err(|_| unknown(name))?;
        if let Some((_, manager)) = self.known().get(name) {
            return Ok(manager.clone());
        }
        self.read(name).await?.ok_or_else(|| unknown(name))
    }

    /// Follows the stored configurations for ever.
    pub(crate) async fn follow(&self, bus: &Bus) {
        loop {
            match self.follow_while_told(bus).await {
                Ok(()) => tracing::debug!("changes of container managers may have been missed"),
                Err(error) => {
                    warn_unless_outage!(error, "cannot read the container managers");
                }
            }
            tokio::time::sleep(random::jitter(PAUSE)).await;
        }
    }

    /// Follows them until notifications were lost, or the storage service does not answer.
    async fn follow_while_told(&self, bus: &Bus) -> Result<()> {
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
        let secret = self.storage.find::<ContainerManagerSecret>(&record.name).await?;
        let secret = secret.map(|secret| secret.record);
        let made = self.make(&record, secret.as_ref()).await;
        match &made {
            Ok(manager) => self.known().insert(record.name, (revision, manager.clone())),
            // What it was before is void, too.
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
                let made = Kubernetes::new(name, &options, &self.config, &self.files).await;
                made.map(Manager::Kubernetes).map_err(unusable)
            }
        }
    }
}

/// A configuration that cannot be used is no reason to stop following the others; a storage service that
/// does not answer is.
fn report(name: &str, error: Error) -> Result<()> {
    if matches!(error.kind(), Kind::Unavailable | Kind::Timeout) {
        return Err(error);
    }
    tracing::warn!(container_manager.name = name, error = chain(&error), "not to be used");
    Ok(())
}

fn unknown(name: &str) -> Error {
    Error::new(Kind::ContainerManager, format!("there is no container manager {name:?}"))
}
