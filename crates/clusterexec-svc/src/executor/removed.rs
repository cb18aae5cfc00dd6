//! Hosts that are removed from the cluster, or deleted, while an operation is in process.

use std::collections::HashSet;

use service_core::Result;
use service_core::model::{Cluster, Host, Step};

use super::{Execution, GiveUp};
use crate::host_run::Trouble;

/// Why a host was skipped that is no longer a member of the cluster.
const REMOVED: &str = "removed from the cluster";

impl Execution<'_> {
    /// Skips pending hosts that are no longer members of the cluster. Returns the cluster's revision that this is based
    /// on: the transaction that starts a host checks it.
    ///
    /// # Errors
    /// When the lease is lost, or the storage service does not answer.
    pub(super) async fn skip_removed(&self) -> Result<Option<u64>> {
        let cluster = self.service.storage.find::<Cluster>(&self.operation.cluster).await?;
        let revision = cluster.as_ref().map(|cluster| cluster.revision);
        let members = cluster.map(|cluster| cluster.record.hostset).unwrap_or_default();
        let members: HashSet<&str> = members.iter().map(String::as_str).collect();
        for (index, step) in self.steps().into_iter().enumerate() {
            let address = self.operation.hosts[index].as_str();
            if step == Step::Pending && !members.contains(address) {
                self.leave(index, REMOVED).await?;
            }
        }
        Ok(revision)
    }

    /// The record of the host at `index`.
    ///
    /// # Errors
    /// The host is given up with the reason `deleted` when the record no longer exists; or the lease is lost.
    pub(crate) async fn record_of(&self, index: usize) -> Result<Host, Trouble> {
        let address = self.host(index).address;
        let storage = &self.service.storage;
        let found = self.or_store_again(|| storage.find::<Host>(&address)).await;
        match found.map_err(Trouble::Ours)? {
            Some(host) => Ok(host.record),
            None => Err(deleted(&address).into()),
        }
    }

    /// Why the host at `index` is given up: a deleted host with the reason `deleted`, whichever error its deletion caused.
    ///
    /// # Errors
    /// When the lease is lost.
    pub(crate) async fn unless_deleted(&self, index: usize, given_up: GiveUp) -> Result<GiveUp> {
        match self.record_of(index).await {
            Err(Trouble::Ours(error)) => Err(error),
            Err(Trouble::Host(deleted)) => Ok(deleted),
            _ => Ok(given_up),
        }
    }
}

/// A host is given up because its records were deleted.
pub(crate) fn deleted(address: &str) -> GiveUp {
    let reason = format!(
        "deleted: {address} is not registered any more, so nothing further is done to it; look at it \
         yourself, since a step may have been under way"
    );
    GiveUp::new("deleted", reason)
}
