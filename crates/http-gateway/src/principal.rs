//! The user, host or service that a request was accepted from.

use std::net::IpAddr;
use std::sync::Arc;

use identity_providers::Identity;
use jiff::Timestamp;
use model::ApiToken;
pub use model::Role;

use crate::access::{Grant, Rights};

/// What the ids of the owners of client certificates begin with.
const CERTIFICATE: &str = "certificate:";

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
    /// By an API token.
    ApiToken {
        /// The id of the token.
        id: String,
        /// The principal that it acts for.
        owner: Arc<Principal>,
    },
}

/// The user or host that a request was accepted from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// How it was authenticated.
    pub authenticator: Authenticator,
    /// The name of the user or of the API token, the common name of the certificate, or the id of the enrollment.
    pub name: String,
    /// What it may do, and where.
    pub rights: Rights,
    /// What it may do by the configuration, where bindings have replaced that.
    pub replaced: Option<Rights>,
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

    /// The owner of a client certificate. The first slash of its id is the end of the issuer.
    pub fn certificate(issuer: &str, name: &str, rights: Rights) -> Self {
        let authenticator = Authenticator::Certificate { issuer: issuer.to_owned() };
        let issuer = issuer.replace('%', "%25").replace('/', "%2F");
        Self::new(authenticator, name, rights, format!("{CERTIFICATE}{issuer}/{name}"))
    }

    /// What bindings call the owner of a client certificate; `None` for another principal.
    pub fn certificate_subject(&self) -> Option<&str> {
        let is_certificate = matches!(self.authenticator, Authenticator::Certificate { .. });
        is_certificate.then(|| self.id.strip_prefix(CERTIFICATE))?
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

    /// An API token of `owner`, with no more than its rights. The name of a token has no slash, and no provider has the prefix
    /// `token`, so the id is that of no other principal.
    pub fn api_token(token: &ApiToken, owner: Self) -> Self {
        let ApiToken { id, name, role, clusters, run_commands, expires, .. } = token;
        let limit = Grant { role: *role, clusters: clusters.clone(), run_commands: *run_commands };
        Self {
            rights: owner.rights.clone().limited_to(limit),
            replaced: owner.replaced.clone(),
            groups: Arc::clone(&owner.groups),
            until: expires.timestamp(),
            name: name.clone(),
            id: format!("token:{name}/{}", owner.id),
            authenticator: Authenticator::ApiToken { id: id.clone(), owner: Arc::new(owner) },
        }
    }

    fn new(authenticator: Authenticator, name: &str, rights: Rights, id: String) -> Self {
        let groups = Arc::default();
        let (name, replaced, until) = (name.to_owned(), None, None);
        Self { authenticator, name, rights, replaced, id, groups, until }
    }

    /// Its highest role on any cluster.
    pub fn role(&self) -> Option<Role> {
        self.rights.highest()
    }

    /// What it may do without any binding.
    pub fn configured(&self) -> &Rights {
        self.replaced.as_ref().unwrap_or(&self.rights)
    }

    /// The principal that an API token acts for; itself without one.
    pub fn owner(&self) -> &Self {
        match &self.authenticator {
            Authenticator::ApiToken { owner, .. } => owner,
            _ => self,
        }
    }

    /// The id of the API token that it has shown.
    pub fn api_token_id(&self) -> Option<&str> {
        match &self.authenticator {
            Authenticator::ApiToken { id, .. } => Some(id),
            _ => None,
        }
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
    pub principal: Option<Arc<Principal>>,
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
            Principal::certificate("A", "B/C", Rights::default()),
            Principal::certificate("A/B", "C", Rights::default()),
            Principal::enrolling("ann"),
            Principal::of_provider(
                "openshift:ann".to_owned(),
                Identity::new("ann", Vec::new(), None).unwrap(),
                Rights::default(),
            ),
        ];
        let token: ApiToken =
            serde_json::from_value(serde_json::json!({"id": "t", "name": "deploy",
            "token_hash": "", "owner": "ann", "login": {"kind": "password"}, "role": "reader",
            "clusters": ["*"], "expires": "", "created_at": ""}))
            .unwrap();
        let tokens = principals.clone().map(|owner| Principal::api_token(&token, owner).id);
        let ids = principals.map(|principal| principal.id);
        assert_eq!(tokens, ids.clone().map(|owner| format!("token:deploy/{owner}")));
        let expected = [
            "ann",
            "certificate:Example CA/ann",
            "certificate:Other CA/ann",
            "certificate:A/B/C",
            "certificate:A%2FB/C",
            "enroll:ann",
            "openshift:ann",
        ];
        assert_eq!(ids, expected);
    }
}
