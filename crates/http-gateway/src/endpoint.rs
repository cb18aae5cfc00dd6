//! Endpoints, each declared once, beside its handler: `#[utoipa::path]` gives its method, path and documentation, and an
//! [`Endpoint`] says what it needs.

mod target;

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::http::Method;
use utoipa::openapi::OpenApi;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

use crate::principal::Role;
pub use target::Target;

/// Where an operation is shown, before its id.
pub const OPERATION_PATH: &str = "/api/v0/operation/";

/// Which clusters an endpoint is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The cluster, the host or the operation that its path names; without one, the whole fleet.
    Path,
    /// The whole fleet, also where its path names a part of it.
    Fleet,
    /// What its principal may see: its handler takes care of that.
    Handler,
    /// None, and no object without a cluster.
    Nothing,
}

/// What an endpoint needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is declared on its own")]
pub struct Endpoint {
    /// The lowest role that may call it; `None`: anyone, without a log-in.
    role: Option<Role>,
    /// A flag in the query with which a public endpoint is for readers.
    reader_flag: Option<&'static str>,
    /// Where this path is configured to authenticate by itself, so does the endpoint, which is below it.
    self_auth: Option<&'static str>,
    scope: Scope,
    registers_hosts: bool,
    creates_cluster: bool,
    reads_credentials: bool,
    is_idempotent: bool,
    needs_no_host: bool,
    unchanged_by_tokens: bool,
    takes_backups: bool,
}

impl Endpoint {
    /// For everyone, without a log-in: it shows nothing of the fleet.
    pub const PUBLIC: Self = Self {
        role: None,
        reader_flag: None,
        self_auth: None,
        scope: Scope::Path,
        registers_hosts: false,
        creates_cluster: false,
        reads_credentials: false,
        is_idempotent: false,
        needs_no_host: false,
        unchanged_by_tokens: false,
        takes_backups: false,
    };
    /// For readers.
    pub const READER: Self = Self { role: Some(Role::Reader), ..Self::PUBLIC };
    /// For operators.
    pub const OPERATOR: Self = Self { role: Some(Role::Operator), ..Self::PUBLIC };
    /// For administrators.
    pub const ADMIN: Self = Self { role: Some(Role::Admin), ..Self::PUBLIC };

    /// With this flag in the query it is for readers.
    #[must_use]
    pub const fn reader_with(self, flag: &'static str) -> Self {
        Self { reader_flag: Some(flag), ..self }
    }

    /// Where this path is configured to authenticate by itself, so does the endpoint.
    #[must_use]
    pub const fn below(self, path: &'static str) -> Self {
        Self { self_auth: Some(path), ..self }
    }

    /// Its handler limits it to what the principal may see and change.
    #[must_use]
    pub const fn limited_by_handler(self) -> Self {
        Self { scope: Scope::Handler, ..self }
    }

    /// It reaches beyond the cluster, the host or the operation that its path names.
    #[must_use]
    pub const fn for_all_clusters(self) -> Self {
        Self { scope: Scope::Fleet, ..self }
    }

    /// It is about no cluster, and no object without one.
    #[must_use]
    pub const fn without_fleet(self) -> Self {
        Self { scope: Scope::Nothing, ..self }
    }

    /// It registers a host, so the role `enroll` may call it, too. Its handler looks where the host is to be.
    #[must_use]
    pub const fn registers_hosts(self) -> Self {
        Self { registers_hosts: true, ..self.limited_by_handler() }
    }

    /// It makes the cluster that its path names.
    #[must_use]
    pub const fn makes_cluster(self) -> Self {
        Self { creates_cluster: true, ..self }
    }

    /// Its answer may hold credentials, so the audit log records reading it.
    #[must_use]
    pub const fn reads_credentials(self) -> Self {
        Self { reads_credentials: true, ..self }
    }

    /// A request with an `Idempotency-Key` is carried out once.
    #[must_use]
    pub const fn idempotent(self) -> Self {
        Self { is_idempotent: true, ..self }
    }

    /// It takes a backup of all records: for administrators of all clusters, and for the role `backup`.
    #[must_use]
    pub const fn backs_up(self) -> Self {
        Self { takes_backups: true, reads_credentials: true, ..self.for_all_clusters() }
    }

    /// It is for load balancers, some of which send no `Host`.
    #[must_use]
    pub const fn needs_no_host(self) -> Self {
        Self { needs_no_host: true, ..self }
    }

