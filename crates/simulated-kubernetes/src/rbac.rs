//! Authorization (RBAC): roles and their bindings, of the cluster and of namespaces.

use std::sync::Arc;

use serde_json::Value;

use crate::object::{items, name, namespace, text};
use crate::resource;
use crate::route::Target;
use crate::store::{Key, Store};
use crate::users::{Identity, MASTERS};

/// An action to be authorized.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Action<'a> {
    /// A verb on a resource or one of its objects.
    Resource { verb: &'a str, target: &'a Target },
    /// A verb on a path that names no resource.
    Path { verb: &'a str, path: &'a str },
}

/// Paths that are readable without authentication.
const PUBLIC: &[&str] = &["/healthz", "/livez", "/readyz", "/version", "/version/"];

/// Discovery paths, readable by authenticated users.
const DISCOVERY: &[&str] = &["/api", "/api/", "/apis", "/apis/"];

/// The reason why an action is allowed; `None` if it is denied.
pub(crate) fn allowed(store: &Store, user: &Identity, action: Action<'_>) -> Option<String> {
    if user.is_in(MASTERS) || is_granted_to_all(user, action) {
        return Some(String::new());
    }
    let in_cluster = bindings(store, "clusterrolebindings", None);
    let granted = in_cluster.into_iter().find_map(|binding| {
        let (role, subject) = grant(store, &binding, user, action)?;
        let name = name(&binding);
        Some(format!("RBAC: allowed by ClusterRoleBinding {name:?} of {role} to {subject}"))
    });
    let Action::Resource { target, .. } = action else { return granted };
    granted.or_else(|| {
        let namespace =
            Some(target.namespace.as_str()).filter(|namespace| !namespace.is_empty())?;
        let in_namespace = bindings(store, "rolebindings", Some(namespace));
        in_namespace.into_iter().find_map(|binding| {
            let (role, subject) = grant(store, &binding, user, action)?;
            let name = format!("{}/{namespace}", name(&binding));
            Some(format!("RBAC: allowed by RoleBinding {name:?} of {role} to {subject}"))
        })
    })
}

fn bindings(store: &Store, plural: &str, namespace: Option<&str>) -> Vec<Arc<Value>> {
    let resource = resource::named(plural).into_iter();
    let bindings = resource.flat_map(|resource| store.list(resource, namespace));
    bindings.map(|(_, binding)| Arc::clone(binding)).collect()
}

/// The role and the subject by which a binding allows an action, as reasons name them.
fn grant(
    store: &Store,
    binding: &Value,
    user: &Identity,
    action: Action<'_>,
) -> Option<(String, String)> {
    let subject = items(binding, "/subjects").iter().find(|subject| is_user(subject, user))?;
    let (kind, role) = (text(binding, "/roleRef/kind"), text(binding, "/roleRef/name"));
    let resource = resource::named(kind)?;
    let role_object = store.get(&Key::new(resource, namespace(binding), role))?;
    if !items(role_object, "/rules").iter().any(|rule| permits(rule, action)) {
        return None;
    }
    let of = match text(subject, "/kind") {
        "ServiceAccount" => format!("{}/{}", text(subject, "/name"), text(subject, "/namespace")),
        _ => text(subject, "/name").to_owned(),
    };
    Some((format!("{kind} {role:?}"), format!("{} {of:?}", text(subject, "/kind"))))
}

/// The roles `system:public-info-viewer`, `system:discovery` and `system:basic-user`.
fn is_granted_to_all(user: &Identity, action: Action<'_>) -> bool {
    let is_authenticated = user.is_in("system:authenticated");
    match action {
        Action::Path { verb: "get", path } => {
            PUBLIC.contains(&path)
                || (is_authenticated
                    && (DISCOVERY.contains(&path)
                        || path.starts_with("/api/")
                        || path.starts_with("/apis/")))
        }
        Action::Resource { verb: "create", target } => {
            is_authenticated
                && ["selfsubjectaccessreviews", "selfsubjectreviews"]
                    .contains(&target.resource.as_str())
        }
        _ => false,
    }
}

fn is_user(subject: &Value, user: &Identity) -> bool {
    let name = text(subject, "/name");
    match text(subject, "/kind") {
        "User" => user.name == name,
        "Group" => user.is_in(name),
        "ServiceAccount" => {
            let namespace = text(subject, "/namespace");
            user.name == format!("system:serviceaccount:{namespace}:{name}")
        }
        _ => false,
    }
}

fn permits(rule: &Value, action: Action<'_>) -> bool {
    let has = |list: &str, value: &str| {
        items(rule, list).iter().any(|known| known == "*" || known == value)
    };
    match action {
        Action::Path { verb, path } => {
            let mut urls = items(rule, "/nonResourceURLs").iter().filter_map(Value::as_str);
            has("/verbs", verb)
                && urls.any(|url| match url.strip_suffix('*') {
                    Some(prefix) => path.starts_with(prefix),
                    None => path == url,
                })
        }
        Action::Resource { verb, target } => {
            let full = target.full_resource();
            let any_subresource = format!("*/{}", target.subresource);
            let names = items(rule, "/resourceNames");
            has("/verbs", verb)
                && has("/apiGroups", &target.group)
                && (has("/resources", &full)
                    || (!target.subresource.is_empty() && has("/resources", &any_subresource)))
                && (names.is_empty() || names.iter().any(|name| *name == target.name))
        }
    }
}
