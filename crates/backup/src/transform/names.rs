//! `--map-cluster` and `--map-user`: which name takes the place of which.

use std::collections::BTreeMap;

use model::ident;

/// The longest name of a user, in bytes.
const USER_MAX: usize = 512;

/// What the names of principals begin with that are no users.
const NO_USERS: [&str; 3] = ["certificate:", "enroll:", "token:"];

/// What the name of an API token begins with, as a principal; its owner follows after a slash.
const TOKEN: &str = "token:";

/// Both sides of `OLD=NEW`.
pub(super) fn pair(text: &str) -> Result<(&str, &str), String> {
    let pair = text.split_once('=').filter(|(old, new)| !old.is_empty() && !new.is_empty());
    pair.ok_or_else(|| format!("OLD=NEW is expected, not {text:?}"))
}

/// One mapping of the name of a cluster, `OLD=NEW`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterMapping(String, String);

impl std::str::FromStr for ClusterMapping {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (old, new) = pair(text)?;
        for name in [old, new] {
            ident::name(name).map_err(|why| format!("the cluster {name:?}: {why}"))?;
        }
        Ok(Self(old.to_owned(), new.to_owned()))
    }
}

/// One mapping of the name of a user, `OLD=NEW`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserMapping(String, String);

impl std::str::FromStr for UserMapping {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (old, new) = pair(text)?;
        for name in [old, new] {
            if NO_USERS.iter().any(|prefix| name.starts_with(prefix)) {
                return Err(format!(
                    "{name}: only users can be mapped; certificates and tokens keep their names, and a token follows its owner"
                ));
            }
            if name.len() > USER_MAX || name.chars().any(char::is_control) {
                return Err(format!(
                    "the user {name:?}: at most {USER_MAX} bytes without control characters"
                ));
            }
        }
        Ok(Self(old.to_owned(), new.to_owned()))
    }
}

/// All mappings of names of one kind. They apply at the same time.
#[derive(Debug, Clone, Default)]
pub struct NameMap(BTreeMap<String, String>);

impl NameMap {
    /// A map of clusters.
    ///
    /// # Errors
    /// A sentence, when a cluster is mapped twice.
    pub fn of_clusters(mappings: impl IntoIterator<Item = ClusterMapping>) -> Result<Self, String> {
        Self::new(mappings.into_iter().map(|ClusterMapping(old, new)| (old, new)))
    }

    /// A map of users.
    ///
    /// # Errors
    /// A sentence, when a user is mapped twice.
    pub fn of_users(mappings: impl IntoIterator<Item = UserMapping>) -> Result<Self, String> {
        Self::new(mappings.into_iter().map(|UserMapping(old, new)| (old, new)))
    }

    fn new(mappings: impl Iterator<Item = (String, String)>) -> Result<Self, String> {
        let mut map = Self::default();
        for (old, new) in mappings {
            if map.0.insert(old.clone(), new).is_some() {
                return Err(format!("{old} is mapped twice"));
            }
        }
        Ok(map)
    }

    /// Whether it maps nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The left side of each mapping.
    pub(super) fn sources(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Each mapping.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(old, new)| (old.as_str(), new.as_str()))
    }

    /// What takes the place of a name; `None` if none has it.
    pub(super) fn map(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

/// The beginning of a principal's name that is not the name of the user, and the user: an API token is named with its
/// owner.
pub(super) fn user_in(principal: &str) -> (&str, &str) {
    let owner = principal.strip_prefix(TOKEN).and_then(|rest| rest.find('/'));
    principal.split_at(owner.map_or(0, |slash| TOKEN.len() + slash + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_of_a_principal_is_itself_or_the_owner_of_the_token() {
        for (principal, expected) in [
            ("ann", ("", "ann")),
            ("corp:bob", ("", "corp:bob")),
            ("token:ci/corp:bob", ("token:ci/", "corp:bob")),
            ("token:ci", ("", "token:ci")),
            ("token:ci/certificate:CA/bob", ("token:ci/", "certificate:CA/bob")),
            ("", ("", "")),
        ] {
            assert_eq!(user_in(principal), expected);
        }
    }

    #[test]
    fn names_that_cannot_be_used_are_refused() {
        for (text, says) in [
            ("web", "OLD=NEW"),
            ("web=", "OLD=NEW"),
            ("web=a.b", "cluster \"a.b\""),
            ("a*=b", "cluster \"a*\""),
        ] {
            let refused = text.parse::<ClusterMapping>().unwrap_err();
            assert!(refused.contains(says), "{text}: {refused}");
        }
        for (text, says) in [
            ("ann", "OLD=NEW"),
            ("ann=token:ci/ann", "only users"),
            ("certificate:CA/bob=bob", "only users"),
            ("ann=a\nb", "control characters"),
        ] {
            let refused = text.parse::<UserMapping>().unwrap_err();
            assert!(refused.contains(says), "{text}: {refused}");
        }
        let twice = ["a=b", "a=c"].map(|text| text.parse().unwrap());
        assert_eq!(NameMap::of_clusters(twice).unwrap_err(), "a is mapped twice");
    }
}
