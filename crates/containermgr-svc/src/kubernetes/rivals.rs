//! Others who reboot or drain the nodes of a Kubernetes, as far as they run in it.

use bus::Result;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use kube::Api;
use kube::api::ListParams;
use tokio::time::Instant;

use super::Kubernetes;
use super::failure::{self, retried};

/// The name of the DaemonSet of kured, which a release of its chart may lengthen.
const KURED: &str = "kured";

/// The namespace and the name of the controller that upgrades k3s and rke2.
const UPGRADE_CONTROLLER: (&str, &str) = ("system-upgrade", "system-upgrade-controller");

impl Kubernetes {
    /// The names of those who are found.
    pub(super) async fn rivals(&self, deadline: Instant) -> Result<Vec<String>> {
        let mut rivals = Vec::new();
        let api: Api<DaemonSet> = Api::all(self.client());
        let list = |params: ListParams| {
            let api = api.clone();
            async move { api.list_metadata(&params).await }
        };
        let is_kured = |set: kube::core::PartialObjectMeta<DaemonSet>| {
            let name = set.metadata.name.unwrap_or_default();
            name.contains(KURED).then_some(())
        };
        let action = "list the DaemonSets";
        let kured = self.pages(list, ListParams::default(), action, deadline, is_kured).await?;
        if !kured.is_empty() {
            rivals.push(KURED.to_owned());
        }
        let (namespace, name) = UPGRADE_CONTROLLER;
        let api: Api<Deployment> = Api::namespaced(self.client(), namespace);
        match retried(deadline, || api.get_metadata(name)).await {
            Ok(_) => rivals.push(name.to_owned()),
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            // It is a warning only: the account may lack the right.
            Err(kube::Error::Api(status)) if status.code == 403 => {
                tracing::debug!(
                    error = failure::text(&status),
                    "the upgrade controller is not looked for"
                );
            }
            Err(error) => return Err(self.failed("show the upgrade controller", &error)),
        }
        Ok(rivals)
    }
}
