//! The server state and request dispatch. Pure: no I/O and no clock; the shell sets the time.

use std::collections::BTreeMap;
use std::time::Duration;

use http::Method;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::answer::{Answer, Outcome};
use crate::effects::Effect;
use crate::fault::Faults;
use crate::kubelet::Kubelet;
use crate::names::Names;
use crate::object;
use crate::rbac::{self, Action};
use crate::request::Request;
use crate::resource::{Resource, Storage};
use crate::route::{self, Route, Target};
use crate::selector::FieldSelector;
use crate::status::Failure;
use crate::store::{Key, Store};
use crate::users::{Identity, Users};

/// Namespaces that exist initially.
const NAMESPACES: &[&str] = &["kube-system", "kube-public", "default", "kube-node-lease"];

/// Maximum size of a request body in bytes.
const BODY_LIMIT: usize = 3 * 1024 * 1024;

/// Default request timeout.
const TIMEOUT: Duration = Duration::from_mins(1);

/// The state of the server.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) store: Store,
    pub(crate) users: Users,
    pub(crate) names: Names,
    pub(crate) faults: Faults,
    pub(crate) kubelets: BTreeMap<String, Kubelet>,
    pub(crate) effects: Vec<Effect>,
    pub(crate) requests: BTreeMap<String, u64>,
    /// Whether the store is unavailable.
    pub(crate) is_store_unavailable: bool,
    /// Whether all connections are closed immediately.
    pub(crate) is_api_unavailable: bool,
    /// The revision of the last controller iteration.
    pub(crate) reconciled: u64,
    /// Whether time-dependent transitions are pending: starting or terminating pods, nodes without heartbeats.
    pub(crate) is_restless: bool,
    /// The wall-clock time at the start.
    pub(crate) start: Timestamp,
    elapsed: Duration,
    /// Summary of the changes made by the current request, for its effect.
    pub(crate) changes: Option<String>,
    /// Name of the object created by the current request.
    pub(crate) created: Option<String>,
}

impl Cluster {
    /// A cluster without nodes; the wall-clock time is `start`.
    pub(crate) fn new(seed: u64, start: Timestamp) -> Self {
        let mut cluster = Self {
            store: Store::new(),
            users: Users::default(),
            names: Names::new(seed),
            faults: Faults::default(),
            kubelets: BTreeMap::new(),
            effects: Vec::new(),
            requests: BTreeMap::new(),
            is_store_unavailable: false,
            is_api_unavailable: false,
            reconciled: 0,
            is_restless: false,
            start,
            elapsed: Duration::ZERO,
            changes: None,
            created: None,
        };
        for namespace in NAMESPACES {
            let object = json!({"apiVersion": "v1", "kind": "Namespace",
                "metadata": {"name": namespace}});
            cluster.apply(object);
        }
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": "default", "namespace": "default"}});
        cluster.apply(account);
        cluster
    }

