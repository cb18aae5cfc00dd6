//! Lists, page by page. Each page is digested as it comes, so that only the digests of a long list are in memory.

use std::fmt::Debug;

use bus::Result;
use kube::Api;
use kube::api::{ListParams, ObjectList};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::Kubernetes;
use super::failure::{self, Retries, retried};

/// Objects on a page of a list.
const PAGE: u32 = 500;

impl Kubernetes {
    /// The digests of all objects of a list; those without a digest are left out. `action` is for the message of an error.
    pub(super) async fn list<K, T>(
        &self,
        api: &Api<K>,
        params: ListParams,
        action: &str,
        deadline: Instant,
        digest: impl Fn(K) -> Option<T> + Send,
    ) -> Result<Vec<T>>
    where
        K: Clone + DeserializeOwned + Debug + Send,
        T: Send,
    {
        let list = |params: ListParams| async move { api.list(&params).await };
        self.pages(list, params, action, deadline, digest).await
    }

    /// The same for pages that are read by `list`.
    pub(super) async fn pages<K, T, F>(
        &self,
        list: impl Fn(ListParams) -> F + Send,
        params: ListParams,
        action: &str,
        deadline: Instant,
        digest: impl Fn(K) -> Option<T> + Send,
    ) -> Result<Vec<T>>
    where
        K: Clone + Send,
        T: Send,
        F: Future<Output = kube::Result<ObjectList<K>>> + Send,
    {
        let mut retries = Retries::until(deadline);
        let first = params.limit(PAGE);
        let (mut digests, mut params) = (Vec::new(), first.clone());
        loop {
            let retry = match retried(deadline, || list(params.clone())).await {
                Ok(page) => {
                    digests.extend(page.items.into_iter().filter_map(&digest));
                    match page.metadata.continue_.filter(|token| !token.is_empty()) {
                        Some(token) => params.continue_token = Some(token),
                        None => return Ok(digests),
                    }
                    continue;
                }
                // The list has expired between two pages and is started again.
                Err(error) if failure::is_expired(&error) => retries.pause(error).await,
                Err(error) => Err(error),
            };
            retry.map_err(|error| self.failed(action, &error))?;
            digests.clear();
            params = first.clone();
        }
    }
}
