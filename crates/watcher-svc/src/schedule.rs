//! Whose a host is, and when it is due. Pure, and the same in every watcher.
//!
//! A host has a place in the interval, by its address, and is due whenever its place comes round. So
//! checks are spread evenly, and stay so however often watchers come and go.

use std::time::Duration;

use model::LeaseName;
use sha2::{Digest as _, Sha256};

use crate::config::Config;

/// A moment on a time line, in microseconds since the epoch, or a span of time.
pub type Micros = i64;

/// The watcher that a host belongs to: every watcher that sees the same members says the same, and when
/// one goes only its own hosts move (rendezvous hashing). `None` without members.
pub fn owner<'a>(members: &'a [LeaseName], address: &str) -> Option<&'a LeaseName> {
    let weighed = members.iter().map(|member| {
        let weight = hash(&[member.as_bytes(), address.as_bytes()]);
        (weight, member)
    });
    weighed.max().map(|(_, member)| member)
}

/// A host's place among all others, evenly distributed over all numbers.
pub fn place(address: &str) -> u64 {
    hash(&[address.as_bytes()])
}

fn hash(parts: &[&[u8]]) -> u64 {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
        hasher.update([0]);
    }
    let digest = hasher.finalize();
    digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// `span` times `fraction` / 2⁶⁴.
fn share(span: Micros, fraction: u64) -> Micros {
    let share = (i128::from(span) * i128::from(fraction)) >> 64;
    // No more than the span itself.
    Micros::try_from(share).unwrap_or(span)
}

/// How many times longer the interval is after a restore.
pub const SLOWED: u32 = 10;

/// The spans of time that make the schedule.
#[derive(Debug, Clone)]
pub struct Rhythm {
    interval: Micros,
    pauses: Vec<Micros>,
}

impl Rhythm {
    /// As the configuration has it.
    pub fn new(config: &Config) -> Self {
        let pauses = config.retry_pauses.iter().map(|pause| micros(pause.0)).collect();
        Self { interval: micros(config.interval.0), pauses }
    }

    /// The same with a longer interval, while the hosts of a restored installation may belong to its former self.
    #[must_use]
    pub fn slowed(&self) -> Self {
        Self { interval: self.interval.saturating_mul(SLOWED.into()), pauses: self.pauses.clone() }
    }

    /// When a host is due that was last checked at `last`. The watcher has had it since `since`: what
    /// was missed before is made up for within half an interval from then, again spread evenly: at its place
    /// or half an interval from that. So it is not checked again too soon where a watcher checked it at its
    /// place and was killed before its report, nor at its place just after it was made up for.
    pub fn regular(&self, place: u64, last: Option<Micros>, since: Micros, now: Micros) -> Micros {
        // Not the place that it was checked for, should two clocks differ; and no later than that, or a
        // host that was lost just after its investigation would be taken for well for too long.
        self.next(place, last, self.interval / 20, since, now)
    }

    /// The same for a host that cannot be reached: its very next place, also when a retry was shortly
    /// before, so that it is itself again within an interval.
    pub fn unreachable(&self, place: u64, last: Micros, since: Micros, now: Micros) -> Micros {
        self.next(place, Some(last), 1, since, now)
    }

    fn next(
        &self,
        place: u64,
        last: Option<Micros>,
        pause: Micros,
        since: Micros,
        now: Micros,
    ) -> Micros {
        let offset = share(self.interval, place);
        // A time far in the future is a clock's mistake.
        let last = last.filter(|last| *last <= self.horizon(now));
        let round = last.map(|last| {
            let earliest = last + pause;
            earliest + (offset - earliest).rem_euclid(self.interval)
        });
        round.filter(|due| *due >= since).unwrap_or_else(|| {
            let until_its_place = (offset - since).rem_euclid(self.interval);
            let half = self.interval / 2;
            since + if until_its_place < half { until_its_place } else { until_its_place - half }
        })
    }

    /// When a host is due that has failed `count` times in a row, the last time at `last`: after its
    /// pause, which is a quarter longer or shorter by chance.
    pub fn retry(&self, place: u64, last: Micros, count: u32) -> Option<Micros> {
        let index = usize::try_from(count.saturating_sub(1)).unwrap_or(usize::MAX);
        let pause = *self.pauses.get(index).or(self.pauses.last())?;
        let chance = hash(&[&place.to_be_bytes(), &last.to_be_bytes()]);
        Some(last + pause * 3 / 4 + share(pause / 2, chance))
    }

    /// When a host is asked again that has turned us away `count` times in a row, at `now` the last time:
    /// twice as late each time, up to eight intervals, and a quarter later or sooner by chance.
    pub fn back_off(&self, place: u64, now: Micros, count: u32) -> Micros {
        let pause = self.interval.saturating_mul(1 << count.saturating_sub(1).min(3));
        let chance = hash(&[&place.to_be_bytes(), &now.to_be_bytes()]);
        now.saturating_add(pause / 4 * 3).saturating_add(share(pause / 2, chance))
    }

    /// The latest time that the clock of another machine may reasonably show.
    pub fn horizon(&self, now: Micros) -> Micros {
        now.saturating_add(self.interval)
    }

    /// How old a check may be that says how the fleet is while a host is about to fail: it must be
    /// possible to get one from every host that is asked before the last retry.
    pub fn fresh(&self) -> Micros {
        self.pauses.last().map_or(self.interval / 8, |pause| pause / 2)
    }
}

