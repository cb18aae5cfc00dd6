//! Patterns of the names of clusters.

use glob::Pattern;
use serde::{Deserialize, Serialize};

/// Stands for every cluster, and for objects without a cluster.
const ALL: &str = "*";

/// The most patterns of a set.
const COUNT_MAX: usize = 100;

/// The longest pattern, in bytes: that of a name.
const LENGTH_MAX: usize = 253;

/// A set of names of clusters and patterns of them, in which `*` stands for any characters. The pattern `*` also includes
/// what belongs to no cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct ClusterPatterns(Vec<Pattern>);

impl ClusterPatterns {
    /// All clusters, and objects without a cluster.
    pub fn all() -> Self {
        Self(Pattern::new(ALL).into_iter().collect())
    }

    /// Whether it has no pattern.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it includes all clusters, and objects without a cluster.
    pub fn includes_all(&self) -> bool {
        self.0.iter().any(|pattern| pattern.as_str() == ALL)
    }

    /// The names and patterns.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(Pattern::as_str)
    }

    /// Whether it includes a cluster.
    pub fn includes(&self, cluster: &str) -> bool {
        self.0.iter().any(|pattern| pattern.matches(cluster))
    }
}

impl TryFrom<Vec<String>> for ClusterPatterns {
    type Error = String;

    fn try_from(texts: Vec<String>) -> Result<Self, String> {
        if texts.len() > COUNT_MAX {
            return Err(format!("at most {COUNT_MAX} names or patterns of clusters"));
        }
        let pattern = |text: &String| {
            let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-*".contains(&byte);
            let is_valid = (1..=LENGTH_MAX).contains(&text.len()) && text.bytes().all(is_allowed);
            let pattern = is_valid.then(|| Pattern::new(text).ok()).flatten();
            pattern.ok_or_else(|| {
                format!("{text:?} is neither the name of a cluster nor a pattern such as \"web-*\"")
            })
        };
        texts.iter().map(pattern).collect::<Result<_, _>>().map(Self)
    }
}

impl From<ClusterPatterns> for Vec<String> {
    fn from(patterns: ClusterPatterns) -> Self {
        patterns.iter().map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn patterns(texts: &[&str]) -> Result<ClusterPatterns, String> {
        texts.iter().map(ToString::to_string).collect::<Vec<_>>().try_into()
    }

    #[test]
    fn names_and_patterns_include_clusters() {
        for (pattern, included, excluded) in [
            ("web", &["web"][..], &["we", "web1", "Web", "xweb", ""][..]),
            ("web-*", &["web-", "web-eu-1"], &["web", "xweb-1"]),
            ("*-eu-*", &["a-eu-1", "-eu-"], &["eu", "a-eu"]),
            ("*", &["web", "db"], &[]),
        ] {
            let set = patterns(&[pattern]).unwrap();
            assert_eq!(set.includes_all(), pattern == "*", "{pattern}");
            assert!(included.iter().all(|name| set.includes(name)), "{pattern}");
            assert!(!excluded.iter().any(|name| set.includes(name)), "{pattern}");
        }
        assert!(ClusterPatterns::all().includes_all());
        assert!(!ClusterPatterns::default().includes("web"));
    }

    #[test]
    fn other_characters_are_rejected() {
        for wrong in ["", "a/b", "web?", "a b", "[ab]", "we\u{e4}b", "a.b", "a**"] {
            assert!(patterns(&[wrong]).is_err(), "{wrong}");
        }
        assert!(patterns(&["a"; 101]).is_err());
    }

    proptest! {
        #[test]
        fn patterns_are_written_as_they_are_read(texts in prop::collection::vec("[a-z_-]{0,5}[*]?[a-z_-]{1,5}", 0..5)) {
            let set = ClusterPatterns::try_from(texts.clone()).unwrap();
            let written = Vec::from(set.clone());
            prop_assert_eq!(ClusterPatterns::try_from(written).unwrap(), set);
        }

        #[test]
        fn name_is_included_by_itself_and_by_its_beginning(name in "[a-z_-]{1,10}", cut in 0_usize..10) {
            let beginning = &name[..cut.min(name.len())];
            prop_assert!(patterns(&[&name]).unwrap().includes(&name));
            let pattern = format!("{beginning}*");
            prop_assert!(patterns(&[&pattern]).unwrap().includes(&name));
        }
    }
}
