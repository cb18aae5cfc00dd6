//! What a request changes: everything that goes into one commit.

use serde_json::Value;
use service_core::{Error, Result};

use crate::handlers::Part;
use crate::kinds::Kind;
use crate::split::{Beside, belongings, split};

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
    pub(super) key: String,
    pub(super) record: Value,
    /// What is sealed apart of it.
    pub(super) beside: Beside,
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
    /// Checks a record, and takes out of it what is sealed apart.
    ///
    /// # Errors
    /// When it is not valid.
    pub(super) fn new(kind: &'static Kind, record: Value) -> Result<Self> {
        let wrong = |why| Error::invalid(format!("not a valid {}: {why}", kind.type_name));
        let (record, beside) = split(kind, record)?;
        let (key, record) = kind.check(record).map_err(wrong)?;
        Ok(Self { kind, key, record, beside })
    }
}

impl Change {
    /// Checks every record before the first is written.
    ///
    /// # Errors
    /// When one is not valid.
    pub(super) fn saving(
        records: impl IntoIterator<Item = (&'static Kind, Value)>,
    ) -> Result<Self> {
        let saves = records.into_iter().map(|(kind, record)| Prepared::new(kind, record));
        Ok(Self { saves: saves.collect::<Result<_>>()?, ..Self::default() })
    }

    /// What is written: the records themselves first, in their order.
    pub(super) fn puts(&self) -> impl Iterator<Item = (&'static Kind, &str, &Value)> {
        let own = self.saves.iter().map(|save| (save.kind, save.key.as_str(), &save.record));
        own.chain(self.saves.iter().filter_map(|save| match &save.beside {
            Beside::Put(kind, key, record) => Some((*kind, key.as_str(), record)),
            Beside::Nothing | Beside::Delete(..) => None,
        }))
    }

    /// What is removed: the records themselves first, in their order.
    pub(super) fn removals(&self) -> Vec<(&'static Kind, String)> {
        let mut all: Vec<_> = self.deletes.iter().map(|d| (d.kind, d.key.clone())).collect();
        all.extend(self.deletes.iter().flat_map(|d| belongings(d.kind, &d.id)));
        all.extend(self.saves.iter().filter_map(|save| match &save.beside {
            Beside::Delete(kind, key) => Some((*kind, key.clone())),
            Beside::Nothing | Beside::Put(..) => None,
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
