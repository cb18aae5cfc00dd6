//! The report of a playbook as the result of a host. Pure.
//!
//! The report comes from the host, which is not trusted: it is cut to the size of a record.

use model::{HostResult, PackageChange, PackageChanges, Tree, TreeChange};
use serde_json::{Map, Value};

/// The most packages that a result lists: it is part of a record that is saved with every step of the host.
const PACKAGES: usize = 200;

/// The longest name or version, in characters.
const WORD: usize = 100;

/// The longest sentence, in characters.
const SENTENCE: usize = 300;

/// The result of a host, from what a playbook has reported.
pub(super) fn result(data: &Map<String, Value>) -> HostResult {
    HostResult {
        packages: data.get("commissaire_changes").and_then(Value::as_str).map(packages),
        lists_age_seconds: data.get("commissaire_lists_age").and_then(seconds),
        tree: tree(data),
        reboot_required: data.get("commissaire_reboot_required") == Some(&Value::Bool(true)),
        failed_units: Vec::new(),
    }
}

/// Ansible may make a number of it on its way.
fn seconds(reported: &Value) -> Option<u64> {
    reported.as_u64().or_else(|| reported.as_str()?.parse().ok())
}

fn tree(data: &Map<String, Value>) -> Option<TreeChange> {
    // A version that looks like a number becomes one on its way through Ansible.
    let text = |name: &str| match data.get(name) {
        Some(Value::String(text)) => Some(word(text)),
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    };
    let tree = |suffix: &str| {
        Some(Tree {
            checksum: text(&format!("commissaire_checksum{suffix}"))?,
            version: text(&format!("commissaire_version{suffix}")).unwrap_or_default(),
        })
    };
    Some(TreeChange { before: tree("_before")?, after: tree("")? })
}

/// How many were installed, upgraded and removed, then `NAME BEFORE AFTER` a line, `-` for none.
fn packages(report: &str) -> PackageChanges {
    let mut lines = report.lines();
    let counts = lines.next().unwrap_or_default().split(' ');
    let total = counts.filter_map(|count| count.parse::<u32>().ok()).map(|count| count as usize);
    let mut changes = PackageChanges { total: total.sum(), ..PackageChanges::default() };
    for line in lines.take(PACKAGES) {
        let mut words = line.split(' ');
        let (Some(name), Some(before), Some(after)) = (words.next(), words.next(), words.next())
        else {
            continue;
        };
        let version = |text: &str| (text != "-").then(|| word(text));
        let change =
            PackageChange { name: word(name), before: version(before), after: version(after) };
        match (&change.before, &change.after) {
            (None, _) => changes.installed.push(change),
            (_, None) => changes.removed.push(change),
            _ => changes.upgraded.push(change),
        }
    }
    changes
}

fn word(text: &str) -> String {
    printable(text, WORD)
}

/// One line that a host has reported, for an event.
pub(super) fn sentence(text: &str) -> String {
    printable(text.lines().next().unwrap_or_default(), SENTENCE)
}

fn printable(text: &str, limit: usize) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(limit).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(data: &Value) -> HostResult {
        result(data.as_object().unwrap())
    }

    #[test]
    fn packages_are_sorted_into_what_became_of_them() {
        let report = "1 2 1\nlibc6:amd64 2.36-9 2.36-10\nnew - 1\nold 1 -\nssh 1:9.2 1:9.3";
        let found = of(&json!({
            "commissaire_changes": report, "commissaire_reboot_required": true,
        }));
        assert_eq!(
            serde_json::to_value(&found).unwrap(),
            json!({
                "packages": {
                    "installed": [{"name": "new", "after": "1"}],
                    "upgraded": [
                        {"name": "libc6:amd64", "before": "2.36-9", "after": "2.36-10"},
                        {"name": "ssh", "before": "1:9.2", "after": "1:9.3"},
                    ],
                    "removed": [{"name": "old", "before": "1"}],
                    "total": 4,
                },
                "reboot_required": true,
            })
        );
        assert_eq!(of(&json!({"commissaire_changes": "0 0 0"})).packages.unwrap().total, 0);
    }

    #[test]
    fn the_age_of_the_lists_is_a_number_of_seconds_or_absent() {
        for (reported, expected) in [
            (json!("86400"), Some(86400)),
            (json!(0), Some(0)),
            (json!("-"), None),
            (json!("-5"), None),
            (json!(["7"]), None),
            (json!(null), None),
        ] {
            let found = of(&json!({"commissaire_lists_age": reported}));
            assert_eq!(found.lists_age_seconds, expected, "{reported}");
        }
    }

    #[test]
    fn a_tree_has_its_commits_before_and_after() {
        let found = of(&json!({
            "commissaire_checksum_before": "aa", "commissaire_version_before": "41.1",
            "commissaire_checksum": "bb", "commissaire_version": 42,
            "commissaire_reboot_required": false,
        }));
        let tree = |checksum: &str, version: &str| Tree {
            checksum: checksum.into(),
            version: version.into(),
        };
        let expected = TreeChange { before: tree("aa", "41.1"), after: tree("bb", "42") };
        assert_eq!((found.tree, found.packages), (Some(expected), None));
    }

    #[test]
    fn whatever_a_host_says_a_result_is_small() {
        let line = format!("{} {} {}\n", "n".repeat(5000), "\u{7}1".repeat(5000), "2");
        let report = format!("99999999999 4000 x -3\n{}", line.repeat(1000));
        let found = of(&json!({"commissaire_changes": report, "commissaire_checksum": ["x"]}));
        assert!(serde_json::to_string(&found).unwrap().len() < 80_000);
        let packages = found.packages.unwrap();
        assert_eq!((packages.upgraded.len(), packages.total), (PACKAGES, 4000));
        for nonsense in ["", "\n\n\n", "a b", "1 1 1\nx", "- - -\n- - -"] {
            of(&json!({"commissaire_changes": nonsense}));
        }
    }
}
