//! A Kubernetes API server that exists only in memory, for tests.
//!
//! Its state depends on the requests only: objects with revisions, patches, watches, disruption budgets, RBAC. Kubelets
//! and controllers act on the same state. Status codes, messages and defaults are those of recorded exchanges with
//! kube-apiserver 1.36; `tests/it/replay.rs` compares them. All times derive from tokio's clock, which tests may pause,
//! and uids and generated names from a seed, so that a run is deterministic.
//!
//! No release binary contains this crate.
//!
//! # Layout
//!
//! - Objects (pure): `resource` (the table), `store` (versioned objects), `object`, `names`, `quantity`
//! - Requests (pure): `cluster` (dispatch), `request`, `route`, `users`, `rbac`, `decode`, `answer`, `status`
//! - Operations (pure): `read`, `watch`, `write`, `patch`, `managed`, `delete`, `evict`, `reviews`, `paths`
//! - Rules (pure): `defaults`, `validate`, `schema`, `selector`, `go` (error messages of Go)
//! - Background activity (pure): `kubelet`, `node`, `controllers`, `actor` (their writes)
//! - Test support: `effects` (the log), `fault`, `control` (the HTTP control API)
//! - Shells: `service` (in process), `pki` and `listener` (TLS)

mod actor;
mod answer;
mod cluster;
mod control;
mod controllers;
mod decode;
mod defaults;
mod delete;
mod effects;
mod evict;
mod fault;
mod go;
mod kubelet;
mod listener;
mod managed;
mod names;
mod node;
mod object;
mod patch;
mod paths;
mod pki;
mod quantity;
mod rbac;
mod read;
mod request;
mod resource;
mod reviews;
mod route;
mod schema;
mod selector;
mod service;
mod status;
mod store;
mod users;
mod validate;
mod watch;
mod write;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::header::{AUTHORIZATION, HeaderValue};
use jiff::Timestamp;
use kube::client::Body;
use serde_json::Value;
use tokio::sync::watch::{Receiver, Sender};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tower::ServiceBuilder;

use crate::actor::{ADMINISTRATOR, resource_named};
use crate::cluster::Cluster;
pub use crate::effects::Effect;
pub use crate::fault::{Fault, FaultAction};
use crate::kubelet::Kubelet;
pub use crate::node::NodeSettings;
pub use crate::pki::Pki;
pub use crate::service::{AnswerBody, ConnectionClosed, KubernetesService};
use crate::store::Key;
pub use crate::users::{Certificate, Identity, MASTERS};

/// Interval of kubelets and controllers.
const TICK: Duration = Duration::from_secs(1);

/// Settings of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// The seed of uids and generated names.
    pub seed: u64,
    /// The wall-clock time at the start; it advances with tokio's clock.
    pub start: Timestamp,
}

/// A cluster with its API server; clones share it.
#[derive(Clone)]
pub struct SimulatedKubernetes {
    shared: Arc<Shared>,
}

struct Shared {
    cluster: Mutex<Cluster>,
    started: Instant,
    changes: Sender<u64>,
}

impl SimulatedKubernetes {
    /// A cluster without nodes.
    pub fn new(settings: Settings) -> Self {
        let cluster = Mutex::new(Cluster::new(settings.seed, settings.start));
        let (changes, _) = tokio::sync::watch::channel(0);
        Self { shared: Arc::new(Shared { cluster, started: Instant::now(), changes }) }
    }

    /// Accesses the state at the current time. The lock is never held across an await.
    pub(crate) fn with<T>(&self, access: impl FnOnce(&mut Cluster) -> T) -> T {
        let mut cluster = self.shared.cluster.lock().unwrap_or_else(PoisonError::into_inner);
        cluster.set_time(self.shared.started.elapsed());
        let result = access(&mut cluster);
        let revision = cluster.store.revision();
        self.shared.changes.send_if_modified(|known| {
            let is_changed = *known != revision;
            *known = revision;
            is_changed
        });
        result
    }

