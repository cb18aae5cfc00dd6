//! How many ready pods controllers have.

use bus::Result;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::ReplicationController;
use kube::Api;
use kube::core::NamespaceResourceScope;
use model::messages::Workload;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::failure::{self, retried};
use super::{Kubernetes, node};

/// Controllers that are read concurrently.
const CONCURRENT: usize = 16;

impl Kubernetes {
    /// The ready pods of each controller; `None` for one that does not exist, or whose kind does not count them.
    pub(crate) async fn workloads(&self, workloads: &[Workload]) -> Result<Vec<Option<u64>>> {
        self.before_deadline(|deadline| {
            let counts: Vec<_> =
                workloads.iter().map(|workload| self.ready_pods(workload, deadline)).collect();
            stream::iter(counts).buffered(CONCURRENT).try_collect()
        })
        .await
    }

    async fn ready_pods(&self, workload: &Workload, deadline: Instant) -> Result<Option<u64>> {
        let Workload { namespace, controller } = workload;
        if [namespace, &controller.name].into_iter().any(|name| node::check_name(name).is_err()) {
            return Ok(None);
        }
        let ready = match controller.kind.as_str() {
            "ReplicaSet" => {
                let found = self.workload::<ReplicaSet>(workload, "replicasets", deadline).await?;
                found.map(|found| found.status.and_then(|status| status.ready_replicas))
            }
            "StatefulSet" => {
                let found =
                    self.workload::<StatefulSet>(workload, "statefulsets", deadline).await?;
                found.map(|found| found.status.and_then(|status| status.ready_replicas))
            }
            "Deployment" => {
                let found = self.workload::<Deployment>(workload, "deployments", deadline).await?;
                found.map(|found| found.status.and_then(|status| status.ready_replicas))
            }
            "ReplicationController" => {
                let kind = "replicationcontrollers";
                let found =
                    self.workload::<ReplicationController>(workload, kind, deadline).await?;
                found.map(|found| found.status.and_then(|status| status.ready_replicas))
            }
            // Pods of a Job end, those of other controllers are not counted by the API server.
            _ => None,
        };
        Ok(ready.map(|ready| ready.and_then(|ready| ready.try_into().ok()).unwrap_or(0)))
    }

    async fn workload<K>(
        &self,
        workload: &Workload,
        kind: &str,
        deadline: Instant,
    ) -> Result<Option<K>>
    where
        K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned,
    {
        let api: Api<K> = Api::namespaced(self.client(), &workload.namespace);
        match retried(deadline, || api.get(&workload.controller.name)).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if failure::is_missing(&error, kind) => Ok(None),
            Err(error) => {
                let action = format!("show the {}", workload.controller.kind);
                Err(self.failed(&action, &error))
            }
        }
    }
}
