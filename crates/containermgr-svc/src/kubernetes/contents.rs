//! A node and what is on it: its pods, its attached volumes and its storage drivers.

use std::collections::{BTreeSet, HashMap};

use bus::{Error, Result};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::{CSINode, VolumeAttachment};
use kube::Api;
use kube::api::ListParams;
use kube::core::Selector;
use model::messages::{AttachedVolume, NodeContents, NodeRequest};
use model::{NodeState, PodState};
use tokio::time::Instant;

use super::daemon_sets::ListedPod;
use super::failure::{self, retried};
use super::{Kubernetes, node, node_state, selector};

/// A volume that is attached to a node.
#[derive(Debug)]
struct Attachment {
    name: String,
    /// The name of its PersistentVolume; empty if it is part of a pod.
    volume: String,
}

impl Kubernetes {
    pub(crate) async fn node_contents(&self, request: &NodeRequest) -> Result<NodeContents> {
        let skip = skip_selector(request.skip_selector.as_deref())?;
        if node::check_name(&request.node).is_err() {
            return Ok(NodeContents::default());
        }
        self.before_deadline(|deadline| self.contents(request, skip.as_ref(), deadline)).await
    }

    async fn contents(
        &self,
        request: &NodeRequest,
        skip: Option<&Selector>,
        deadline: Instant,
    ) -> Result<NodeContents> {
        let name = &request.node;
        let mut contents = NodeContents { exists: true, ..NodeContents::default() };
        // At the same time: right before a reboot both have to be new.
        let (state, listed) = tokio::join!(self.state_of(request, deadline), async {
            if request.pods {
                self.marked_pods_of(name, skip, deadline).await.map(Some)
            } else {
                Ok(None)
            }
        });
        match state? {
            Some(state) => contents.state = Some(state),
            None if request.state => return Ok(NodeContents::default()),
            None => {}
        }
        let mut pods = listed?;
        if request.volumes {
            let attachments = self.attachments(name, deadline).await?;
            if pods.is_none() && attachments.iter().any(|attachment| !attachment.volume.is_empty())
            {
                pods = Some(self.pods_of(name, skip, deadline).await?);
            }
            let pods = pods.as_deref().unwrap_or_default();
            contents.volumes = self.volumes(attachments, pods, deadline).await?;
        }
        if request.drivers {
            contents.drivers = self.drivers(name, deadline).await?;
        }
        if request.pods {
            contents.pods = pods.into_iter().flatten().map(|pod| pod.state).collect();
        }
        Ok(contents)
    }

    /// The state of a node, if the request is for that; `None` also if there is no such node.
    async fn state_of(
        &self,
        request: &NodeRequest,
        deadline: Instant,
    ) -> Result<Option<NodeState>> {
        if !request.state {
            return Ok(None);
        }
        match retried(deadline, || self.nodes.get(&request.node)).await {
            Ok(node) => Ok(Some(node_state::digest(&node))),
            Err(error) if failure::is_missing_node(&error) => Ok(None),
            Err(error) => Err(self.failed("show the node", &error)),
        }
    }

    /// The pods on a node; those whose DaemonSet does not exist are marked.
    async fn marked_pods_of(
        &self,
        node: &str,
        skip: Option<&Selector>,
        deadline: Instant,
    ) -> Result<Vec<ListedPod>> {
        let mut listed = self.pods_of(node, skip, deadline).await?;
        self.mark_orphans(listed.iter_mut(), deadline).await?;
        Ok(listed)
    }

    /// The pods on a node.
    pub(super) async fn pods_of(
        &self,
        node: &str,
        skip: Option<&Selector>,
        deadline: Instant,
    ) -> Result<Vec<ListedPod>> {
        let api: Api<Pod> = Api::all(self.client());
        let params = ListParams::default().fields(&format!("spec.nodeName={node}"));
        let digest = |pod| Some(ListedPod::of(&pod, skip));
        self.list(&api, params, "list the pods", deadline, digest).await
    }

    async fn attachments(&self, node: &str, deadline: Instant) -> Result<Vec<Attachment>> {
        let api: Api<VolumeAttachment> = Api::all(self.client());
        let digest = |attachment: VolumeAttachment| {
            (attachment.spec.node_name == node).then(|| Attachment {
                name: attachment.metadata.name.unwrap_or_default(),
                volume: attachment.spec.source.persistent_volume_name.unwrap_or_default(),
            })
        };
        let params = ListParams::default();
        self.list(&api, params, "list the VolumeAttachments", deadline, digest).await
    }

    /// The attached volumes, each with the uids of the pods that use it.
    async fn volumes(
        &self,
        attachments: Vec<Attachment>,
        pods: &[ListedPod],
        deadline: Instant,
    ) -> Result<Vec<AttachedVolume>> {
        let users = if attachments.iter().all(|attachment| attachment.volume.is_empty()) {
            HashMap::new()
        } else {
            self.users_of_volumes(pods, deadline).await?
        };
        let volume = |attachment: Attachment| AttachedVolume {
            pods: users.get(&attachment.volume).cloned().unwrap_or_default(),
            name: attachment.name,
        };
        Ok(attachments.into_iter().map(volume).collect())
    }

