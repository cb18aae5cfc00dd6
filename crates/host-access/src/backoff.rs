//! How long to wait before a host that turns connections away is asked again.

use std::time::Duration;

use service_core::random;

/// The first pause is at most this long.
const FIRST: Duration = Duration::from_secs(2);

/// No pause is longer.
const LONGEST: Duration = Duration::from_mins(1);

/// Pauses that double, up to a limit, each shortened by chance by up to its half: those who were turned
/// away together do not come back together.
#[derive(Debug, Default)]
pub struct Backoff {
    taken: u32,
}

impl Backoff {
    /// The next pause.
    pub fn next_pause(&mut self) -> Duration {
        let longest = FIRST.saturating_mul(1 << self.taken.min(16)).min(LONGEST);
        self.taken += 1;
        random::jitter(longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_limit() {
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..50).map(|_| backoff.next_pause()).collect();
        assert!(pauses[0] >= FIRST / 2 && pauses[0] < FIRST);
        assert!(pauses[2] >= FIRST * 2 && pauses[2] < FIRST * 4);
        assert!(pauses[10..].iter().all(|pause| *pause >= LONGEST / 2 && *pause < LONGEST));
    }
}
