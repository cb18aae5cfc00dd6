//! A Kubernetes API server that exists only in memory, for tests.
//!
//! Its state comes from the requests that it got: objects with revisions, patches, watches, disruption budgets, rights.
//! Kubelets and controllers act on the same state. Statuses, messages and defaults are those that were recorded of a
//! kube-apiserver 1.36; `tests/it/replay.rs` compares them. Time is tokio's, so that tests may pause it, and uids and
//! generated names come from a seed: the same requests give the same state.
//!
//! No release binary contains this crate.
//!
//! # Layout
//!
//! - Objects (pure): `resource` (what there is), `store` (objects with their history), `object`, `names`, `quantity`
//! - Requests (pure): `cluster` (the way of a request), `request`, `route`, `users`, `rbac`, `decode`, `answer`, `status`
//! - What requests do (pure): `read`, `watch`, `write`, `patch`, `managed`, `delete`, `evict`, `reviews`, `paths`
//! - Rules (pure): `defaults`, `validate`, `schema`, `selector`, `go` (messages of Go's libraries)
//! - What goes on by itself (pure): `kubelet`, `node`, `controllers`, `actor` (their writes)
//! - For tests: `effects` (the log), `fault`, `control` (the same over HTTP)
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

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::watch::{Receiver, Sender};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::actor::resource_named;
use crate::cluster::Cluster;
pub use crate::effects::Effect;
pub use crate::fault::{Fault, FaultAction};
pub use crate::node::NodeSettings;
pub use crate::pki::Pki;
pub use crate::service::{AnswerBody, ConnectionClosed, KubernetesService};
use crate::store::Key;
pub use crate::users::{Certificate, Identity, MASTERS};

/// How often kubelets and controllers act.
const TICK: Duration = Duration::from_secs(1);

/// What a server begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// The seed of uids and generated names.
    pub seed: u64,
    /// The wall-clock time at the start; it goes on with tokio's clock.
    pub start: Timestamp,
}

/// A Kubernetes with its API server; clones share it.
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
    /// A Kubernetes without nodes.
    pub fn new(settings: Settings) -> Self {
        let cluster = Mutex::new(Cluster::new(settings.seed, settings.start));
        let (changes, _) = tokio::sync::watch::channel(0);
        Self { shared: Arc::new(Shared { cluster, started: Instant::now(), changes }) }
    }

    /// Reads or changes the state, at the present time. The lock is held for operations in memory only.
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

    /// Is notified when objects change.
    pub(crate) fn changes(&self) -> Receiver<u64> {
        self.shared.changes.subscribe()
    }

    /// The API for clients without a certificate.
    pub fn service(&self) -> KubernetesService {
        self.service_for(Certificate::None)
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

    /// Gives a service account a token.
    pub fn add_service_account_token(&self, token: &str, namespace: &str, name: &str) {
        self.with(|cluster| {
            let known = cluster.service_account(namespace, name);
            let identity =
                known.unwrap_or_else(|| Identity::service_account(namespace, name, "", ""));
            cluster.users.add_identity(token, identity);
        });
    }

    /// Whether requests without credentials are rejected (401) instead of denied (403).
    pub fn reject_anonymous(&self, is_rejected: bool) {
        self.with(|cluster| cluster.users.is_anonymous_rejected = is_rejected);
    }

    /// Creates an object as an administrator, or replaces it, status included.
    pub fn apply(&self, object: Value) {
        self.with(|cluster| cluster.apply(object));
    }

    /// An object by its resource (plural name or kind); the namespace of objects of the cluster is empty.
    pub fn object(&self, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        let key = Key::new(resource_named(resource), namespace, name);
        self.with(|cluster| cluster.store.get(&key).map(|object| Value::clone(object)))
    }

    /// All objects of a resource (plural name or kind), ordered by namespace and name.
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

    /// Stops a kubelet: its node reports nothing, and its pods neither start nor end.
    pub fn kubelet_down(&self, node: &str) {
        self.with(|cluster| {
            if let Some(kubelet) = cluster.kubelets.get_mut(node) {
                kubelet.is_up = false;
            }
        });
    }

    /// Starts a kubelet after a boot: the pods of its node restart.
    pub fn kubelet_up(&self, node: &str, boot_id: &str) {
        self.kubelet_up_after(node, boot_id, Duration::ZERO);
    }

    /// Starts a kubelet after a boot; for `delay`, the node stays as it was last reported.
    pub fn kubelet_up_after(&self, node: &str, boot_id: &str, delay: Duration) {
        self.with(|cluster| cluster.boot_kubelet(node, boot_id, delay));
    }

    /// Has a kubelet report its node as ready or not from now on.
    pub fn set_kubelet_ready(&self, node: &str, is_ready: bool) {
        self.with(|cluster| {
            if let Some(kubelet) = cluster.kubelets.get_mut(node) {
                kubelet.is_ready = is_ready;
                kubelet.report_soon();
            }
        });
    }

    /// How long pods take to start on a node; 2 s unless set.
    pub fn set_pod_start(&self, node: &str, time: Duration) {
        self.with(|cluster| {
            if let Some(kubelet) = cluster.kubelets.get_mut(node) {
                kubelet.pod_start = time;
            }
        });
    }

    /// Has requests go wrong.
    pub fn fault(&self, fault: Fault) {
        self.with(|cluster| cluster.faults.add(fault));
    }

    /// Ends all faults.
    pub fn clear_faults(&self) {
        self.with(|cluster| cluster.faults.clear());
    }

    /// Closes all connections at once, and each new one before anything is carried out; or no longer.
    pub fn set_api_away(&self, is_away: bool) {
        self.with(|cluster| cluster.is_api_away = is_away);
        // Watches have to notice it.
        self.shared.changes.send_modify(|_| {});
    }

    /// Has the store not answer: requests time out, health checks fail, cached reads go on; or no longer.
    pub fn set_store_away(&self, is_away: bool) {
        self.with(|cluster| cluster.is_store_away = is_away);
    }

    /// Forgets all older revisions: lists and watches that need them fail with 410.
    pub fn compact(&self) {
        self.with(|cluster| cluster.store.compact());
    }

    /// The log of what was done, oldest first.
    pub fn effects(&self) -> Vec<Effect> {
        self.with(|cluster| cluster.effects.clone())
    }

    /// The log of what was done since this was last called, oldest first; for long runs.
    pub fn take_effects(&self) -> Vec<Effect> {
        self.with(|cluster| std::mem::take(&mut cluster.effects))
    }

    /// How many requests there were of a user.
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
