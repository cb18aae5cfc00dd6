//! Who asks, and in which role.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

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

/// Who sends a request, and from where.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The client's address: behind trusted proxies, not theirs.
    pub source: IpAddr,
    /// Who was accepted; nobody on paths that authenticate by themselves.
    pub principal: Option<Principal>,
    /// The number of reloads before the authentication.
    pub(crate) reloads: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_written_as_they_are_read() {
        for role in [Role::Enroll, Role::Reader, Role::Operator, Role::Admin] {
            assert_eq!(serde_json::to_value(role).unwrap(), role.to_string());
        }
    }
}