    /// The uids of the pods that use a PersistentVolume, by its name. Each claim is read once.
    async fn users_of_volumes(
        &self,
        pods: &[ListedPod],
        deadline: Instant,
    ) -> Result<HashMap<String, Vec<String>>> {
        let claims: BTreeSet<_> = pods.iter().flat_map(claims_of).collect();
        let mut users: HashMap<String, Vec<String>> = HashMap::new();
        for claim in claims {
            let (namespace, name) = claim;
            let api: Api<PersistentVolumeClaim> = Api::namespaced(self.client(), namespace);
            let found = match retried(deadline, || api.get(name)).await {
                Ok(found) => found,
                Err(error) if failure::is_missing(&error, "persistentvolumeclaims") => continue,
                Err(error) => return Err(self.failed("show a PersistentVolumeClaim", &error)),
            };
            let Some(volume) = found.spec.and_then(|spec| spec.volume_name) else { continue };
            let using = pods.iter().filter(|pod| claims_of(pod).any(|other| other == claim));
            users.entry(volume).or_default().extend(using.map(|pod| pod.state.uid.clone()));
        }
        Ok(users)
    }

    /// The drivers of the CSINode of a node, which has one only if it has drivers.
    async fn drivers(&self, node: &str, deadline: Instant) -> Result<Vec<String>> {
        let api: Api<CSINode> = Api::all(self.client());
        match retried(deadline, || api.get(node)).await {
            Ok(found) => Ok(found.spec.drivers.into_iter().map(|driver| driver.name).collect()),
            Err(error) if failure::is_missing(&error, "csinodes") => Ok(Vec::new()),
            Err(error) => Err(self.failed("show the CSINode", &error)),
        }
    }
}

/// The claims of a pod, each with its namespace.
fn claims_of(pod: &ListedPod) -> impl Iterator<Item = (&str, &str)> {
    let PodState { namespace, .. } = &pod.state;
    pod.claims.iter().map(move |claim| (namespace.as_str(), claim.as_str()))
}

/// The selector of pods that stay; an empty one selects none, as `kubectl drain --pod-selector` has it.
pub(super) fn skip_selector(text: Option<&str>) -> Result<Option<Selector>> {
    text.filter(|text| !text.trim().is_empty())
        .map(|text| selector::parse(text).map_err(Error::invalid))
        .transpose()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use http::Request;
    use kube::Client;
    use kube::client::Body;
    use model::KubernetesOptions;
    use serde_json::{Value, json};

    use super::*;
    use crate::kubernetes::recorded::one;

    /// A Kubernetes whose API server answers by path, 404 for other paths, and the paths of the requests.
    fn answering(answers: Value) -> (Kubernetes, Arc<Mutex<Vec<String>>>) {
        let paths = Arc::<Mutex<Vec<String>>>::default();
        let seen = Arc::clone(&paths);
        let service = tower::service_fn(move |request: Request<Body>| {
            let path = request.uri().path().to_owned();
            let found = answers.get(&path).cloned();
            seen.lock().unwrap().push(path);
            let status = if found.is_some() { 200 } else { 404 };
            let body = found.unwrap_or_else(|| {
                let mut missing = one("node-get-missing-404").response;
                missing["details"]["kind"] = "csinodes".into();
                missing
            });
            let response = http::Response::builder().status(status);
            std::future::ready(response.body(Body::from(body.to_string().into_bytes())))
        });
        let options = json!({"server_url": "https://api.test"});
        let options = KubernetesOptions::parse(options.as_object().unwrap()).unwrap();
        let client = Client::new(service, "default");
        (Kubernetes::with_client("k", client, &options, Duration::from_secs(5)), paths)
    }

    fn pod(name: &str, claim: &str) -> Value {
        json!({"metadata": {"namespace": "shop", "name": name, "uid": name}, "spec": {"containers": [],
            "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": claim}}]}})
    }

    fn attachment(name: &str, node: &str, volume: &str) -> Value {
        json!({"metadata": {"name": name}, "spec": {"attacher": "csi", "nodeName": node,
            "source": {"persistentVolumeName": volume}}, "status": {"attached": true}})
    }

    fn list(kind: &str, items: &Value) -> Value {
        json!({"kind": kind, "apiVersion": "v1", "metadata": {}, "items": items})
    }

    #[tokio::test]
    async fn pods_that_use_an_attached_volume_are_found_by_their_claims() {
        const CLAIM: &str = "/api/v1/namespaces/shop/persistentvolumeclaims/data";
        let attachments = json!([
            attachment("a1", "w1", "pv-1"),
            attachment("a2", "w1", "pv-2"),
            attachment("a3", "w2", "pv-3"),
        ]);
        let (kubernetes, paths) = answering(json!({
            "/api/v1/pods": list("PodList", &json!([pod("db-0", "data"), pod("db-1", "data")])),
            "/apis/storage.k8s.io/v1/volumeattachments": list("VolumeAttachmentList", &attachments),
            CLAIM: {"metadata": {"name": "data"}, "spec": {"volumeName": "pv-1"}},
        }));
        let request =
            NodeRequest { node: "w1".to_owned(), volumes: true, ..NodeRequest::default() };
        let contents = kubernetes.node_contents(&request).await.unwrap();
        let volume = |name: &str, pods: &[&str]| AttachedVolume {
            name: name.to_owned(),
            pods: pods.iter().map(|pod| (*pod).to_owned()).collect(),
        };
        assert_eq!(contents.volumes, [volume("a1", &["db-0", "db-1"]), volume("a2", &[])]);
        assert!(contents.pods.is_empty() && contents.drivers.is_empty());
        let paths = paths.lock().unwrap();
        assert_eq!(paths.iter().filter(|path| *path == CLAIM).count(), 1, "{paths:?}");
        assert_eq!(paths.len(), 3, "{paths:?}");
    }

    #[test]
    fn blank_selector_selects_no_pods() {
        for text in [None, Some(""), Some(" ")] {
            assert!(skip_selector(text).unwrap().is_none());
        }
        assert!(skip_selector(Some("app=web")).unwrap().is_some());
    }
}
