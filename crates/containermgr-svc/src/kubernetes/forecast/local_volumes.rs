//! Volumes that only some nodes reach: a pod that uses one runs on none of the others.

use std::collections::HashMap;

use bus::Result;
use k8s_openapi::api::core::v1::{NodeSelector, PersistentVolume};
use kube::Api;
use kube::api::ListParams;
use tokio::time::Instant;

use crate::kubernetes::Kubernetes;
use crate::kubernetes::daemon_sets::ListedPod;

/// The nodes that reach a volume, by the namespace and the name of its claim.
#[derive(Debug, Default)]
pub(super) struct LocalVolumes(HashMap<(String, String), NodeSelector>);

impl LocalVolumes {
    /// Those of these volumes that are bound, and that not all nodes reach.
    #[cfg(test)]
    pub(super) fn from_list(volumes: impl IntoIterator<Item = PersistentVolume>) -> Self {
        Self(volumes.into_iter().filter_map(bound).collect())
    }

    /// The nodes that reach each such volume of a pod.
    pub(super) fn of(&self, pod: &ListedPod) -> Vec<NodeSelector> {
        let claims = pod.claims.iter().map(|claim| (pod.state.namespace.clone(), claim.clone()));
        claims.filter_map(|claim| self.0.get(&claim).cloned()).collect()
    }
}

impl Kubernetes {
    /// All bound `PersistentVolume`s that only some nodes reach.
    pub(super) async fn local_volumes(&self, deadline: Instant) -> Result<LocalVolumes> {
        let api: Api<PersistentVolume> = Api::all(self.client());
        let (params, action) = (ListParams::default(), "list the PersistentVolumes");
        let volumes = self.list(&api, params, action, deadline, bound).await?;
        Ok(LocalVolumes(volumes.into_iter().collect()))
    }
}

/// The claim of a volume, and the nodes that reach it; `None` if all do.
fn bound(volume: PersistentVolume) -> Option<((String, String), NodeSelector)> {
    let spec = volume.spec?;
    let claim = spec.claim_ref?;
    Some(((claim.namespace?, claim.name?), spec.node_affinity?.required?))
}
