//! The lines of a backup.

use std::collections::BTreeMap;

use model::Stamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

/// The format of backups, as docs/formats.md describes it: raised when programs of the version before would misunderstand
/// one.
pub const FORMAT: u32 = 1;

/// How many records of each type there are.
pub type Counts = BTreeMap<String, u64>;

/// The first line.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// [`FORMAT`]. As the first field it marks the file as a backup.
    pub commissaire_backup: u32,
    /// The format of the records ([`model::RECORD_FORMAT`]).
    pub record_format: u32,
    /// The version of the program that wrote it.
    pub version: String,
    /// The id of the installation; empty if it has none yet.
    #[serde(default)]
    pub instance: String,
    /// The generation of the installation; 0 if it has none yet.
    #[serde(default)]
    pub generation: u64,
    /// The time at the start, by the clock of the machine that wrote it.
    pub taken_at: Stamp,
    /// The moment of each store: each is consistent in itself, and no transaction spans two.
    #[serde(default)]
    pub stores: Vec<StoreMoment>,
    /// The number of records.
    pub records: u64,
    /// The same by their types.
    pub counts: Counts,
    /// What a restored installation needs and this file does not hold, in sentences.
    #[serde(default)]
    pub not_included: Vec<String>,
    /// A sealed text without meaning: the key that opens it is the one that the credentials were sealed with. `null` if
    /// nothing was sealed.
    #[serde(default)]
    pub sealing_mark: Option<Value>,
}

/// The state of a store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreMoment {
    /// Its handler.
    pub name: String,
    /// Its kind: `sqlite` or `etcd`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The revision of its last change.
    pub revision: u64,
}

/// A record.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its key in the store.
    pub key: String,
    /// The key that it was sealed for, if that is another one: a sealed record opens under that key only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed_for: Option<String>,
    /// The record, or the envelope of a sealed one.
    pub value: Box<RawValue>,
}

/// The key files, encrypted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Keys {
    /// An encrypted text in the format of age, with armor.
    pub(crate) keys: String,
}

/// The last line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trailer {
    /// [`FORMAT`]. As the first field it marks the end of a backup.
    pub end_of_backup: u32,
    /// The number of records.
    pub records: u64,
    /// The same by their types.
    pub counts: Counts,
    /// SHA-256 of all lines before this one, in hexadecimal digits.
    pub sha256: String,
}
