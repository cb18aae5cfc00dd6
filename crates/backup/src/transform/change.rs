//! What a transformation changes: the diff of a dry run.

use std::fmt;

use serde::Serialize;

/// The change of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What happens to it.
    pub change: ChangeKind,
    /// The type of the record.
    #[serde(rename = "type")]
    pub kind: String,
    /// The key in the backup.
    pub key: String,
    /// The key in the result; `null` for a record that is left out.
    pub new_key: Option<String>,
    /// The fields that differ. Those of sealed records are not known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<FieldChange>,
    /// Whether the record is sealed: `restore` changes what is in it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub sealed: bool,
}

/// The kind of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// The record is left out.
    Removed,
    /// It has another key.
    Moved,
    /// It has the same key, and other fields.
    Changed,
}

/// The change of a field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldChange {
    /// Its place in the record.
    pub field: String,
    /// The text in the backup.
    pub old: String,
    /// The text in the result.
    pub new: String,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, new_key, .. } = self;
        match (self.change, new_key) {
            (ChangeKind::Changed, _) => writeln!(f, "~ {key}")?,
            (_, None) => writeln!(f, "- {key}")?,
            (_, Some(new_key)) => {
                writeln!(f, "- {key}")?;
                let sealed =
                    if self.sealed { "  (sealed: restore changes what is in it)" } else { "" };
                writeln!(f, "+ {new_key}{sealed}")?;
            }
        }
        for FieldChange { field, old, new } in &self.fields {
            writeln!(f, "    {field}: {old:?} -> {new:?}")?;
        }
        Ok(())
    }
}