/// A span of time; what is too long for it lasts for ever anyway.
pub fn micros(span: Duration) -> Micros {
    Micros::try_from(span.as_micros()).unwrap_or(Micros::MAX / 4)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Micros = 1_000_000;
    const INTERVAL: Micros = 60 * SECOND;
    /// Some time in 2026.
    const NOW: Micros = 1_790_000_000 * SECOND;

    fn rhythm() -> Rhythm {
        Rhythm::new(&Config::default())
    }

    fn names(count: usize) -> Vec<LeaseName> {
        (0..count).map(|number| format!("watcher.{number}").into()).collect()
    }

    #[test]
    fn hosts_are_divided_evenly() {
        let members = names(4);
        let mut counts = [0; 4];
        for host in 0..4000 {
            let owner = owner(&members, &format!("10.0.{}.{}", host / 250, host % 250)).unwrap();
            counts[members.iter().position(|member| member == owner).unwrap()] += 1;
        }
        assert!(counts.iter().all(|count| (900..1100).contains(count)), "{counts:?}");
    }

    #[test]
    fn places_are_spread_evenly() {
        let mut tenths = [0; 10];
        for host in 0..5000 {
            let place = place(&format!("host{host}.example.com"));
            tenths[usize::try_from(share(10, place)).unwrap()] += 1;
        }
        assert!(tenths.iter().all(|count| (420..580).contains(count)), "{tenths:?}");
    }

    #[test]
    fn pauses_grow_and_are_jittered() {
        let rhythm = rhythm();
        let pause = |count, last| rhythm.retry(7, last, count).unwrap() - last;
        for (count, seconds) in [(1, 5), (2, 15), (3, 15), (u32::MAX, 15)] {
            let pauses: Vec<_> = (0..100).map(|n| pause(count, NOW + n)).collect();
            let (least, most) = (seconds * SECOND * 3 / 4, seconds * SECOND * 5 / 4);
            assert!(pauses.iter().all(|pause| (least..=most).contains(pause)), "{pauses:?}");
            assert!(pauses.iter().any(|pause| *pause != pauses[0]));
        }
        let none = Config { retry_pauses: Vec::new(), ..Config::default() };
        assert_eq!(Rhythm::new(&none).retry(7, NOW, 1), None);
    }

    proptest! {
        #[test]
        fn every_host_has_one_owner_and_a_member_that_goes_takes_only_its_own(
            count in 1_usize..8, gone in 0_usize..8, address in "[a-z0-9.]{1,20}"
        ) {
            let members = names(count);
            let before = owner(&members, &address).unwrap();
            let mut reversed = members.clone();
            reversed.reverse();
            prop_assert_eq!(owner(&reversed, &address).unwrap(), before, "in any order");
            let mut fewer = members.clone();
            let gone = fewer.remove(gone % count);
            match owner(&fewer, &address) {
                None => prop_assert_eq!(count, 1),
                Some(after) => {
                    prop_assert_ne!(after, &gone);
                    prop_assert!(*before == gone || before == after);
                }
            }
        }

        /// Checked whenever it is due, a host is checked once an interval, at its place.
        #[test]
        fn a_host_keeps_its_place(place: u64, age in 0..INTERVAL, took in 0..INTERVAL / 3) {
            let rhythm = rhythm();
            let mut last = NOW - age;
            let first = rhythm.regular(place, Some(last), NOW - age, NOW);
            prop_assert!(first - last >= INTERVAL / 20 && first - last < INTERVAL * 21 / 20);
            for round in 0..5 {
                let due = rhythm.regular(place, Some(last), NOW - age, last);
                prop_assert_eq!(due, first + round * INTERVAL);
                last = due + took;
            }
        }

        /// Whenever it is back, it is checked within an interval.
        #[test]
        fn a_host_that_was_lost_is_found_soon(place: u64, last in NOW - INTERVAL..NOW) {
            let due = rhythm().unreachable(place, last, last, NOW);
            prop_assert!(due > last && due <= last + INTERVAL);
            prop_assert_eq!(due, rhythm().unreachable(place, due - 1, last, NOW), "at its place");
        }

        /// Whatever was missed is made up for within half an interval.
        #[test]
        fn nobody_is_lost(place: u64, last in proptest::option::of(NOW / 2..NOW * 2)) {
            let due = rhythm().regular(place, last, NOW, NOW);
            prop_assert!((NOW..=NOW + INTERVAL * 5 / 2).contains(&due));
            if last.is_none_or(|last| last < NOW - INTERVAL * 3 / 2) {
                prop_assert!(due <= NOW + INTERVAL / 2);
            }
        }
    }

    proptest! {
        /// A watcher that was killed may have checked the host at its place, and not have reported that.
        #[test]
        fn a_check_that_may_have_been_made_is_not_made_again_within_half_an_interval(
            place: u64, age in 0..INTERVAL * 3, away in 0..INTERVAL * 3
        ) {
            let (rhythm, last) = (rhythm(), NOW - age);
            let (at_its_place, since) = (rhythm.regular(place, Some(last), last, last), last + away);
            let taken_over = rhythm.regular(place, Some(last), since, since);
            prop_assert!(taken_over == at_its_place || taken_over >= at_its_place + INTERVAL / 2);
            prop_assert!(taken_over <= (since + INTERVAL / 2).max(at_its_place));
            let next = rhythm.regular(place, Some(taken_over), since, taken_over);
            prop_assert!(next >= taken_over + INTERVAL / 2);
        }
    }

    #[test]
    fn a_restart_does_not_check_all_at_once() {
        let rhythm = rhythm();
        let old = NOW - 100 * INTERVAL;
        let due = |host| rhythm.regular(place(&format!("h{host}")), Some(old), NOW, NOW) - NOW;
        let soon = (0..1000).filter(|host| due(*host) < 3 * SECOND).count();
        assert!((50..150).contains(&soon), "a tenth in a tenth of half an interval: {soon}");
    }
}
