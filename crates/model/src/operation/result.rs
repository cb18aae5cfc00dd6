//! What an operation has done to a host.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct HostResult {
    /// The packages that an upgrade has changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packages: Option<PackageChanges>,
    /// Age of the newest package list when an upgrade ended, in seconds: since its repository published it
    /// (apt), or since it was fetched or found unchanged (dnf, yum, zypper). Absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lists_age_seconds: Option<u64>,
    /// The tree of an OSTree host, before and after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tree: Option<TreeChange>,
    /// Whether what was done takes effect with the next reboot only.
    #[schema(required)]
    pub reboot_required: bool,
    /// The systemd units that have failed since, and had not failed before; at most 100 names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failed_units: Vec<String>,
}

/// Packages that were changed: the first of them, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct PackageChanges {
    /// Those that were not there before.
    #[schema(required)]
    pub installed: Vec<PackageChange>,
    /// Those that have another version now.
    #[schema(required)]
    pub upgraded: Vec<PackageChange>,
    /// Those that are not there any more.
    #[schema(required)]
    pub removed: Vec<PackageChange>,
    /// How many were changed in all, those that are not listed included.
    #[schema(required)]
    pub total: usize,
}

/// A package, and its version before and after.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PackageChange {
    /// Its name; with its architecture where there may be several.
    pub name: String,
    /// Its version before, if it was installed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// Its version after, if it is installed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// The tree that was booted before, and the one that is, or will be with the next reboot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TreeChange {
    /// Booted before.
    pub before: Tree,
    /// Booted, or staged.
    pub after: Tree,
}

/// A commit of an OSTree repository.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Tree {
    /// Its checksum.
    #[schema(required)]
    pub checksum: String,
    /// Its version; empty if it has none.
    #[schema(required)]
    pub version: String,
}

impl HostResult {
    /// The commit that must be booted in the end; none on a host with packages.
    pub fn checksum(&self) -> Option<&str> {
        self.tree.as_ref().map(|tree| tree.after.checksum.as_str())
    }
}

impl fmt::Display for HostResult {
    /// A few words for the operation's log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.packages, &self.tree) {
            (Some(packages), _) if packages.total > 0 => {
                write!(f, "{} packages were changed", packages.total)?;
            }
            (_, Some(tree)) if tree.before != tree.after => {
                write!(f, "{} in place of {}", tree.after, tree.before)?;
            }
            _ => f.write_str("nothing was changed")?,
        }
        if self.reboot_required { f.write_str("; a reboot is needed") } else { Ok(()) }
    }
}

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.version.is_empty() { &self.checksum } else { &self.version })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_was_changed_or_that_nothing_was() {
        let packages = |total| {
            let packages = Some(PackageChanges { total, ..PackageChanges::default() });
            HostResult { packages, ..HostResult::default() }
        };
        let tree = |checksum: &str, version: &str| Tree {
            checksum: checksum.into(),
            version: version.into(),
        };
        let staged = HostResult {
            tree: Some(TreeChange { before: tree("aa", "41"), after: tree("bb", "") }),
            reboot_required: true,
            ..HostResult::default()
        };
        for (result, expected) in [
            (packages(0), "nothing was changed"),
            (packages(3), "3 packages were changed"),
            (staged, "bb in place of 41; a reboot is needed"),
            (HostResult::default(), "nothing was changed"),
        ] {
            assert_eq!(result.to_string(), expected);
        }
    }
}
