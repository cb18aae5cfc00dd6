//! Who asks, and what each role may do.

use axum::http::Method;
use serde::{Deserialize, Serialize};

use crate::handlers::secrets;

/// What somebody may do; each may do what the one before may, but for [`Role::Enroll`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Register hosts, and nothing else.
    Enroll,
    /// Read, but for credentials.
    Reader,
    /// Everything but credentials, enrollments and configuration.
    Operator,
    /// Everything. Whoever has no role has this one, as in the original.
    #[default]
    Admin,
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Enroll => "enroll",
            Self::Reader => "reader",
            Self::Operator => "operator",
            Self::Admin => "admin",
        })
    }
}

/// Who was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// Their name, for the log and the records.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// The enrollment whose token they have shown.
    pub enrollment: Option<String>,
}

impl Principal {
    /// Somebody who was not accepted by a token.
    pub fn new(name: impl Into<String>, role: Role) -> Self {
        Self { name: name.into(), role, enrollment: None }
    }

    /// Whoever shows a token of this enrollment.
    pub fn enrolling(id: &str) -> Self {
        Self { name: format!("enroll:{id}"), role: Role::Enroll, enrollment: Some(id.to_owned()) }
    }
}

/// The calls that read credentials, or what may be some.
const CREDENTIALS: [&str; 3] = ["/api/v0/host/{address}/creds", secrets::PATH, secrets::ROUTE];

/// The calls that [`Role::Enroll`] is for; both are `PUT`.
const REGISTRATION: [&str; 2] = ["/api/v0/host", "/api/v0/host/{address}"];

/// What an operator may change. To accept a changed host key is among it: it is how a reinstalled host
/// comes back, and whoever may delete a host and register it again with another key could do the same
/// in two steps. New credentials are the administrator's.
const OPERATION: [(&str, &str); 19] = [
    ("PUT", "/api/v0/cluster/{name}"),
    ("DELETE", "/api/v0/cluster/{name}"),
    ("PUT", "/api/v0/cluster/{name}/hosts"),
    ("PUT", "/api/v0/cluster/{name}/hosts/{host}"),
    ("DELETE", "/api/v0/cluster/{name}/hosts/{host}"),
    ("PUT", "/api/v0/cluster/{name}/deploy"),
    ("PUT", "/api/v0/cluster/{name}/upgrade"),
    ("PUT", "/api/v0/cluster/{name}/restart"),
    ("POST", "/api/v0/operation/{id}/pause"),
    ("POST", "/api/v0/operation/{id}/resume"),
    ("POST", "/api/v0/operation/{id}/abort"),
    ("POST", "/api/v0/operation/{id}/continue"),
    ("PUT", "/api/v0/freeze"),
    ("DELETE", "/api/v0/freeze"),
    ("PUT", "/api/v0/host"),
    ("PUT", "/api/v0/host/{address}"),
    ("DELETE", "/api/v0/host/{address}"),
    ("POST", "/api/v0/host/{address}/investigate"),
    ("PUT", "/api/v0/host/{address}/hostkey"),
];

/// What everybody may read. Container managers and networks are among it: their secrets are masked.
const READING: [&str; 22] = [
    "/api/v0/clusters",
    "/api/v0/cluster/{name}",
    "/api/v0/cluster/{name}/hosts",
    "/api/v0/cluster/{name}/hosts/{host}",
    "/api/v0/cluster/{name}/deploy",
    "/api/v0/cluster/{name}/upgrade",
    "/api/v0/cluster/{name}/restart",
    "/api/v0/cluster/{name}/operations",
    "/api/v0/operation/{id}",
    "/api/v0/operation/{id}/events",
    "/api/v0/freeze",
    "/api/v0/containermanagers",
    "/api/v0/containermanager/{name}",
    "/api/v0/hosts",
    "/api/v0/host/{address}",
    "/api/v0/host/{address}/status",
    "/api/v0/publickey",
    "/api/v0/networks",
    "/api/v0/network/{name}",
    "/healthz",
    "/readyz",
    "/metrics",
];

/// The least role that a call needs; `route` is the path as the router has it, `None` where no route
/// leads. A call that nobody has listed is the administrator's.
pub fn needed(method: &Method, route: Option<&str>) -> Role {
    // A path that leads nowhere tells nothing.
    let Some(route) = route else { return Role::Reader };
    if is_read(method) && READING.contains(&route) {
        Role::Reader
    } else if OPERATION.contains(&(method.as_str(), route)) {
        Role::Operator
    } else {
        Role::Admin
    }
}

/// Whether a role suffices for a call.
pub fn may(role: Role, method: &Method, route: Option<&str>) -> bool {
    match role {
        Role::Enroll => method == Method::PUT && route.is_some_and(|r| REGISTRATION.contains(&r)),
        role => role >= needed(method, route),
    }
}

/// Whether the audit log must have a call: a change, and every reading of credentials.
pub fn is_audited(method: &Method, route: Option<&str>) -> bool {
    !is_read(method) || route.is_some_and(|route| CREDENTIALS.contains(&route))
}

fn is_read(method: &Method) -> bool {
    method == Method::GET || method == Method::HEAD
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_has_listed_is_the_administrators() {
        for (method, route) in [
            (Method::GET, "/api/v0/new"),
            (Method::GET, CREDENTIALS[0]),
            (Method::HEAD, CREDENTIALS[0]),
            (Method::PUT, CREDENTIALS[0]),
            (Method::GET, secrets::PATH),
            (Method::GET, secrets::ROUTE),
            (Method::PUT, secrets::ROUTE),
            (Method::POST, "/api/v0/hosts"),
            (Method::PATCH, "/api/v0/host/{address}"),
            (Method::OPTIONS, "/api/v0/clusters"),
        ] {
            assert_eq!(needed(&method, Some(route)), Role::Admin, "{method} {route}");
            for role in [Role::Enroll, Role::Reader, Role::Operator] {
                assert!(!may(role, &method, Some(route)), "{role} {method} {route}");
            }
        }
    }

    #[test]
    fn who_may_enroll_may_nothing_else() {
        for (method, route) in OPERATION {
            let may_enroll = may(Role::Enroll, &method.parse().unwrap(), Some(route));
            assert_eq!(may_enroll, method == "PUT" && REGISTRATION.contains(&route), "{route}");
        }
        for route in READING {
            assert!(!may(Role::Enroll, &Method::GET, Some(route)));
        }
        assert!(!may(Role::Enroll, &Method::PUT, None));
    }

    #[test]
    fn roles_are_written_as_they_are_read() {
        for role in [Role::Enroll, Role::Reader, Role::Operator, Role::Admin] {
            assert_eq!(serde_json::to_value(role).unwrap(), role.to_string());
        }
    }
}
