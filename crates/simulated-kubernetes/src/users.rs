//! Authentication.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::request::Request;

/// The group with all rights.
pub const MASTERS: &str = "system:masters";

const ANONYMOUS: &str = "system:anonymous";
const AUTHENTICATED: &str = "system:authenticated";
const UNAUTHENTICATED: &str = "system:unauthenticated";
const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

/// A user with groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The name.
    pub name: String,
    /// Empty for users without one.
    pub uid: String,
    /// All groups, including `system:authenticated`.
    pub groups: Vec<String>,
    /// The value of `authentication.kubernetes.io/credential-id`; empty for none.
    pub credential_id: String,
}

impl Identity {
    /// An authenticated user.
    pub fn new(name: &str, uid: &str, groups: &[&str], credential_id: &str) -> Self {
        let groups = groups.iter().copied().chain([AUTHENTICATED]).map(str::to_owned);
        let (name, uid) = (name.to_owned(), uid.to_owned());
        Self { name, uid, groups: groups.collect(), credential_id: credential_id.to_owned() }
    }

    fn anonymous() -> Self {
        let groups = vec![UNAUTHENTICATED.to_owned()];
        let (uid, credential_id) = (String::new(), String::new());
        Self { name: ANONYMOUS.to_owned(), uid, groups, credential_id }
    }

    /// The identity of a service account token.
    pub(crate) fn service_account(namespace: &str, name: &str, uid: &str, token_id: &str) -> Self {
        let user = format!("system:serviceaccount:{namespace}:{name}");
        let group = format!("system:serviceaccounts:{namespace}");
        Self::new(&user, uid, &["system:serviceaccounts", &group], &format!("JTI={token_id}"))
    }

    pub(crate) fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|known| known == group)
    }

    /// As in reviews.
    pub(crate) fn user_info(&self) -> Value {
        let mut info = Map::new();
        info.insert("username".to_owned(), self.name.clone().into());
        if !self.uid.is_empty() {
            info.insert("uid".to_owned(), self.uid.clone().into());
        }
        info.insert("groups".to_owned(), self.groups.clone().into());
        if !self.credential_id.is_empty() {
            info.insert("extra".to_owned(), json!({CREDENTIAL_ID: [self.credential_id]}));
        }
        info.into()
    }
}

/// The certificate of a client.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Certificate {
    /// No certificate was presented.
    #[default]
    None,
    /// The certificate is not signed by the authority of the server.
    Untrusted,
    /// The certificate identifies this user.
    Trusted(Identity),
}

/// The users with bearer tokens.
#[derive(Debug, Default)]
pub(crate) struct Users {
    by_token: BTreeMap<String, Identity>,
    added: u64,
    /// Whether requests without credentials are rejected.
    pub(crate) is_anonymous_rejected: bool,
}

impl Users {
    /// Adds a user, or replaces the one with this token.
    pub(crate) fn add(&mut self, token: &str, name: &str, groups: &[&str]) {
        self.added += 1;
        let uid = (1000 + self.added).to_string();
        self.by_token.insert(token.to_owned(), Identity::new(name, &uid, groups, ""));
    }

    pub(crate) fn add_identity(&mut self, token: &str, identity: Identity) {
        self.by_token.insert(token.to_owned(), identity);
    }

    pub(crate) fn remove(&mut self, token: &str) {
        self.by_token.remove(token);
    }

    pub(crate) fn with_token(&self, token: &str) -> Option<&Identity> {
        self.by_token.get(token)
    }

    /// The user of a request; `None` if its credentials are invalid.
    pub(crate) fn authenticate(&self, request: &Request) -> Option<Identity> {
        match &request.certificate {
            Certificate::Trusted(identity) => return Some(identity.clone()),
            Certificate::Untrusted => return None,
            Certificate::None => {}
        }
        let header = request.authorization.as_deref().unwrap_or_default();
        let (scheme, token) = header.split_once(' ').unwrap_or((header, ""));
        if scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty() {
            return self.with_token(token.trim()).cloned();
        }
        (!self.is_anonymous_rejected).then(Identity::anonymous)
    }
}
