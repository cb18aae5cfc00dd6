//! Records that were read lately: a read of one takes a query and two locks of the file otherwise, which is longer than
//! the rest of the storage service needs for it.
//!
//! Only this process writes to the database. A record that is being written is not in here from before it is
//! written until after.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Commit, Entry};

/// The most records that are kept.
const RECORDS: usize = 1024;

/// The largest record that is kept, in bytes.
const SIZE: usize = 4096;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// `None` for a record that does not exist.
    records: HashMap<String, Option<Entry>>,
    /// Whether commits are being written.
    writing: bool,
    /// The number of times that commits were written.
    writes: u64,
}

/// When a read from the database began, if what it finds may be kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment(Option<u64>);

impl Recent {
    // It is held for a few map operations.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The records of all keys.
    ///
    /// # Errors
    /// Some are not kept: the moment at which to read them from the database.
    pub(super) fn get(&self, keys: &[String]) -> Result<Vec<Option<Entry>>, Moment> {
        let state = self.state();
        let kept: Option<_> = keys.iter().map(|key| state.records.get(key).cloned()).collect();
        kept.ok_or(Moment((!state.writing).then_some(state.writes)))
    }

    /// Keeps what was read from the database, unless a write has begun since.
    pub(super) fn keep(&self, moment: Moment, keys: &[String], found: &[Option<Entry>]) {
        let mut state = self.state();
        if state.writing || moment.0 != Some(state.writes) {
            return;
        }
        if state.records.len() + keys.len() > RECORDS {
            state.records.clear();
        }
        let is_small =
            |entry: &Option<Entry>| entry.as_ref().is_none_or(|entry| entry.value.len() <= SIZE);
        for (key, entry) in keys.iter().zip(found).filter(|(_, entry)| is_small(entry)) {
            state.records.insert(key.clone(), entry.clone());
        }
    }

    /// Carries out a write of these commits.
    pub(super) fn during<T>(&self, commits: &[Commit], write: impl FnOnce() -> T) -> T {
        let mut state = self.state();
        state.writing = true;
        for Commit { puts, deletes, .. } in commits {
            for key in puts.iter().map(|(key, _)| key).chain(deletes) {
                state.records.remove(key);
            }
        }
        drop(state);
        let written = write();
        let mut state = self.state();
        (state.writing, state.writes) = (false, state.writes + 1);
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    fn entry(key: &str, value: &str) -> Entry {
        Entry { key: key.to_owned(), value: value.to_owned(), revision: 1 }
    }

    fn put(key: &str) -> [Commit; 1] {
        [Commit { puts: vec![(key.to_owned(), String::new())], ..Commit::default() }]
    }

    #[test]
    fn what_was_read_is_kept_until_it_is_written() {
        let recent = Recent::default();
        let (both, found) = (keys(&["a", "b"]), vec![Some(entry("a", "1")), None]);
        let moment = recent.get(&both).unwrap_err();
        recent.keep(moment, &both, &found);
        assert_eq!(recent.get(&both).unwrap(), found);
        recent.get(&keys(&["a", "c"])).unwrap_err();
        recent.during(&put("b"), || {
            let moment = recent.get(&both).unwrap_err();
            assert_eq!(recent.get(&keys(&["a"])).unwrap(), found[..1], "it is not written");
            recent.keep(moment, &both, &found);
        });
        recent.get(&both).unwrap_err();
    }

    #[test]
    fn what_was_read_before_a_write_is_not_kept() {
        let recent = Recent::default();
        let key = keys(&["a"]);
        let before = recent.get(&key).unwrap_err();
        recent.during(&put("a"), || recent.keep(before, &key, &[None]));
        recent.keep(before, &key, &[None]);
        let moment = recent.get(&key).unwrap_err();
        recent.keep(moment, &key, &[None]);
        assert_eq!(recent.get(&key).unwrap(), [None]);
    }

    #[test]
    fn records_and_their_size_are_bounded() {
        let recent = Recent::default();
        for number in 0..=RECORDS {
            let key = [number.to_string()];
            let moment = recent.get(&key).unwrap_err();
            recent.keep(moment, &key, &[None]);
        }
        assert!(recent.state().records.len() <= RECORDS);
        let key = keys(&["large"]);
        let moment = recent.get(&key).unwrap_err();
        recent.keep(moment, &key, &[Some(entry("large", &"x".repeat(SIZE + 1)))]);
        recent.get(&key).unwrap_err();
    }
}
