//! Who may do what, and where: roles, and the bindings of users to them.

mod patterns;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Model, Stamp, ident};

pub use patterns::ClusterPatterns;

/// The longest name of a subject, in bytes.
const SUBJECT_MAX: usize = 512;

/// What a principal may do ([`Role::includes`]).
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Register hosts, and nothing else.
    Enroll,
    /// Take backups of all records, and nothing else.
    Backup,
    /// Read, but for credentials.
    Reader,
    /// Everything but credentials, enrollments and configuration.
    Operator,
    /// Everything. A user of the users file without a role has this one, as in the original.
    #[default]
    Admin,
}

impl Role {
    /// Whether the role permits all that another one permits. Each includes the one before it, but backups are for
    /// administrators and for the role of their own.
    pub fn includes(self, other: Self) -> bool {
        match (self, other) {
            (Self::Backup, other) => other == Self::Backup,
            (own, Self::Backup) => own == Self::Admin,
            (own, other) => own >= other,
        }
    }

    /// What both roles permit.
    pub fn common(self, other: Self) -> Option<Self> {
        if self.includes(other) { Some(other) } else { other.includes(self).then_some(self) }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Enroll => "enroll",
            Self::Backup => "backup",
            Self::Reader => "reader",
            Self::Operator => "operator",
            Self::Admin => "admin",
        })
    }
}

/// What a binding is for.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum SubjectKind {
    /// A user, by the name in logs: `ann`, or `PREFIX:NAME` for one of an identity provider.
    User,
    /// A group, or a role of an identity provider: `PREFIX:NAME`.
    Group,
    /// The owner of a client certificate: `ISSUER/COMMON NAME`.
    Certificate,
}

/// A role of a user, a group or the owner of a certificate, on some clusters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Binding {
    /// What identifies it.
    pub name: String,
    /// What it is for.
    pub kind: SubjectKind,
    /// The name of the user, the group or the certificate.
    #[schema(min_length = 1, max_length = 512)]
    pub subject: String,
    /// The role.
    pub role: Role,
    /// Where the role is valid.
    #[schema(value_type = Vec<String>)]
    pub clusters: ClusterPatterns,
    /// Whether the subject may have commands of its own run on hosts, as administrators may.
    #[serde(default)]
    #[schema(required)]
    pub run_commands: bool,
    /// Who made it, or changed it last.
    #[serde(default)]
    #[schema(required)]
    pub changed_by: String,
    /// When.
    #[schema(value_type = String)]
    pub changed_at: Stamp,
    /// Whether it was restored from a backup and not accepted by an administrator yet: until then it gives no rights,
    /// since it may have been deleted after the backup.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pending: bool,
}

impl Binding {
    /// The most bindings that there may be.
    pub const MAX: usize = 20_000;
}

impl Model for Binding {
    const TYPE: &'static str = "Binding";
    const LIST_TYPE: &'static str = "Bindings";
    const ID: &'static str = "name";
    const PREFIX: &'static str = "/commissaire/bindings/";

    fn id(&self) -> &str {
        &self.name
    }

    fn validate(&self) -> Result<(), String> {
        ident::name(&self.name)?;
        if self.role == Role::Enroll {
            return Err("role: enroll is for tokens of enrollments".to_owned());
        }
        let length = self.subject.len();
        if !(1..=SUBJECT_MAX).contains(&length) || self.subject.chars().any(char::is_control) {
            return Err(format!("subject: 1 to {SUBJECT_MAX} bytes without control characters"));
        }
        if self.kind == SubjectKind::Group && !self.subject.contains(':') {
            return Err(format!(
                "subject: a group is named with the prefix of its identity provider, such as corp:{}",
                self.subject
            ));
        }
        if self.clusters.is_empty() {
            return Err("clusters: name at least one, or \"*\" for all".to_owned());
        }
        if self.role == Role::Backup && !self.clusters.includes_all() {
            return Err("clusters: the role backup is for all of them, \"*\"".to_owned());
        }
        if !self.changed_at.is_valid() {
            return Err(format!("changed_at is no time: {:?}", self.changed_at));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn binding(field: &str, value: Value) -> Result<(), String> {
        let mut record = json!({"name": "web", "kind": "group", "subject": "corp:web", "role": "operator",
            "clusters": ["web"], "changed_at": "2026-11-30T22:00:00.000000"});
        record[field] = value;
        serde_json::from_value::<Binding>(record).map_err(|e| e.to_string())?.validate()
    }

    #[test]
    fn binding_has_a_subject_a_role_and_clusters() {
        assert_eq!(binding("role", json!("reader")), Ok(()));
        for (field, value, says) in [
            ("role", json!("enroll"), "role: enroll"),
            ("role", json!("root"), "unknown variant `root`"),
            ("kind", json!("token"), "unknown variant `token`"),
            ("subject", json!(""), "subject: 1 to"),
            ("subject", json!("corp:a\nb"), "control characters"),
            ("subject", json!("web"), "such as corp:web"),
            ("clusters", json!([]), "at least one"),
            ("clusters", json!(["a/b"]), "a/b"),
            ("role", json!("backup"), "for all of them"),
            ("changed_at", json!("now"), "changed_at"),
        ] {
            let refused = binding(field, value.clone()).unwrap_err();
            assert!(refused.contains(says), "{field} {value}: {refused}");
        }
        assert_eq!(binding("kind", json!("user")), Ok(()));
    }

    #[test]
    fn roles_are_written_as_they_are_read() {
        for role in [Role::Enroll, Role::Backup, Role::Reader, Role::Operator, Role::Admin] {
            assert_eq!(serde_json::to_value(role).unwrap(), role.to_string());
        }
    }

    #[test]
    fn backups_are_for_administrators_and_the_role_of_their_own() {
        for role in [Role::Enroll, Role::Reader, Role::Operator] {
            assert!(!role.includes(Role::Backup) && !Role::Backup.includes(role), "{role}");
            assert_eq!(role.common(Role::Backup), None, "{role}");
            assert_eq!(Role::Backup.common(role), None, "{role}");
        }
        assert_eq!(Role::Admin.common(Role::Backup), Some(Role::Backup));
        assert_eq!(Role::Backup.common(Role::Admin), Some(Role::Backup));
        assert_eq!(Role::Operator.common(Role::Reader), Some(Role::Reader));
    }
}
