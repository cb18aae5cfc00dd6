//! A map of limited size whose entries expire.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Values by their keys, each for the same time after it was inserted. When it is full the oldest is dropped.
#[derive(Debug)]
pub struct Expiring<K, V> {
    capacity: usize,
    time_to_live: Duration,
    entries: Mutex<Entries<K, V>>,
}

#[derive(Debug)]
struct Entries<K, V> {
    /// With the times at which they were inserted.
    values: HashMap<K, (Instant, V)>,
    /// The insertions, the oldest first; the values of some are replaced or gone.
    order: VecDeque<(Instant, K)>,
}

impl<K: Clone + Eq + Hash, V: Clone> Expiring<K, V> {
    /// An empty map.
    pub fn new(capacity: usize, time_to_live: Duration) -> Self {
        let entries = Entries { values: HashMap::new(), order: VecDeque::new() };
        Self { capacity, time_to_live, entries: Mutex::new(entries) }
    }

    // A std mutex: it is held for a few map operations and never across an await.
    fn entries(&self) -> MutexGuard<'_, Entries<K, V>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value of `key`, unless it has expired.
    pub fn get(&self, key: &K) -> Option<V> {
        self.entries().get(key, self.time_to_live)
    }

    /// Inserts a value.
    pub fn insert(&self, key: K, value: V) {
        self.entries().insert(key, value, self.capacity, self.time_to_live);
    }

    /// The value of `key`; where there is none, `make` makes it, and it is inserted.
    pub fn get_or_insert_with(&self, key: K, make: impl FnOnce() -> V) -> V {
        let mut entries = self.entries();
        if let Some(value) = entries.get(&key, self.time_to_live) {
            return value;
        }
        let value = make();
        entries.insert(key, value.clone(), self.capacity, self.time_to_live);
        value
    }

    /// Drops the values that have expired: else each stays until another one is inserted.
    pub fn drop_expired(&self) {
        let now = Instant::now();
        self.entries().drop_expired(now, self.time_to_live);
    }

    /// Forgets the value of `key` if that `is_unwanted`.
    pub fn remove_if(&self, key: &K, is_unwanted: impl FnOnce(&V) -> bool) {
        let mut entries = self.entries();
        if entries.values.get(key).is_some_and(|(_, value)| is_unwanted(value)) {
            entries.values.remove(key);
        }
    }
}

impl<K: Clone + Eq + Hash, V: Clone> Entries<K, V> {
    fn get(&self, key: &K, time_to_live: Duration) -> Option<V> {
        let (inserted, value) = self.values.get(key)?;
        (inserted.elapsed() < time_to_live).then(|| value.clone())
    }

    fn insert(&mut self, key: K, value: V, capacity: usize, time_to_live: Duration) {
        let now = Instant::now();
        self.drop_expired(now, time_to_live);
        while self.order.len() >= capacity {
            self.drop_oldest();
        }
        self.order.push_back((now, key.clone()));
        self.values.insert(key, (now, value));
    }

    fn drop_expired(&mut self, now: Instant, time_to_live: Duration) {
        let is_over = |inserted: Instant| now.duration_since(inserted) >= time_to_live;
        while self.order.front().is_some_and(|(inserted, _)| is_over(*inserted)) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let Some((inserted, key)) = self.order.pop_front() else { return };
        // It may have been inserted again since.
        if self.values.get(&key).is_some_and(|(at, _)| *at == inserted) {
            self.values.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_value_expires_its_time_after_it_was_inserted() {
        let values = Expiring::new(10, 2 * SECOND);
        values.insert("a", 1);
        advance(SECOND).await;
        values.insert("b", 2);
        assert_eq!(
            (values.get(&"a"), values.get(&"b"), values.get(&"c")),
            (Some(1), Some(2), None)
        );
        advance(SECOND).await;
        assert_eq!((values.get(&"a"), values.get(&"b")), (None, Some(2)));
        assert_eq!(values.get_or_insert_with("a", || 3), 3);
        assert_eq!(values.get_or_insert_with("a", || 4), 3, "it is remembered");
        advance(SECOND).await;
        assert_eq!((values.get(&"a"), values.get(&"b")), (Some(3), None));
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_is_dropped_when_it_is_full() {
        let values = Expiring::new(3, 2 * SECOND);
        for number in 0..1000 {
            values.insert(number, number);
            advance(SECOND / 100).await;
        }
        let entries = values.entries();
        assert_eq!((entries.values.len(), entries.order.len()), (3, 3));
        assert!((997..1000).all(|number| entries.values.contains_key(&number)));
    }

    #[tokio::test(start_paused = true)]
    async fn expired_values_are_dropped_without_another_one() {
        let (values, held) = (Expiring::new(10, 2 * SECOND), std::sync::Arc::new(()));
        values.insert("a", held.clone());
        advance(SECOND).await;
        values.drop_expired();
        assert_eq!(std::sync::Arc::strong_count(&held), 2);
        advance(SECOND).await;
        values.drop_expired();
        assert_eq!(std::sync::Arc::strong_count(&held), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_value_that_was_inserted_again_lasts_from_then_on() {
        let values = Expiring::new(10, 2 * SECOND);
        values.insert("a", 1);
        advance(SECOND).await;
        values.insert("a", 2);
        advance(SECOND).await;
        values.insert("b", 3);
        assert_eq!(values.get(&"a"), Some(2));
        values.remove_if(&"a", |value| *value == 1);
        assert_eq!(values.get(&"a"), Some(2));
        values.remove_if(&"a", |value| *value == 2);
        assert_eq!(values.get(&"a"), None);
    }
}
