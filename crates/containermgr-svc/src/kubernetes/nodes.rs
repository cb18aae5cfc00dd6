//! All nodes of a Kubernetes, with forecasts of their drains.

use std::collections::{BTreeMap, HashSet};

use bus::Result;
use k8s_openapi::api::core::v1::{Namespace, Node};
use kube::Api;
use kube::api::ListParams;
use model::messages::{KubernetesNodes, NodesRequest};
use tokio::time::Instant;

use super::contents::skip_selector;
use super::failure::retried;
use super::forecast::Place;
use super::{Kubernetes, node_state};

/// The namespace whose uid identifies a Kubernetes.
pub(super) const SYSTEM: &str = "kube-system";

impl Kubernetes {
    /// The uid of the namespace `kube-system`: it identifies the Kubernetes.
    pub(crate) async fn id(&self) -> Result<String> {
        self.before_deadline(|deadline| self.read_id(deadline)).await
    }

    /// All nodes, by name; with options of a drain, also forecasts of drains.
    pub(crate) async fn nodes(&self, request: &NodesRequest) -> Result<KubernetesNodes> {
        let options = request.drain.as_ref();
        let skip = skip_selector(options.and_then(|options| options.skip_selector.as_deref()))?;
        self.before_deadline(|deadline| async move {
            let kubernetes = self.read_id(deadline).await?;
            let forecasts = options.filter(|_| !request.forecast.is_empty());
            let digest = |node: Node| {
                let state = node_state::digest(&node);
                let place = forecasts.is_some().then(|| Place::of(node, &state));
                Some((state, place))
            };
            let (params, action) = (ListParams::default(), "list the nodes");
            let listed = self.list(&self.nodes, params, action, deadline, digest).await?;
            let (mut nodes, places): (Vec<_>, Vec<_>) = listed.into_iter().unzip();
            let places: Vec<_> = places.into_iter().flatten().collect();
            self.mark_control_plane(&mut nodes, deadline).await?;
            let wanted: HashSet<_> = request.forecast.iter().map(String::as_str).collect();
            let (mut rivals, mut warnings) = (Vec::new(), Vec::new());
            let forecasts = match forecasts {
                None => BTreeMap::new(),
                Some(options) => {
                    rivals = self.rivals(deadline).await?;
                    let drained = places.iter().filter(|place| wanted.contains(&*place.name));
                    warnings.extend(self.remediation_warning(drained, deadline).await?);
                    self.forecasts(&wanted, options, skip.as_ref(), places, deadline).await?
                }
            };
            nodes.sort_unstable_by(|one, other| one.name.cmp(&other.name));
            Ok(KubernetesNodes {
                kubernetes,
                server: self.host.clone(),
                max_unavailable: self.max_unavailable,
                single_node: self.single_node,
                nodes,
                forecasts,
                rivals,
                warnings,
            })
        })
        .await
    }

    async fn read_id(&self, deadline: Instant) -> Result<String> {
        let read = || async {
            let api: Api<Namespace> = Api::all(self.client());
            let found = retried(deadline, || api.get(SYSTEM)).await;
            let found =
                found.map_err(|error| self.failed("show the namespace kube-system", &error))?;
            Ok(found.metadata.uid.unwrap_or_default())
        };
        self.id.get_or_try_init(read).await.cloned()
    }
}