    fn with_kubelet(&self, node: &str, change: impl FnOnce(&mut Kubelet)) {
        self.with(|cluster| {
            let kubelet = cluster.kubelets.get_mut(node);
            change(kubelet.unwrap_or_else(|| panic!("no node {node:?} was added")));
        });
    }

    /// A channel that is notified of changes of objects.
    pub(crate) fn changes(&self) -> Receiver<u64> {
        self.shared.changes.subscribe()
    }

    /// The API for clients without a certificate.
    pub fn service(&self) -> KubernetesService {
        self.service_for(Certificate::None)
    }

    /// A client with this token, and without a network.
    ///
    /// # Panics
    /// If the token does not fit into a header.
    pub fn client(&self, token: &str) -> kube::Client {
        let bearer: HeaderValue =
            format!("Bearer {token}").parse().unwrap_or_else(|error| panic!("{token}: {error}"));
        let authorize = move |mut request: http::Request<Body>| {
            request.headers_mut().insert(AUTHORIZATION, bearer.clone());
            request
        };
        let service = ServiceBuilder::new().map_request(authorize).service(self.service());
        kube::Client::new(service, "default")
    }

    /// The API for clients with this certificate.
    pub fn service_for(&self, certificate: Certificate) -> KubernetesService {
        KubernetesService::new(self.clone(), certificate)
    }

