//! What a request changes: everything that goes into one commit.

use bus::{Error, Result};
use model::{Cluster, Model as _};
use serde_json::value::RawValue;

use crate::handlers::Part;
use crate::kinds::{Kind, written};
use crate::split::{Beside, Parts, belongings, split};

/// A condition on a record.
pub(super) struct Condition {
    pub(super) kind: &'static Kind,
    pub(super) key: String,
    /// `None` for "absent".
    pub(super) revision: Option<u64>,
}

/// A record on its way into the store, checked.
pub(super) struct Prepared {
    pub(super) kind: &'static Kind,
    pub(super) parts: Parts,
}

/// A record on its way out of the store.
pub(super) struct Deletion {
    pub(super) kind: &'static Kind,
    pub(super) key: String,
    pub(super) id: String,
}

/// See the module.
#[derive(Default)]
pub(super) struct Change {
    pub(super) checks: Vec<Condition>,
    pub(super) saves: Vec<Prepared>,
    pub(super) deletes: Vec<Deletion>,
}

impl Prepared {
    /// The record as it is read from now on.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub(super) fn into_record(self) -> Result<Box<RawValue>> {
        let Parts { record, beside, .. } = self.parts;
        let Beside::Members(_, hostset) = beside else { return Ok(record) };
        let head = serde_json::from_str(record.get()).map_err(|e| e.to_string());
        head.and_then(|head| written(&Cluster::new(head, hostset))).map_err(Error::internal)
    }
}

impl Change {
    /// Checks every record before the first is written.
    ///
    /// # Errors
    /// When one is not valid.
    pub(super) fn saving(
        records: impl IntoIterator<Item = (&'static Kind, Box<RawValue>)>,
    ) -> Result<Self> {
        let prepared = |(kind, text): (&'static Kind, Box<RawValue>)| {
            let wrong = |why| Error::invalid(format!("not a valid {}: {why}", kind.type_name));
            Ok(Prepared { kind, parts: split(kind, text.get()).map_err(wrong)? })
        };
        let saves = records.into_iter().map(prepared);
        Ok(Self { saves: saves.collect::<Result<_>>()?, ..Self::default() })
    }

    /// Whether the documented record of a cluster, which is kept in parts, is among what it names.
    pub(super) fn names_clusters(&self) -> bool {
        let checked = self.checks.iter().map(|check| check.kind);
        let saved = self.saves.iter().map(|save| save.kind);
        let deleted = self.deletes.iter().map(|deletion| deletion.kind);
        checked.chain(saved).chain(deleted).any(is_cluster)
    }

    /// What is written: the records themselves first, in their order.
    pub(super) fn puts(&self) -> impl Iterator<Item = (&'static Kind, &str, &RawValue)> {
        let own = self.saves.iter().map(|save| {
            let Parts { key, record, .. } = &save.parts;
            (save.kind, key.as_str(), &**record)
        });
        own.chain(self.saves.iter().filter_map(|save| match &save.parts.beside {
            Beside::Put(kind, key, record) => Some((*kind, key.as_str(), &**record)),
            Beside::Nothing | Beside::Delete(..) | Beside::Members(..) => None,
        }))
    }

    /// What is removed: the records themselves first, in their order.
    pub(super) fn removals(&self) -> Vec<(&'static Kind, String)> {
        let mut all: Vec<_> = self.deletes.iter().map(|d| (d.kind, d.key.clone())).collect();
        all.extend(self.deletes.iter().flat_map(|d| belongings(d.kind, &d.id)));
        all.extend(self.saves.iter().filter_map(|save| match &save.parts.beside {
            Beside::Delete(kind, key) => Some((*kind, key.clone())),
            Beside::Nothing | Beside::Put(..) | Beside::Members(..) => None,
        }));
        all
    }

    /// Everything that it touches.
    pub(super) fn parts<'a>(&'a self, removals: &'a [(&'static Kind, String)]) -> Vec<Part<'a>> {
        let checks = self.checks.iter().map(|c| Part { kind: c.kind, key: &c.key, record: None });
        let puts = self.puts().map(|(kind, key, record)| Part { kind, key, record: Some(record) });
        let removals = removals.iter().map(|(kind, key)| Part { kind, key, record: None });
        checks.chain(puts).chain(removals).collect()
    }
}

/// Whether that is the documented record of a cluster.
pub(super) fn is_cluster(kind: &Kind) -> bool {
    kind.type_name == Cluster::TYPE
}
