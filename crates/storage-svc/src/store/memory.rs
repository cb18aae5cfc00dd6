//! A store in the memory of this process, for tests: it never blocks, so that paused time stands still while it works.
//!
//! No configuration leads to it. Clones share the records, which end with the last clone.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Commit, CommitError, Committed, Entry};

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct Memory(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// The latest revision.
    revision: u64,
    /// By their keys.
    entries: BTreeMap<String, Entry>,
    observer: Option<Observer>,
}

/// Is called with each commit that was accepted, and with its revision.
#[derive(Clone)]
struct Observer(Arc<Observing>);

type Observing = dyn Fn(u64, &Commit) + Send + Sync;

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}

impl Memory {
    // A std mutex: it is held for a few map operations and never across an await.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `observer` after each commit, with its revision. It must not use the store.
    pub fn observe(&self, observer: impl Fn(u64, &Commit) + Send + Sync + 'static) {
        self.state().observer = Some(Observer(Arc::new(observer)));
    }

    /// A store of its own with the same records, as a backup has them at this moment.
    #[must_use]
    pub fn copied(&self) -> Self {
        let State { revision, entries, .. } = &*self.state();
        let copy = State { revision: *revision, entries: entries.clone(), observer: None };
        Self(Arc::new(Mutex::new(copy)))
    }

    pub(super) fn get(&self, keys: &[String]) -> Vec<Option<Entry>> {
        let state = self.state();
        keys.iter().map(|key| state.entries.get(key).cloned()).collect()
    }

    pub(super) fn list(&self, prefix: &str) -> Vec<Entry> {
        let state = self.state();
        let from = state.entries.range(prefix.to_owned()..);
        let found = from.take_while(|(key, _)| key.starts_with(prefix));
        found.map(|(_, entry)| entry.clone()).collect()
    }

    /// All entries, sorted by key, and the revision of the last change.
    pub(super) fn all(&self) -> (Vec<Entry>, u64) {
        let state = self.state();
        (state.entries.values().cloned().collect(), state.revision)
    }

    pub(super) fn commit(&self, commit: Commit) -> Result<Committed, CommitError> {
        let mut state = self.state();
        let holds = |(key, expected): &(String, Option<u64>)| {
            state.entries.get(key).map(|entry| entry.revision) == *expected
        };
        if let Some(stale) = commit.checks.iter().position(|check| !holds(check)) {
            return Err(CommitError::Stale(stale));
        }
        state.revision += 1;
        let revision = state.revision;
        if let Some(Observer(observer)) = state.observer.clone() {
            observer(revision, &commit);
        }
        let (mut replaced, mut unchanged) = (Vec::new(), Vec::new());
        for (key, value) in commit.puts {
            let entry = Entry { key: key.clone(), value, revision };
            let before = state.entries.get(&key);
            replaced.push(before.is_some());
            unchanged.push(before.is_some_and(|before| before.value == entry.value));
            state.entries.insert(key, entry);
        }
        let keys = commit.deletes.iter();
        let deleted = keys.map(|key| state.entries.remove(key).is_some()).collect();
        Ok(Committed { revision, replaced, unchanged, deleted })
    }
}
