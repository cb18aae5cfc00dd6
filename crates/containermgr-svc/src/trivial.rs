//! The container manager of clusters that nobody manages, and of tests: it remembers its nodes, in
//! storage, so that replicas agree.

use bus::{Error, Kind, Result};
use model::{Address, ContainerManagerNodes};
use serde_json::{Value, json};
use storage_client::{StorageClient, Transaction};

/// How often a change is tried again when others get in between.
const ATTEMPTS: usize = 32;

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Trivial {
    storage: StorageClient,
    name: String,
}

impl Trivial {
    pub(crate) fn new(storage: StorageClient, name: &str) -> Self {
        Self { storage, name: name.to_owned() }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) async fn register_node(&self, address: &str) -> Result<()> {
        self.change(|record| record.nodes.insert(address.into())).await
    }

    pub(crate) async fn remove_nodes(&self, addresses: &[Address]) -> Result<()> {
        self.change(|record| {
            let before = record.nodes.len();
            record.nodes.retain(|node| !addresses.contains(node));
            record.nodes.len() < before
        })
        .await
    }

    pub(crate) async fn node_status(&self, address: &str) -> Result<Value> {
        let found = self.storage.find::<ContainerManagerNodes>(&self.name).await?;
        if found.is_some_and(|found| found.record.nodes.contains(address)) {
            return Ok(json!({"node": address, "status": "ok"}));
        }
        let message =
            format!("{address} is not registered with the container manager {}", self.name);
        Err(Error::new(Kind::ContainerManager, message))
    }

    /// Changes the record by compare-and-swap; `change` says false when there is nothing to do.
    async fn change(&self, change: impl Fn(&mut ContainerManagerNodes) -> bool) -> Result<()> {
        for _ in 0..ATTEMPTS {
            let found = self.storage.find::<ContainerManagerNodes>(&self.name).await?;
            let transaction = if let Some(mut found) = found {
                if !change(&mut found.record) {
                    return Ok(());
                }
                Transaction::default().update(&found)?
            } else {
                let mut record =
                    ContainerManagerNodes { name: self.name.clone(), ..Default::default() };
                if !change(&mut record) {
                    return Ok(());
                }
                Transaction::default().create(&record)?
            };
            match self.storage.transact(&transaction).await {
                Ok(_) => return Ok(()),
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::conflict(format!("the nodes of {} keep being changed by others", self.name)))
    }
}
