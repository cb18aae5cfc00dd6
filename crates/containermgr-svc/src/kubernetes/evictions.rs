//! Evictions of pods.
//!
//! - `outcome`: what the answer to an eviction means (pure)

mod outcome;

use bus::{Error, Result};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{Eviction as EvictionObject, PodDisruptionBudget};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{DeleteOptions, ObjectMeta, Preconditions};
use kube::Api;
use kube::api::{ListParams, PostParams};
use model::messages::{EvictRequest, EvictedPod, Eviction};
use serde::de::IgnoredAny;
use tokio::time::Instant;

use super::budget::Budget;
use super::failure::retried;
use super::{Kubernetes, node};
use outcome::Outcome;

/// Evictions that are requested concurrently.
const CONCURRENT: usize = 16;

impl Kubernetes {
    /// Requests the evictions of pods, each once; the outcomes are in their order.
    ///
    /// # Errors
    /// When the credentials are rejected, or there is no trusted connection.
    pub(crate) async fn evict(&self, request: &EvictRequest) -> Result<Vec<Eviction>> {
        for pod in &request.pods {
            for name in [&pod.namespace, &pod.name] {
                node::check_name(name).map_err(|_| {
                    Error::invalid(format!("{name:?} is not the name of a pod or a namespace"))
                })?;
            }
        }
        let deadline = Instant::now() + self.timeout;
        let evictions: Vec<_> =
            request.pods.iter().map(|pod| self.evict_one(pod, deadline)).collect();
        stream::iter(evictions).buffered(CONCURRENT).try_collect().await
    }

    async fn evict_one(&self, pod: &EvictedPod, deadline: Instant) -> Result<Eviction> {
        // An eviction that did not fit into the time is not begun.
        if Instant::now() >= deadline {
            return Ok(outcome::unanswered());
        }
        let evicted = tokio::time::timeout_at(deadline, self.request_eviction(pod)).await;
        let Ok(evicted) = evicted else { return Ok(outcome::unanswered()) };
        match outcome::of(pod, evicted) {
            Ok(Outcome::Known(eviction)) => Ok(eviction),
            Ok(Outcome::SeveralBudgets(message)) => {
                let budgets = self.before_deadline(|deadline| self.budgets_of(pod, deadline)).await;
                // They are named as far as they can be listed.
                let budgets = budgets.unwrap_or_default();
                Ok(outcome::several_budgets(pod, &budgets, message))
            }
            Err(error) => Err(self.failed("evict a pod", &error)),
        }
    }

    async fn request_eviction(&self, pod: &EvictedPod) -> kube::Result<()> {
        let api: Api<Pod> = Api::namespaced(self.client(), &pod.namespace);
        // `Api::evict` of the library sends its preconditions in a field that the API does not have.
        let params = PostParams::default();
        api.create_subresource("eviction", &pod.name, &params, &eviction(pod))
            .await
            .map(|IgnoredAny| ())
    }

    /// The names of the disruption budgets that a pod is in.
    async fn budgets_of(&self, pod: &EvictedPod, deadline: Instant) -> Result<Vec<String>> {
        let api: Api<Pod> = Api::namespaced(self.client(), &pod.namespace);
        let found = retried(deadline, || api.get(&pod.name)).await;
        let found = found.map_err(|error| self.failed("show the pod", &error))?;
        let labels = found.metadata.labels.unwrap_or_default();
        let api: Api<PodDisruptionBudget> = Api::namespaced(self.client(), &pod.namespace);
        let digest = |budget| {
            let budget = Budget::of(budget);
            budget.selects(&pod.namespace, &labels).then(|| budget.full_name())
        };
        let action = "list the disruption budgets";
        self.list(&api, ListParams::default(), action, deadline, digest).await
    }
}

fn eviction(pod: &EvictedPod) -> EvictionObject {
    let preconditions = Preconditions { uid: Some(pod.uid.clone()), ..Preconditions::default() };
    EvictionObject {
        metadata: ObjectMeta {
            namespace: Some(pod.namespace.clone()),
            name: Some(pod.name.clone()),
            ..ObjectMeta::default()
        },
        delete_options: Some(DeleteOptions {
            preconditions: Some(preconditions),
            grace_period_seconds: pod.grace_period.and_then(|seconds| seconds.try_into().ok()),
            ..DeleteOptions::default()
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::recorded::one;

    #[test]
    fn eviction_is_requested_as_recorded() {
        let pod = EvictedPod {
            namespace: "default".to_owned(),
            name: "web-1".to_owned(),
            uid: "00000000-0000-0000-0000-000000000000".to_owned(),
            grace_period: None,
        };
        let request = serde_json::to_value(eviction(&pod)).unwrap();
        assert_eq!(request, one("evict-uid-mismatch-409").request_json);
        let hurried = eviction(&EvictedPod { grace_period: Some(1), ..pod });
        assert_eq!(hurried.delete_options.unwrap().grace_period_seconds, Some(1));
    }
}
