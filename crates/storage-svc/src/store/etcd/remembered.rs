//! Long lists, remembered, so that etcd need send only what has changed since.
//!
//! Nothing is taken on trust: every list asks etcd, which tells what has a newer revision and how many keys
//! there are. A key that is gone makes that count differ from what is remembered; then all is read anew. So
//! it is every [`MAX_AGE`], since an etcd that was restored from a backup may use the same revisions again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::store::Entry;

/// Shorter lists are read as fast as compared.
const MIN_ENTRIES: usize = 500;

/// Bytes of keys and values; longer lists are not kept.
const MAX_BYTES: usize = 16 << 20;

/// How long changes are added to a list before it is read anew.
const MAX_AGE: Duration = Duration::from_secs(10);

/// What identifies a moment in the life of an etcd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    /// The cluster's identity.
    pub(super) cluster: u64,
    /// Its revision.
    pub(super) revision: i64,
}

/// All entries below a prefix at a moment, sorted by key.
#[derive(Debug, Clone)]
pub(super) struct List {
    pub(super) entries: Arc<Vec<Entry>>,
    pub(super) moment: Moment,
    read_at: Instant,
}

impl List {
    /// A list that has just been read.
    pub(super) fn new(entries: Vec<Entry>, moment: Moment) -> Self {
        Self { entries: Arc::new(entries), moment, read_at: Instant::now() }
    }

    /// The list of a later moment: `changed` since, and `count` long. `None` if that does not fit together.
    pub(super) fn updated(
        mut self,
        moment: Moment,
        changed: Vec<Entry>,
        count: usize,
    ) -> Option<Self> {
        if moment.cluster != self.moment.cluster || moment.revision < self.moment.revision {
            return None;
        }
        if !changed.is_empty() {
            let entries = Arc::make_mut(&mut self.entries);
            for entry in changed {
                match entries.binary_search_by(|known| known.key.cmp(&entry.key)) {
                    Ok(index) => entries[index] = entry,
                    Err(index) => entries.insert(index, entry),
                }
            }
        }
        (self.entries.len() == count).then_some(Self { moment, ..self })
    }

    fn is_worth_keeping(&self) -> bool {
        let bytes = |entry: &Entry| entry.key.len() + entry.value.len();
        self.entries.len() >= MIN_ENTRIES
            && self.entries.iter().map(bytes).sum::<usize>() <= MAX_BYTES
    }
}

/// The newest list of each prefix.
#[derive(Debug, Default)]
pub(super) struct Remembered(Mutex<HashMap<String, List>>);

impl Remembered {
    /// What is known, and young enough.
    pub(super) fn get(&self, prefix: &str) -> Option<List> {
        self.lists().get(prefix).filter(|list| list.read_at.elapsed() < MAX_AGE).cloned()
    }

    /// Keeps a list, if it is worth it.
    pub(super) fn keep(&self, prefix: &str, list: &List) {
        if list.is_worth_keeping() {
            self.lists().insert(prefix.to_owned(), list.clone());
        } else {
            self.forget(prefix);
        }
    }

    /// The next list is read anew.
    pub(super) fn forget(&self, prefix: &str) {
        self.lists().remove(prefix);
    }

    fn lists(&self) -> std::sync::MutexGuard<'_, HashMap<String, List>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &str, revision: u64) -> Entry {
        Entry { key: key.to_owned(), value: revision.to_string(), revision }
    }

    fn moment(revision: i64) -> Moment {
        Moment { cluster: 1, revision }
    }

    fn known() -> List {
        List::new(vec![entry("b", 2), entry("d", 3)], moment(5))
    }

    #[test]
    fn changes_and_new_keys_are_put_in_their_places() {
        let changed = vec![entry("a", 6), entry("c", 7), entry("d", 8), entry("e", 9)];
        let list = known().updated(moment(9), changed, 5).unwrap();
        let expected = [("a", 6), ("b", 2), ("c", 7), ("d", 8), ("e", 9)];
        assert_eq!(*list.entries, expected.map(|(key, revision)| entry(key, revision)));
        assert_eq!(list.moment, moment(9));
    }

    #[test]
    fn a_key_that_is_gone_is_noticed_even_if_another_came() {
        assert!(known().updated(moment(6), vec![], 1).is_none());
        assert!(known().updated(moment(7), vec![entry("c", 7)], 2).is_none());
    }

    #[test]
    fn another_etcd_or_an_older_one_is_not_trusted() {
        assert!(known().updated(Moment { cluster: 2, revision: 9 }, vec![], 2).is_none());
        assert!(known().updated(moment(4), vec![], 2).is_none());
        assert!(known().updated(moment(5), vec![], 2).is_some());
    }

    #[test]
    fn short_lists_are_not_kept() {
        let remembered = Remembered::default();
        remembered.keep("/", &known());
        assert!(remembered.get("/").is_none());
    }
}
