//! Transforming backups: other addresses, other names, some of the records. Pure: a backup becomes another one.
//!
//! - `table`: what the fields of each record type hold
//! - `address_map`, `names`: the mappings
//! - `sentence`: addresses in texts for people
//! - `mapper`: applies the mappings to a text by its content
//! - `rewrite`: applies them to a record
//! - `selection`: which records are kept
//! - `change`: the diff

mod address_map;
mod change;
mod error;
mod mapper;
mod names;
mod rewrite;
mod selection;
mod sentence;
mod table;

use std::collections::BTreeMap;

use model::abridged;
use serde_json::value::RawValue;

use crate::format::{Counts, Record};
use crate::reader::Backup;
pub use address_map::{AddressMap, AddressMapping};
pub use change::{Change, ChangeKind, FieldChange};
pub use error::TransformError;
use mapper::Mapper;
pub use names::{ClusterMapping, NameMap, UserMapping};
use rewrite::{Problem, Rewritten};
pub use selection::Criterion;
use table::RecordType;

/// How a backup is transformed: records are chosen first, by their names in the backup, then names are mapped.
#[derive(Debug, Clone, Default)]
pub struct Transform {
    /// The addresses of hosts.
    pub addresses: AddressMap,
    /// The names of clusters.
    pub clusters: NameMap,
    /// The names of users.
    pub users: NameMap,
    /// The records that are kept; empty for all.
    pub only: Vec<Criterion>,
    /// The records that are left out.
    pub exclude: Vec<Criterion>,
}

/// A transformed backup.
#[derive(Debug)]
pub struct Transformed {
    /// The result. The counts in its header are those of its records.
    pub backup: Backup,
    /// What differs from the backup that was read, in its order.
    pub changes: Vec<Change>,
    /// Whether the encrypted key files were left out.
    pub keys_left_out: bool,
    /// Sentences for the operator.
    pub notes: Vec<String>,
}

impl Transform {
    /// Transforms a backup.
    ///
    /// # Errors
    /// [`TransformError`]: names would be merged, or records are not known.
    pub fn apply(&self, mut backup: Backup) -> Result<Transformed, TransformError> {
        let had_keys = backup.keys.is_some();
        let selection = selection::select(&backup.records, had_keys, &self.only, &self.exclude)?;
        let mut mapper = Mapper::new(&self.addresses, &self.clusters, &self.users);
        let (mut kept, mut changes, mut left_out) = (Vec::new(), Vec::new(), Counts::new());
        // The keys in the result, each with the key in the backup.
        let mut keys = BTreeMap::new();
        for (record, is_kept) in backup.records.drain(..).zip(selection.records) {
            if !is_kept {
                *left_out.entry(record.kind.clone()).or_default() += 1;
                changes.push(removed(record));
                continue;
            }
            let (record, change) = self.mapped(record, &mut mapper)?;
            let old_key = change.as_ref().map_or(&record.key, |change| &change.key).clone();
            if let Some(first) = keys.insert(record.key.clone(), old_key.clone()) {
                let (second, key) = (old_key, record.key);
                return Err(TransformError::KeysMerged { first, second, key });
            }
            changes.extend(change);
            kept.push(record);
        }
        backup.records = kept;
        let keys_left_out = had_keys && !selection.keys;
        if keys_left_out {
            backup.keys = None;
            backup.header.not_included.push(
                "the keys of the server, its users file and its configuration: `commissaire transform` left them out; \
                 the backup before holds them (--with-key)"
                    .to_owned(),
            );
        }
        if !left_out.is_empty() {
            let counts: Vec<_> = left_out.iter().map(|(kind, n)| format!("{n} {kind}")).collect();
            backup.header.not_included.push(format!(
                "records that `commissaire transform` left out: {}",
                abridged(&counts, ", ")
            ));
        }
        backup.count();
        Ok(Transformed { backup, changes, keys_left_out, notes: mapper.into_notes() })
    }

    /// The record with its names mapped, and what differs.
    fn mapped(
        &self,
        record: Record,
        mapper: &mut Mapper<'_>,
    ) -> Result<(Record, Option<Change>), TransformError> {
        if self.addresses.is_empty() && self.clusters.is_empty() && self.users.is_empty() {
            return Ok((record, None));
        }
        let (kind, id) = identified(&record)?;
        let new_id = mapper.map(kind.id_content(), id, &record.key)?;
        let new_key = new_id.map(|id| kind.key(&id)).filter(|key| *key != record.key);
        let rewritten = if kind.is_sealed {
            None
        } else {
            match rewrite::rewrite(kind, &record.key, &record.value, mapper) {
                Ok(rewritten) => rewritten,
                Err(Problem::Damaged) => {
                    mapper.note(format!(
                        "{}: this record is damaged, and stays as it is; `restore --skip-damaged` leaves it out",
                        record.key
                    ));
                    None
                }
                Err(Problem::Other(error)) => return Err(error),
            }
        };
        if new_key.is_none() && rewritten.is_none() {
            return Ok((record, None));
        }
        Ok(changed(record, kind, new_key, rewritten))
    }
}

/// The changed record, and its change.
fn changed(
    record: Record,
    kind: &RecordType,
    new_key: Option<String>,
    rewritten: Option<Rewritten>,
) -> (Record, Option<Change>) {
    let Record { kind: type_name, key, sealed_for, value } = record;
    let (value, fields) = rewritten.map_or((value, Vec::new()), |new| (new.text, new.changes));
    let change = if new_key.is_some() { ChangeKind::Moved } else { ChangeKind::Changed };
    let result_key = new_key.unwrap_or_else(|| key.clone());
    let sealed_for = if kind.is_sealed {
        // The envelope opens only under the key that it was made for.
        Some(sealed_for.unwrap_or_else(|| key.clone())).filter(|original| *original != result_key)
    } else {
        sealed_for
    };
    let change = Change {
        change,
        kind: type_name.clone(),
        key,
        new_key: Some(result_key.clone()),
        fields,
        sealed: kind.is_sealed,
    };
    (Record { kind: type_name, key: result_key, sealed_for, value }, Some(change))
}

fn removed(record: Record) -> Change {
    let Record { kind, key, .. } = record;
    let sealed = false;
    Change { change: ChangeKind::Removed, kind, key, new_key: None, fields: Vec::new(), sealed }
}

/// The type of a record, and what identifies it.
fn identified(record: &Record) -> Result<(&'static RecordType, &str), TransformError> {
    let Record { kind, key, .. } = record;
    let known = RecordType::named(kind);
    let known = known
        .ok_or_else(|| TransformError::UnknownType { key: key.clone(), kind: kind.clone() })?;
    let id = known.id_in(key);
    id.map(|id| (known, id))
        .ok_or_else(|| TransformError::WrongKey { key: key.clone(), kind: known.name })
}

/// The names of the record types that the table has.
pub fn known_types() -> impl Iterator<Item = &'static str> {
    RecordType::all().map(|kind| kind.name)
}

/// The paths of texts in a record of this type that the table does not have: a name in them would not be mapped. `None` if
/// it does not have the type, or the record is no JSON object.
pub fn unclassified(type_name: &str, record: &RawValue) -> Option<Vec<String>> {
    rewrite::unknown_fields(RecordType::named(type_name)?, record).ok()
}
