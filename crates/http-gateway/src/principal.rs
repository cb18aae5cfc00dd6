//! Who asks, and in which role.

use std::net::IpAddr;
use std::sync::Arc;

use identity_providers::Identity;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What somebody may do; each may do what the one before may, but for [`Role::Enroll`].
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema,
)]
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

/// How a principal was authenticated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authenticator {
    /// By a password.
    Password,
    /// By a client certificate of the authority with this common name.
    Certificate {
        /// The issuer of the certificate.
        issuer: String,
    },
    /// By an identity provider.
    Provider,
    /// By a token of an enrollment.
    Enrollment,
}

/// The user or host that a request was accepted from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// How it was authenticated.
    pub authenticator: Authenticator,
    /// The name of the user, the common name of the certificate, or the id of the enrollment.
    pub name: String,
    /// The role.
    pub role: Role,
    /// Its name in logs, records and limits: unique among all authenticators and issuers.
    pub id: String,
    /// Its groups, as an identity provider names them.
    pub groups: Arc<[String]>,
    /// When its credentials expire, if that is known.
    pub until: Option<Timestamp>,
}

impl Principal {
    /// A user with a password. Such a name has no colon, so it is no other principal's id.
    pub fn user(name: &str, role: Role) -> Self {
        Self::new(Authenticator::Password, name, role, name.to_owned())
    }

    /// The owner of a client certificate.
    pub fn certificate(issuer: &str, name: &str, role: Role) -> Self {
        let authenticator = Authenticator::Certificate { issuer: issuer.to_owned() };
        Self::new(authenticator, name, role, format!("certificate:{issuer}/{name}"))
    }

    /// A user that an identity provider knows. The id begins with the prefix of the provider and a colon.
    pub fn of_provider(id: String, identity: Identity, role: Role) -> Self {
        let Identity { name, groups, expires } = identity;
        let principal = Self::new(Authenticator::Provider, &name, role, id);
        Self { groups: groups.into(), until: expires, ..principal }
    }

    /// A host with a token of the enrollment with this id.
    pub fn enrolling(id: &str) -> Self {
        Self::new(Authenticator::Enrollment, id, Role::Enroll, format!("enroll:{id}"))
    }

    fn new(authenticator: Authenticator, name: &str, role: Role, id: String) -> Self {
        let groups = Arc::default();
        Self { authenticator, name: name.to_owned(), role, id, groups, until: None }
    }

    /// The id of the enrollment whose token it has shown.
    pub fn enrollment(&self) -> Option<&str> {
        (self.authenticator == Authenticator::Enrollment).then_some(self.name.as_str())
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
    fn principals_of_different_authenticators_and_issuers_have_different_ids() {
        let principals = [
            Principal::user("ann", Role::Admin),
            Principal::certificate("Example CA", "ann", Role::Admin),
            Principal::certificate("Other CA", "ann", Role::Admin),
            Principal::enrolling("ann"),
            Principal::of_provider(
                "openshift:ann".to_owned(),
                Identity::new("ann", Vec::new(), None).unwrap(),
                Role::Admin,
            ),
        ];
        let ids = principals.map(|principal| principal.id);
        let expected = [
            "ann",
            "certificate:Example CA/ann",
            "certificate:Other CA/ann",
            "enroll:ann",
            "openshift:ann",
        ];
        assert_eq!(ids, expected);
    }

    #[test]
    fn roles_are_written_as_they_are_read() {
        for role in [Role::Enroll, Role::Reader, Role::Operator, Role::Admin] {
            assert_eq!(serde_json::to_value(role).unwrap(), role.to_string());
        }
    }
}
