//! The nodes of the hosts of a cluster, by requests to the container manager service. A leaf: it knows nothing of
//! operations.

use bus::error::chain;
use bus::{Bus, Error, Kind, topology};
use model::DrainOptions;
use model::messages::{
    ControlPlaneAnswer, ControlPlaneRequest, CordonAnswer, CordonRequest, EvictAnswer,
    EvictRequest, EvictedPod, Eviction, KubernetesNodes, NodeContents, NodeRequest, NodesRequest,
    UncordonRequest, Workload, WorkloadsAnswer, WorkloadsRequest,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The field of an error's data that holds the HTTP status of the API server's answer.
const STATUS: &str = "status";

/// The part that is unavailable while a container manager does not answer, or rejects the credentials.
const CONTAINER_MANAGER: &str = "container manager";

/// The nodes that a container manager reaches.
#[derive(Debug, Clone)]
pub(crate) struct Nodes {
    bus: Bus,
    context: bus::Context,
    /// The name of the container manager.
    pub(crate) manager: String,
}

/// Why a request about nodes failed.
#[derive(Debug, Clone)]
pub(crate) enum NodesError {
    /// The API server or the container manager service does not answer, or rejects the credentials; it may later.
    Away {
        /// The sentence.
        message: String,
        /// Whether the credentials are rejected.
        is_unauthorized: bool,
    },
    /// The account of the container manager may not do that.
    Denied(String),
    /// The API server rejects the request for another reason.
    Refused(String),
}

impl NodesError {
    /// The sentence.
    pub(crate) fn message(&self) -> &str {
        match self {
            Self::Away { message, .. } | Self::Denied(message) | Self::Refused(message) => message,
        }
    }

    /// The answer with this message to a request of a client that needs the nodes.
    pub(crate) fn answer(&self, message: impl Into<String>) -> Error {
        match self {
            // Without a part, the client would learn neither which service is meant nor why it does not answer.
            Self::Away { is_unauthorized: false, .. } => {
                Error::unavailable(message).of_part(CONTAINER_MANAGER)
            }
            _ => Error::new(Kind::ContainerManager, message),
        }
    }
}

impl From<Error> for NodesError {
    fn from(error: Error) -> Self {
        let status = error.data().and_then(|data| data[STATUS].as_u64());
        let message = chain(&error);
        match (error.kind(), status) {
            (_, Some(401)) => Self::Away { message, is_unauthorized: true },
            (Kind::Unavailable | Kind::Timeout, _) => {
                Self::Away { message, is_unauthorized: false }
            }
            (_, Some(403)) => Self::Denied(message),
            _ => Self::Refused(message),
        }
    }
}

type Result<T> = std::result::Result<T, NodesError>;

impl Nodes {
    /// The nodes that the container manager with this name reaches.
    pub(crate) fn new(bus: &Bus, manager: &str) -> Self {
        let context = bus::Context::service("clusterexec");
        Self { bus: bus.clone(), context, manager: manager.to_owned() }
    }

    /// All nodes; with options also what a drain of those in `forecast` would meet.
    pub(crate) async fn all(
        &self,
        drain: Option<&DrainOptions>,
        forecast: Vec<String>,
    ) -> Result<KubernetesNodes> {
        let request = NodesRequest {
            container_manager_name: self.manager.clone(),
            drain: drain.cloned(),
            forecast,
        };
        self.request(topology::CONTAINER_NODES, &request).await
    }

    /// A node, what is on it, or both.
    pub(crate) async fn node(&self, request: NodeRequest) -> Result<NodeContents> {
        let request = NodeRequest { container_manager_name: self.manager.clone(), ..request };
        self.request(topology::CONTAINER_NODE, &request).await
    }

    /// Cordons a node.
    pub(crate) async fn cordon(&self, request: CordonRequest) -> Result<CordonAnswer> {
        let request = CordonRequest { container_manager_name: self.manager.clone(), ..request };
        self.request(topology::CONTAINER_CORDON, &request).await
    }

    /// Uncordons a node that has this annotation.
    pub(crate) async fn uncordon(
        &self,
        node: &str,
        uid: &str,
        cordoned_by: String,
    ) -> Result<CordonAnswer> {
        let request = UncordonRequest {
            container_manager_name: self.manager.clone(),
            node: node.to_owned(),
            uid: uid.to_owned(),
            cordoned_by,
        };
        self.request(topology::CONTAINER_UNCORDON, &request).await
    }

    /// Requests the evictions of pods; the outcomes are in their order.
    pub(crate) async fn evict(&self, pods: Vec<EvictedPod>) -> Result<Vec<Eviction>> {
        let request = EvictRequest { container_manager_name: self.manager.clone(), pods };
        let answer: EvictAnswer = self.request(topology::CONTAINER_EVICT, &request).await?;
        Ok(answer.pods)
    }

    /// What of the control plane is not ready, beside the node `except`; `None` if all is.
    pub(crate) async fn control_plane_problem(&self, except: &str) -> Result<Option<String>> {
        let (container_manager_name, except) = (self.manager.clone(), except.to_owned());
        let request = ControlPlaneRequest { container_manager_name, except };
        let answer: ControlPlaneAnswer =
            self.request(topology::CONTAINER_CONTROL_PLANE, &request).await?;
        Ok(answer.problem)
    }

    /// The ready pods of controllers, in their order.
    pub(crate) async fn workloads(&self, workloads: Vec<Workload>) -> Result<Vec<Option<u64>>> {
        let request = WorkloadsRequest { container_manager_name: self.manager.clone(), workloads };
        let answer: WorkloadsAnswer = self.request(topology::CONTAINER_WORKLOADS, &request).await?;
        Ok(answer.ready)
    }

    async fn request<T: DeserializeOwned>(
        &self,
        key: &str,
        request: &(impl Serialize + Sync),
    ) -> Result<T> {
        let answer = self.bus.request(key, request, &self.context).await?;
        serde_json::from_value(answer).map_err(|error| {
            let message = format!("the answer to {key} cannot be read: {error}");
            NodesError::Refused(message)
        })
    }
}