    /// Sets the time: `elapsed` after the start.
    pub(crate) fn set_time(&mut self, elapsed: Duration) {
        self.elapsed = elapsed;
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// The wall-clock time.
    pub(crate) fn now(&self) -> Timestamp {
        let elapsed = SignedDuration::try_from(self.elapsed).unwrap_or_default();
        self.start.checked_add(elapsed).unwrap_or(self.start)
    }

    /// The wall-clock time, as in objects.
    pub(crate) fn time(&self) -> String {
        object::time(self.now())
    }

    /// Executes a request and records its effect.
    pub(crate) fn handle(&mut self, request: &Request) -> Outcome {
        let Some(user) = self.users.authenticate(request) else {
            return Answer::from(Failure::unauthorized()).into();
        };
        *self.requests.entry(user.name.clone()).or_default() += 1;
        self.changes = None;
        let (verb, mut target, outcome) = match Route::new(&request.path) {
            Route::Path(path) => {
                let verb = request.method.as_str().to_lowercase();
                let answer = self.handle_path(request, &user, &verb, &path);
                (verb, Target { resource: path, ..Target::default() }, answer.into())
            }
            Route::Resource(target) => {
                let outcome = self.handle_resource(request, &user, &target);
                let outcome = outcome.unwrap_or_else(|failure| Answer::from(failure).into());
                (route::verb(request, &target).to_owned(), target, outcome)
            }
        };
        let (changes, created) = (self.changes.take(), self.created.take());
        target.name = created.unwrap_or(target.name);
        if target.resource == "namespaces" {
            target.namespace.clear();
        }
        let effect = Effect::new(self.elapsed, &user.name, &verb, &target, outcome.code());
        self.effects.push(match changes {
            Some(changes) => effect.with_changes(&changes),
            None => effect,
        });
        outcome
    }

    fn handle_path(&self, request: &Request, user: &Identity, verb: &str, path: &str) -> Answer {
        if rbac::allowed(&self.store, user, Action::Path { verb, path }).is_none() {
            let message = format!("forbidden: User {:?} cannot {verb} path {path:?}", user.name);
            return Failure::new(403, "Forbidden", message).with_details(json!({})).into();
        }
        self.path(request, path)
    }

    fn handle_resource(
        &mut self,
        request: &Request,
        user: &Identity,
        target: &Target,
    ) -> Result<Outcome, Failure> {
        self.authorize(request, user, target)?;
        let resource = target.known().ok_or_else(Failure::no_such_resource)?;
        let has_subresource = target.subresource.is_empty()
            || resource.subresources.contains(&target.subresource.as_str());
        if !has_subresource || target.is_deeper {
            return Err(Failure::no_such_resource());
        }
        if request.body.len() > BODY_LIMIT {
            let message = format!("Request entity too large: limit is {BODY_LIMIT}");
            return Err(Failure::new(413, "RequestEntityTooLarge", message));
        }
        if self.is_store_unavailable
            && resource.storage != Storage::Review
            && !(request.method == Method::GET && request.parameter("resourceVersion") == "0")
        {
            return Ok(timed_out(request));
        }
        self.dispatch(request, user, resource, target)
    }

    fn dispatch(
        &mut self,
        request: &Request,
        user: &Identity,
        resource: &'static Resource,
        target: &Target,
    ) -> Result<Outcome, Failure> {
        let is_named = !target.name.is_empty();
        let is_review = resource.storage == Storage::Review;
        match (&request.method, target.subresource.as_str()) {
            (&Method::POST, "") if is_review && !is_named => self.review(request, user, resource),
            _ if is_review => Err(Failure::method_not_allowed()),
            (&Method::POST, "binding") => self.bind(request, resource, target),
            (&Method::POST, "eviction") => self.evict(request, resource, target),
            (&Method::POST, "token") => self.request_token(request, resource, target),
            (_, "binding" | "eviction" | "token") => Err(Failure::method_not_allowed()),
            (&Method::GET, "") if route::is_watch(request, target) => {
                self.watch(request, resource, target)
            }
            (&Method::GET, _) if is_named => self.get(request, resource, target),
            (&Method::GET, _) => self.list(request, resource, target),
            (&Method::POST, "") if !is_named => self.create(request, resource, target),
            (&Method::PUT, _) if is_named => self.replace(request, resource, target),
            (&Method::PATCH, _) if is_named => self.patch(request, resource, target),
            (&Method::DELETE, "") if is_named => self.delete(request, resource, target),
            (&Method::DELETE, "") => self.delete_collection(request, resource, target),
            _ => Err(Failure::method_not_allowed()),
        }
    }

    fn authorize(
        &self,
        request: &Request,
        user: &Identity,
        target: &Target,
    ) -> Result<(), Failure> {
        let verb = route::verb(request, target);
        let mut named = target.clone();
        // For authorization, a list or watch with a field selector on the name is a request for that object.
        if named.name.is_empty()
            && let Ok(selector) = FieldSelector::parse("", request.parameter("fieldSelector"))
            && let Some(name) = selector.name()
        {
            name.clone_into(&mut named.name);
        }
        if rbac::allowed(&self.store, user, Action::Resource { verb, target: &named }).is_some() {
            return Ok(());
        }
        let qualified = match target.group.as_str() {
            "" => target.resource.clone(),
            group => format!("{}.{group}", target.resource),
        };
        let object = match target.name.as_str() {
            "" => qualified,
            name => format!("{qualified} {name:?}"),
        };
        let scope = match target.namespace.as_str() {
            "" => "at the cluster scope".to_owned(),
            namespace => format!("in the namespace {namespace:?}"),
        };
        let message = format!(
            "{object} is forbidden: User {:?} cannot {verb} resource {:?} in API group {:?} {scope}",
            user.name,
            target.full_resource(),
            target.group
        );
        let mut details = json!({"kind": target.resource});
        if !target.name.is_empty() {
            details["name"] = target.name.clone().into();
        }
        if !target.group.is_empty() {
            details["group"] = target.group.clone().into();
        }
        Err(Failure::new(403, "Forbidden", message).with_details(details))
    }

    /// The key of the object that a request names.
    pub(crate) fn key(resource: &Resource, target: &Target) -> Key {
        Key::new(resource, &target.namespace, &target.name)
    }
}

/// The response of a server with an unavailable store, after the request timeout.
fn timed_out(request: &Request) -> Outcome {
    let seconds = request.parameter("timeout").trim_end_matches('s').parse();
    let timeout = seconds.map_or(TIMEOUT, Duration::from_secs);
    let body = json!({"metadata": {}, "status": "Failure",
        "message": "Timeout: request did not complete within the allotted timeout",
        "reason": "Timeout", "details": {}, "code": 504});
    Outcome::After(timeout, Answer::text(504, &body.to_string()))
}