    /// An API token may read it, and change nothing by it.
    #[must_use]
    pub const fn unchanged_by_tokens(self) -> Self {
        Self { unchanged_by_tokens: true, ..self }
    }

    /// The lowest role that may make a call with this query; `None`: anyone, without a log-in.
    pub fn role(&self, query: Option<&str>) -> Option<Role> {
        let flag = self.reader_flag.filter(|flag| has_flag(query, flag));
        self.role.or(flag.map(|_| Role::Reader))
    }

    /// Whether a role suffices.
    pub fn admits(&self, role: Role, query: Option<&str>) -> bool {
        match role {
            Role::Enroll => self.registers_hosts,
            Role::Backup => self.takes_backups || self.role(query).is_none(),
            role => self.role(query).is_none_or(|needed| role >= needed),
        }
    }

    /// Which clusters it is about.
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// Whether it makes the cluster that its path names.
    pub fn creates_cluster(&self) -> bool {
        self.creates_cluster
    }

    /// Whether it registers a host.
    pub fn is_registration(&self) -> bool {
        self.registers_hosts
    }

    /// Whether it authenticates by itself, where these paths are configured to do so.
    pub fn has_self_auth(&self, path: &str, self_auths: &[String]) -> bool {
        self_auths.iter().any(|own| own == path || self.self_auth == Some(own))
    }

    /// Whether the audit log records a call: a change, or reading credentials.
    pub fn is_audited(&self, method: &Method) -> bool {
        self.reads_credentials || changes(method)
    }

    /// Whether it takes a backup of all records.
    pub fn takes_backups(&self) -> bool {
        self.takes_backups
    }

    /// Whether an API token may make no call with this method.
    pub fn refuses_tokens(&self, method: &Method) -> bool {
        self.unchanged_by_tokens && changes(method)
    }

    /// Whether its answer may hold credentials.
    pub fn shows_credentials(&self) -> bool {
        self.reads_credentials
    }

    /// Whether a request with an `Idempotency-Key` is carried out once.
    pub fn is_idempotent(&self) -> bool {
        self.is_idempotent
    }

    /// Whether a request without `Host` is accepted.
    pub fn accepts_no_host(&self) -> bool {
        self.needs_no_host
    }

    /// Another method of the same path, which no handler has.
    fn unknown_method(&self) -> Self {
        Self {
            role: self.role.map(|_| Role::Admin),
            self_auth: self.self_auth,
            needs_no_host: self.needs_no_host,
            ..Self::PUBLIC.without_fleet()
        }
    }
}

fn changes(method: &Method) -> bool {
    !(method == Method::GET || method == Method::HEAD)
}

/// Whether a query has this flag, with a value or without.
pub fn has_flag(query: Option<&str>, flag: &str) -> bool {
    let fields = query.unwrap_or_default().split('&');
    fields.map(|field| field.split('=').next()).any(|name| name == Some(flag))
}

/// Endpoints with their handlers.
#[expect(missing_debug_implementations, reason = "that of its router needs more of utoipa")]
pub struct Endpoints<S> {
    resource: &'static str,
    router: OpenApiRouter<S>,
    declared: ByPath,
}

type ByPath = HashMap<String, Vec<(Method, Endpoint)>>;

