//! Routing: the resource, object and verb of a request.

use http::Method;

use crate::request::Request;
use crate::resource::{self, Resource};

/// The target of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    /// A non-resource path, such as `/healthz`.
    Path(String),
    /// A resource path; the resource may be unknown.
    Resource(Target),
}

/// The target of a resource request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Target {
    /// The API group; empty for the core group.
    pub(crate) group: String,
    /// The version of the group.
    pub(crate) version: String,
    /// The plural name of the resource.
    pub(crate) resource: String,
    /// The namespace; empty for none or all.
    pub(crate) namespace: String,
    /// The name of the object; empty for all.
    pub(crate) name: String,
    /// The subresource; empty for the object itself.
    pub(crate) subresource: String,
    /// Whether the path continues below the subresource.
    pub(crate) is_deeper: bool,
    /// Whether the path begins with the deprecated `watch`.
    pub(crate) is_watch: bool,
}

impl Target {
    /// The resource, when there is one.
    pub(crate) fn known(&self) -> Option<&'static Resource> {
        resource::find(&self.group, &self.version, &self.resource)
    }

    /// The resource with the subresource, as in `pods/eviction`.
    pub(crate) fn full_resource(&self) -> String {
        if self.subresource.is_empty() {
            self.resource.clone()
        } else {
            format!("{}/{}", self.resource, self.subresource)
        }
    }
}

impl Route {
    /// The route of a decoded path.
    pub(crate) fn new(path: &str) -> Self {
        let mut parts = path.strip_prefix('/').unwrap_or(path).split('/').peekable();
        let (group, version) = match (parts.next(), parts.next()) {
            (Some("api"), Some("v1")) => (String::new(), "v1".to_owned()),
            (Some("apis"), Some(group)) if !group.is_empty() => match parts.next() {
                Some(version) if resource::has_group(group, version) => {
                    (group.to_owned(), version.to_owned())
                }
                _ => return Self::Path(path.to_owned()),
            },
            _ => return Self::Path(path.to_owned()),
        };
        let mut target = Target { group, version, ..Target::default() };
        if parts.next_if_eq(&"watch").is_some() {
            target.is_watch = true;
        }
        let parts: Vec<_> = parts.collect();
        let parts = parts.strip_suffix(&[""]).unwrap_or(&parts);
        let rest = match parts {
            [] => return Self::Path(path.to_owned()),
            ["namespaces", name, "status" | "finalize"] => {
                "namespaces".clone_into(&mut target.resource);
                (*name).clone_into(&mut target.namespace);
                &parts[1..]
            }
            ["namespaces", namespace, resource, rest @ ..] => {
                (*namespace).clone_into(&mut target.namespace);
                (*resource).clone_into(&mut target.resource);
                rest
            }
            [resource, rest @ ..] => {
                (*resource).clone_into(&mut target.resource);
                rest
            }
        };
        let part = |index: usize| rest.get(index).map(ToString::to_string).unwrap_or_default();
        target.name = part(0);
        target.subresource = part(1);
        target.is_deeper = rest.len() > 2;
        Self::Resource(target)
    }
}

/// The RBAC verb of a request to a resource.
pub(crate) fn verb(request: &Request, target: &Target) -> &'static str {
    let is_named = !target.name.is_empty();
    match request.method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE if is_named => "delete",
        Method::DELETE => "deletecollection",
        Method::GET | Method::HEAD if is_watch(request, target) => "watch",
        Method::GET | Method::HEAD if is_named => "get",
        Method::GET | Method::HEAD => "list",
        _ => "",
    }
}

/// Whether a read is a watch.
pub(crate) fn is_watch(request: &Request, target: &Target) -> bool {
    target.is_watch || (target.name.is_empty() && request.is_set("watch"))
}
