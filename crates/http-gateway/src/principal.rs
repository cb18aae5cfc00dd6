//! The user, host or service that a request was accepted from.

use std::net::IpAddr;
use std::sync::Arc;

use identity_providers::Identity;
use jiff::Timestamp;
pub use model::Role;

use crate::access::Rights;

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
    /// What it may do, and where.
    pub rights: Rights,
    /// Whether that is by bindings.
    pub is_bound: bool,
    /// Its name in logs, records and limits: unique among all authenticators and issuers.
    pub id: String,
    /// Its groups, with the prefix of its identity provider.
    pub groups: Arc<[String]>,
    /// When its credentials expire, if that is known.
    pub until: Option<Timestamp>,
}

impl Principal {
    /// A user with a password. Such a name has no colon, so it is no other principal's id.
    pub fn user(name: &str, rights: Rights) -> Self {
        Self::new(Authenticator::Password, name, rights, name.to_owned())
    }

    /// The owner of a client certificate.
    pub fn certificate(issuer: &str, name: &str, rights: Rights) -> Self {
        let authenticator = Authenticator::Certificate { issuer: issuer.to_owned() };
        Self::new(authenticator, name, rights, format!("certificate:{issuer}/{name}"))
    }

    /// A user that an identity provider knows. The id begins with the prefix of the provider and a colon.
    pub fn of_provider(id: String, identity: Identity, rights: Rights) -> Self {
        let Identity { name, groups, expires } = identity;
        let principal = Self::new(Authenticator::Provider, &name, rights, id);
        Self { groups: groups.into(), until: expires, ..principal }
    }

    /// A host with a token of the enrollment with this id.
    pub fn enrolling(id: &str) -> Self {
        let rights = Rights::everywhere(Role::Enroll);
        Self::new(Authenticator::Enrollment, id, rights, format!("enroll:{id}"))
    }

    fn new(authenticator: Authenticator, name: &str, rights: Rights, id: String) -> Self {
        let groups = Arc::default();
        let (name, is_bound, until) = (name.to_owned(), false, None);
        Self { authenticator, name, rights, is_bound, id, groups, until }
    }

    /// Its highest role on any cluster.
    pub fn role(&self) -> Option<Role> {
        self.rights.highest()
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
            Principal::user("ann", Rights::default()),
            Principal::certificate("Example CA", "ann", Rights::default()),
            Principal::certificate("Other CA", "ann", Rights::default()),
            Principal::enrolling("ann"),
            Principal::of_provider(
                "openshift:ann".to_owned(),
                Identity::new("ann", Vec::new(), None).unwrap(),
                Rights::default(),
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
}