impl<S: Clone + Send + Sync + 'static> Endpoints<S> {
    /// None yet; the documentation groups them by this name.
    pub fn new(resource: &'static str) -> Self {
        Self { resource, router: OpenApiRouter::default(), declared: ByPath::new() }
    }

    /// Adds the handlers of a path that need the same.
    #[must_use]
    pub fn add(mut self, mut handlers: UtoipaMethodRouter<S>, endpoint: Endpoint) -> Self {
        for (path, item) in &mut handlers.1.paths {
            let declared = self.declared.entry(path.clone()).or_default();
            for (method, operation) in operations(item) {
                operation.tags = Some(vec![self.resource.to_owned()]);
                declared.push((method, endpoint));
            }
        }
        self.router = self.router.routes(handlers);
        self
    }

    /// Adds those of another resource.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.router = self.router.merge(other.router);
        for (path, endpoints) in other.declared {
            self.declared.entry(path).or_default().extend(endpoints);
        }
        self
    }

    /// The router, the documentation that the handlers have, and what was declared.
    pub fn split(self) -> (Router<S>, OpenApi, Declared) {
        let (router, documentation) = self.router.split_for_parts();
        (router, documentation, Declared(Arc::new(self.declared)))
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (Method, &mut Operation)> {
    let known = [
        (Method::GET, &mut item.get),
        (Method::PUT, &mut item.put),
        (Method::POST, &mut item.post),
        (Method::DELETE, &mut item.delete),
    ];
    known.into_iter().filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

/// The declared endpoints, without their handlers. A clone is one reference count.
#[derive(Debug, Clone)]
pub struct Declared(Arc<ByPath>);

impl Declared {
    /// What a request needs; `path` is the one of the router, `None` where it has none.
    pub fn find(&self, method: &Method, path: Option<&str>) -> Endpoint {
        // A path that does not exist tells nothing.
        let Some(path) = path else { return Endpoint::READER.without_fleet() };
        let endpoints = self.0.get(path).map(Vec::as_slice).unwrap_or_default();
        let method = if method == Method::HEAD { &Method::GET } else { method };
        match endpoints.iter().find(|(known, _)| known == method) {
            Some((_, endpoint)) => *endpoint,
            None => endpoints.first().map_or(Endpoint::ADMIN, |(_, other)| other.unknown_method()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared() -> Declared {
        let endpoints = [
            ("/healthz", Method::GET, Endpoint::PUBLIC.needs_no_host()),
            ("/readyz", Method::GET, Endpoint::PUBLIC.reader_with("verbose")),
            ("/hosts", Method::GET, Endpoint::READER),
            ("/creds", Method::GET, Endpoint::ADMIN.reads_credentials()),
            ("/host", Method::PUT, Endpoint::OPERATOR.registers_hosts()),
            ("/secrets/{*path}", Method::GET, Endpoint::ADMIN.below("/secrets")),
        ];
        let endpoints =
            endpoints.map(|(path, method, endpoint)| (path.to_owned(), vec![(method, endpoint)]));
        Declared(Arc::new(endpoints.into()))
    }

    #[test]
    fn call_that_is_not_declared_is_for_administrators() {
        for (method, path, role) in [
            (Method::GET, Some("/hosts"), Some(Role::Reader)),
            (Method::HEAD, Some("/hosts"), Some(Role::Reader)),
            (Method::PUT, Some("/hosts"), Some(Role::Admin)),
            (Method::POST, Some("/host"), Some(Role::Admin)),
            (Method::GET, Some("/unknown"), Some(Role::Admin)),
            (Method::PUT, Some("/healthz"), None),
            (Method::GET, None, Some(Role::Reader)),
        ] {
            let endpoint = declared().find(&method, path);
            assert_eq!(endpoint.role(None), role, "{method} {path:?}");
            assert!(!endpoint.admits(Role::Enroll, None), "{method} {path:?}");
        }
    }

    #[test]
    fn role_enroll_may_register_hosts_alone() {
        let registration = declared().find(&Method::PUT, Some("/host"));
        assert!(
            registration.admits(Role::Enroll, None) && registration.admits(Role::Operator, None)
        );
        assert!(!registration.admits(Role::Reader, None));
    }

    #[test]
    fn flag_makes_a_public_endpoint_one_for_readers() {
        let ready = declared().find(&Method::GET, Some("/readyz"));
        for (query, role) in [
            (None, None),
            (Some("a=verbose"), None),
            (Some("verbose"), Some(Role::Reader)),
            (Some("a=1&verbose=0"), Some(Role::Reader)),
        ] {
            assert_eq!(ready.role(query), role, "{query:?}");
        }
    }

    #[test]
    fn changes_and_reads_of_credentials_are_audited() {
        for (method, path, is_audited) in [
            (Method::GET, "/hosts", false),
            (Method::HEAD, "/hosts", false),
            (Method::HEAD, "/creds", true),
            (Method::PUT, "/host", true),
            (Method::PUT, "/unknown", true),
        ] {
            let endpoint = declared().find(&method, Some(path));
            assert_eq!(endpoint.is_audited(&method), is_audited, "{method} {path}");
        }
    }

    #[test]
    fn path_that_authenticates_by_itself_covers_what_is_below() {
        let own = ["/secrets".to_owned(), "/hosts".to_owned()];
        for (method, path, called, expected) in [
            (Method::GET, "/secrets/{*path}", "/secrets/a", true),
            (Method::PUT, "/secrets/{*path}", "/secrets/a", true),
            (Method::GET, "/hosts", "/hosts", true),
            (Method::GET, "/creds", "/creds", false),
        ] {
            let endpoint = declared().find(&method, Some(path));
            assert_eq!(endpoint.has_self_auth(called, &own), expected, "{method} {called}");
        }
    }
}
