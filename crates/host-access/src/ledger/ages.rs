//! How old refusals are. Pure but for the monotonic clock.
//!
//! Stamps are wall-clock time of some machine. Each is turned into an age once, when this process first
//! sees it, limited to 0 … [`WINDOW`]; from then on it grows by the monotonic clock. So a clock that is set
//! neither makes refusals count for ever nor forgets them.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use model::Stamp;
use tokio::time::Instant;

use super::WINDOW;

/// How long no log-in is possible; `None` when one is. `ages` are those of refusals within [`WINDOW`],
/// and `limit` is at least 1.
pub(super) fn wait(ages: &[Duration], limit: usize) -> Option<Duration> {
    let mut ages = ages.to_vec();
    ages.sort_unstable_by(|one, other| other.cmp(one));
    // One log-in is possible when fewer than `limit` are left: this one is the last that must expire.
    let last = ages.len().checked_sub(limit)?;
    Some(WINDOW.saturating_sub(ages[last]))
}

/// What this process knows of the refusals of all hosts.
#[derive(Debug, Default)]
pub(super) struct Ages(HashMap<String, Vec<Refusal>>);

#[derive(Debug)]
struct Refusal {
    stamp: Stamp,
    /// Its age when it was first seen.
    age: Duration,
    seen: Instant,
    /// Whether the record has it.
    saved: bool,
}

impl Refusal {
    fn age(&self) -> Duration {
        self.age.saturating_add(self.seen.elapsed())
    }

    fn counts(&self) -> bool {
        self.age() < WINDOW
    }
}

impl Ages {
    /// Takes over the stamps of the record at `now`: what is not in it any more does not count, unless
    /// it was never saved.
    pub(super) fn merge(&mut self, address: &str, stored: &[Stamp], now: Timestamp) {
        let known = self.0.entry(address.to_owned()).or_default();
        // Also what is too old stays for as long as it is stored: its stamp may lie in the future.
        known.retain(|refusal| {
            if refusal.saved { stored.contains(&refusal.stamp) } else { refusal.counts() }
        });
        for stamp in stored {
            if !known.iter().any(|refusal| refusal.stamp == *stamp) {
                let age = age_at(stamp, now);
                let (stamp, seen) = (stamp.clone(), Instant::now());
                known.push(Refusal { stamp, age, seen, saved: true });
            }
        }
        if known.is_empty() {
            self.0.remove(address);
        }
    }

    /// Notes a refusal of this moment, which the record does not have yet.
    pub(super) fn note(&mut self, address: &str, stamp: &Stamp) {
        let refusal = Refusal {
            stamp: stamp.clone(),
            age: Duration::ZERO,
            seen: Instant::now(),
            saved: false,
        };
        self.0.entry(address.to_owned()).or_default().push(refusal);
    }

    /// Notes that the record has these; those that are not known yet are of this moment.
    pub(super) fn saved(&mut self, address: &str, stamps: &[Stamp]) {
        for stamp in stamps {
            let known = self.0.get_mut(address).into_iter().flatten();
            if let Some(refusal) = known.into_iter().find(|refusal| refusal.stamp == *stamp) {
                refusal.saved = true;
            } else {
                self.note(address, stamp);
                self.saved(address, std::slice::from_ref(stamp));
            }
        }
    }

    /// Forgets one that was not refused after all.
    pub(super) fn remove(&mut self, address: &str, stamp: &Stamp) {
        if let Some(known) = self.0.get_mut(address) {
            known.retain(|refusal| refusal.stamp != *stamp);
        }
    }

    /// The ages of the refusals that count.
    pub(super) fn known(&self, address: &str) -> Vec<Duration> {
        self.counting(address).map(Refusal::age).collect()
    }

    /// The stamps of the refusals that count, oldest first.
    pub(super) fn stamps(&self, address: &str) -> Vec<Stamp> {
        let mut counting: Vec<_> = self.counting(address).collect();
        counting.sort_by_key(|refusal| std::cmp::Reverse(refusal.age()));
        counting.into_iter().map(|refusal| refusal.stamp.clone()).collect()
    }

    /// Whether there is a refusal that the record does not have yet.
    pub(super) fn has_unsaved(&self, address: &str) -> bool {
        self.counting(address).any(|refusal| !refusal.saved)
    }

    fn counting(&self, address: &str) -> impl Iterator<Item = &Refusal> {
        self.0.get(address).into_iter().flatten().filter(|refusal| refusal.counts())
    }
}

/// The age of a stamp, from 0 for one in the future to [`WINDOW`].
fn age_at(stamp: &Stamp, now: Timestamp) -> Duration {
    let age = stamp.timestamp().map(|then| now.duration_since(then));
    let age = age.and_then(|age| Duration::try_from(age).ok()).unwrap_or_default();
    age.min(WINDOW)
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    const HOST: &str = "10.0.0.1";
    const NONE: [Duration; 0] = [];

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn minutes(counts: &[u64]) -> Vec<Duration> {
        counts.iter().map(|count| Duration::from_mins(*count)).collect()
    }

    #[test]
    fn the_next_log_in_waits_until_fewer_than_the_limit_are_left() {
        for (ages, limit, expected) in [
            (&[][..], 4, None),
            (&[1, 2, 3], 4, None),
            (&[1, 2, 3], 3, Some(7)),
            (&[1, 9, 2, 3], 4, Some(1)),
            (&[1, 9, 2, 3], 3, Some(7)),
            (&[0, 0, 0, 0, 0], 4, Some(10)),
        ] {
            let expected = expected.map(Duration::from_mins);
            assert_eq!(wait(&minutes(ages), limit), expected, "{ages:?} of {limit}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_neither_forgets_refusals_nor_keeps_them() {
        let now = at("2026-11-21T12:00:00Z");
        let stored = [Stamp::of(now)];
        for jump in [SignedDuration::from_hours(6), SignedDuration::from_hours(-5)] {
            let mut ages = Ages::default();
            ages.merge(HOST, &stored, now);
            ages.merge(HOST, &stored, now + jump);
            assert_eq!(ages.known(HOST), [Duration::ZERO], "{jump}");
            tokio::time::advance(WINDOW.checked_sub(Duration::from_secs(1)).unwrap()).await;
            ages.merge(HOST, &stored, now + jump);
            assert_eq!(
                ages.known(HOST),
                [WINDOW.checked_sub(Duration::from_secs(1)).unwrap()],
                "{jump}"
            );
            tokio::time::advance(Duration::from_secs(1)).await;
            ages.merge(HOST, &stored, now + jump);
            assert_eq!(ages.known(HOST), NONE, "{jump}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stamp_of_the_future_counts_as_one_of_now() {
        let mut ages = Ages::default();
        let stored = [Stamp::of(at("2030-01-01T00:00:00Z"))];
        ages.merge(HOST, &stored, at("2026-11-21T12:00:00Z"));
        assert_eq!(ages.known(HOST), [Duration::ZERO]);
        tokio::time::advance(WINDOW).await;
        ages.merge(HOST, &stored, at("2026-11-21T12:10:00Z"));
        assert_eq!(ages.known(HOST), NONE);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_not_saved_counts_all_the_same() {
        let mut ages = Ages::default();
        let now = at("2026-11-21T12:00:00Z");
        ages.note(HOST, &Stamp::of(now));
        ages.merge(HOST, &[], now);
        assert!(ages.has_unsaved(HOST));
        ages.saved(HOST, &[Stamp::of(now)]);
        ages.merge(HOST, &[], now);
        assert_eq!(ages.known(HOST), NONE, "another service removed it from the record");
    }
}