    /// Runs kubelets and controllers, once a second; never returns.
    pub async fn run(&self) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.with(Cluster::tick);
        }
    }

    /// Adds a user, or replaces the one with this token.
    pub fn add_user(&self, token: &str, name: &str, groups: &[&str]) {
        self.with(|cluster| cluster.users.add(token, name, groups));
    }

    /// Removes the user with this token.
    pub fn remove_user(&self, token: &str) {
        self.with(|cluster| cluster.users.remove(token));
    }

    /// Adds a bearer token for a service account.
    pub fn add_service_account_token(&self, token: &str, namespace: &str, name: &str) {
        self.with(|cluster| {
            let known = cluster.service_account(namespace, name);
            let identity =
                known.unwrap_or_else(|| Identity::service_account(namespace, name, "", ""));
            cluster.users.add_identity(token, identity);
        });
    }

    /// Disables or enables anonymous access: requests without credentials are rejected with 401 or denied with 403.
    pub fn reject_anonymous(&self, is_rejected: bool) {
        self.with(|cluster| cluster.users.is_anonymous_rejected = is_rejected);
    }

    /// Creates or replaces an object as an administrator, including its status.
    pub fn apply(&self, object: Value) {
        self.with(|cluster| cluster.apply(object));
    }

    /// Deletes an object as an administrator, if it exists; the namespace of objects of the cluster is empty.
    ///
    /// # Panics
    /// If there is no such resource.
    pub fn delete(&self, resource: &str, namespace: &str, name: &str) {
        let key = Key::new(resource_named(resource), namespace, name);
        self.with(|cluster| cluster.delete_as(ADMINISTRATOR, &key, None));
    }

    /// An object by its resource (plural name or kind); the namespace of objects of the cluster is empty.
    ///
    /// # Panics
    /// If there is no such resource.
    pub fn object(&self, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        let key = Key::new(resource_named(resource), namespace, name);
        self.with(|cluster| cluster.store.get(&key).map(|object| Value::clone(object)))
    }

    /// All objects of a resource (plural name or kind), ordered by namespace and name.
    ///
    /// # Panics
    /// If there is no such resource.
    pub fn objects(&self, resource: &str) -> Vec<Value> {
        let resource = resource_named(resource);
        self.with(|cluster| {
            let objects = cluster.store.list(resource, None);
            objects.map(|(_, object)| Value::clone(object)).collect()
        })
    }

    /// Registers a node that is up and ready.
    pub fn add_node(&self, node: &NodeSettings) {
        self.with(|cluster| cluster.add_node(node));
    }

    /// Registers a static pod of a node, as `COMPONENT-NODE` in `kube-system`.
    pub fn add_mirror_pod(&self, node: &str, component: &str) {
        self.with(|cluster| cluster.add_mirror_pod(node, component));
    }

    /// Stops a kubelet: no heartbeats, and its pods neither start nor terminate.
    ///
    /// # Panics
    /// If no node with this name was added.
    pub fn kubelet_down(&self, node: &str) {
        self.with_kubelet(node, |kubelet| kubelet.is_up = false);
    }

    /// Starts a kubelet after a boot: the pods of its node restart.
    ///
    /// # Panics
    /// If no node with this name was added.
    pub fn kubelet_up(&self, node: &str, boot_id: &str) {
        self.kubelet_up_after(node, boot_id, Duration::ZERO);
    }

    /// Starts a kubelet after a boot; its first report, with the new boot id, is after `delay`.
    ///
    /// # Panics
    /// If no node with this name was added.
    pub fn kubelet_up_after(&self, node: &str, boot_id: &str, delay: Duration) {
        self.with(|cluster| cluster.is_restless = true);
        let silent_until = self.shared.started.elapsed() + delay;
        self.with_kubelet(node, |kubelet| kubelet.boot(boot_id, silent_until));
    }

    /// Sets the readiness that a kubelet reports from now on.
    ///
    /// # Panics
    /// If no node with this name was added.
    pub fn set_kubelet_ready(&self, node: &str, is_ready: bool) {
        self.with_kubelet(node, |kubelet| {
            kubelet.is_ready = is_ready;
            kubelet.report_soon();
        });
    }

    /// Sets the time that pods take to start on a node; default 2 s.
    ///
    /// # Panics
    /// If no node with this name was added.
    pub fn set_pod_start(&self, node: &str, time: Duration) {
        self.with_kubelet(node, |kubelet| kubelet.pod_start = time);
    }

    /// Adds a fault.
    pub fn fault(&self, fault: Fault) {
        self.with(|cluster| cluster.faults.add(fault));
    }

    /// Removes all faults.
    pub fn clear_faults(&self) {
        self.with(|cluster| cluster.faults.clear());
    }

    /// Makes the API unavailable or available: while unavailable, watches end and new requests are not executed; the
    /// connection is closed.
    pub fn set_api_unavailable(&self, is_unavailable: bool) {
        self.with(|cluster| cluster.is_api_unavailable = is_unavailable);
        // Wakes up the watches.
        self.shared.changes.send_modify(|_| {});
    }

    /// Makes the store unavailable or available: while unavailable, requests time out with 504, health checks fail, and
    /// reads with `resourceVersion=0` succeed.
    pub fn set_store_unavailable(&self, is_unavailable: bool) {
        self.with(|cluster| cluster.is_store_unavailable = is_unavailable);
    }

    /// Compacts the history: lists and watches at older revisions fail with 410.
    pub fn compact(&self) {
        self.with(|cluster| cluster.store.compact());
    }

    /// The wall-clock time at the start.
    pub fn start(&self) -> Timestamp {
        self.with(|cluster| cluster.start)
    }

    /// The log of effects, oldest first.
    pub fn effects(&self) -> Vec<Effect> {
        self.with(|cluster| cluster.effects.clone())
    }

    /// Removes and returns the log of effects, oldest first; bounds the memory of long runs.
    pub fn take_effects(&self) -> Vec<Effect> {
        self.with(|cluster| std::mem::take(&mut cluster.effects))
    }

    /// The number of requests by a user.
    pub fn requests_of(&self, user: &str) -> u64 {
        self.with(|cluster| cluster.requests.get(user).copied().unwrap_or_default())
    }
}

impl fmt::Debug for SimulatedKubernetes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let revision = self.with(|cluster| cluster.store.revision());
        formatter.debug_struct("SimulatedKubernetes").field("revision", &revision).finish()
    }
}
