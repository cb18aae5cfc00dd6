//! Users by their credentials at identity providers. Their roles are decided by the gateway.
//!
//! - [`client`][]: requests to providers, with limits
//! - [`keystone`][]: passwords and tokens of OpenStack
//! - [`oidc`][]: tokens of OpenID Connect
//! - [`openshift`][]: tokens of OpenShift and Kubernetes
//! - [`remembered`][]: identities of credentials that were accepted

pub mod client;
pub mod keystone;
pub mod oidc;
pub mod openshift;
pub mod remembered;

use jiff::Timestamp;

/// The longest name of a user or a group, in bytes; what is longer is not accepted.
pub const NAME_MAX: usize = 256;

/// The most groups of a user; further ones are not accepted.
pub const GROUPS_MAX: usize = 1000;

/// A user that a provider knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The name, which is unique within the provider.
    pub name: String,
    /// The groups, or the roles that the provider has given.
    pub groups: Vec<String>,
    /// When the credentials expire, if the provider says.
    pub expires: Option<Timestamp>,
}

/// Why a user is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// The credentials are not valid.
    #[error("{0}")]
    Rejected(String),
    /// The provider does not say whether they are.
    #[error("{0}")]
    Unavailable(String),
}

/// The result of a request to a provider.
pub type Result<T, E = ProviderError> = std::result::Result<T, E>;

impl Identity {
    /// The identity with this name and these groups.
    ///
    /// # Errors
    /// When a name is empty, too long or not printable, or there are too many groups.
    pub fn new(name: &str, groups: Vec<String>, expires: Option<Timestamp>) -> Result<Self> {
        let is_name = |name: &str| {
            !name.is_empty() && name.len() <= NAME_MAX && !name.contains(char::is_control)
        };
        if !is_name(name) {
            let message = "the provider gives a user name that is empty, too long or not printable";
            return Err(ProviderError::Rejected(message.to_owned()));
        }
        if groups.len() > GROUPS_MAX {
            let message = format!("the user has more than {GROUPS_MAX} groups");
            return Err(ProviderError::Rejected(message));
        }
        let groups = groups.into_iter().filter(|group| is_name(group)).collect();
        Ok(Self { name: name.to_owned(), groups, expires })
    }

    /// Whether its credentials have not expired yet.
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded_and_printable() {
        let groups = vec!["a".to_owned(), String::new(), "b\n".to_owned(), "x".repeat(257)];
        assert_eq!(Identity::new("ann", groups, None).unwrap().groups, ["a"]);
        for wrong in ["", "a\u{1b}[2J", &"x".repeat(NAME_MAX + 1)] {
            assert!(matches!(
                Identity::new(wrong, Vec::new(), None),
                Err(ProviderError::Rejected(_))
            ));
        }
        let many = vec!["g".to_owned(); GROUPS_MAX + 1];
        assert!(Identity::new("ann", many, None).is_err());
    }
}
