//! Whether this replica reaches its store, and so whether it is fit to take requests.
//!
//! A replica whose store does not answer would still take its share of the requests and fail each of them, beside
//! healthy ones. It leaves the request queue instead, goes on probing the store, and consumes again when
//! that answers. A leader election of etcd, or a restart on the same machine, takes a second or two, in
//! which requests are retried: that is no reason to leave. With several stores configured it stays as long
//! as one of them answers. What the probes find is an [`Outage`](runtime::Outage) of the store in the log.

use std::sync::Arc;
use std::time::Duration;

use runtime::Lifecycle;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::handlers::Handlers;

/// Between two probes.
const INTERVAL: Duration = Duration::from_secs(1);

/// Between two probes while the replica takes no requests.
const RETRY: Duration = Duration::from_millis(500);

/// Timeout of one probe.
const PROBE: Duration = Duration::from_secs(2);

/// How long the store has to be silent before the replica leaves: longer than a leader election.
const LEAVE_AFTER: Duration = Duration::from_secs(5);

/// How many probes in a row have to succeed before it is back, so that a flapping store does not move it in and
/// out of the queue.
const BACK_AFTER: u32 = 3;

/// Whether the replica is fit, by the outcomes of probes.
#[derive(Debug)]
struct Availability {
    is_fit: bool,
    /// When the store last answered.
    answered: Instant,
    /// Consecutive probes that succeeded.
    successes: u32,
}

impl Availability {
    fn new(is_fit: bool, now: Instant) -> Self {
        Self { is_fit, answered: now, successes: 0 }
    }

    /// Takes the outcome of a probe into account.
    fn probed(&mut self, answers: bool, now: Instant) {
        if answers {
            (self.answered, self.successes) = (now, self.successes.saturating_add(1));
            self.is_fit |= self.successes >= BACK_AFTER;
        } else {
            self.successes = 0;
            self.is_fit &= now.duration_since(self.answered) < LEAVE_AFTER;
        }
    }
}

/// Probes the stores until the stop; `fitness` is what the replica's consumer follows, and says at first whether
/// the store has answered at the start.
pub(crate) async fn keep(handlers: Arc<Handlers>, fitness: watch::Sender<bool>, life: Lifecycle) {
    let stopping = life.stopping();
    tokio::pin!(stopping);
    let mut availability = Availability::new(*fitness.borrow(), Instant::now());
    loop {
        let pause = if availability.is_fit { INTERVAL } else { RETRY };
        tokio::select! {
            () = &mut stopping => return,
            () = tokio::time::sleep(pause) => {}
        }
        let answers = handlers.answers(PROBE).await;
        let was_fit = availability.is_fit;
        availability.probed(answers, Instant::now());
        match (was_fit, availability.is_fit) {
            (true, false) => {
                let silent = LEAVE_AFTER.as_secs();
                tracing::debug!(
                    "the store has not answered for {silent} s: this replica takes no requests until it does"
                );
            }
            (false, true) => tracing::debug!("the store answers: this replica takes requests"),
            _ => continue,
        }
        fitness.send_replace(availability.is_fit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Outcomes of probes, a second apart, and whether the replica is fit after each.
    fn fit_after(is_fit: bool, probes: &str) -> String {
        let start = Instant::now();
        let mut availability = Availability::new(is_fit, start);
        let after = |(second, probe): (u64, char)| {
            availability.probed(probe == 'y', start + Duration::from_secs(second + 1));
            if availability.is_fit { 'y' } else { 'n' }
        };
        (0..).zip(probes.chars()).map(after).collect()
    }

    #[tokio::test]
    async fn it_leaves_after_five_seconds_of_silence_and_is_back_after_three_answers() {
        for (is_fit, probes, after) in [
            (true, "yyyy", "yyyy"),
            (true, "ynnnny", "yyyyyy"),
            (true, "ynnnnnn", "yyyyynn"),
            (true, "nnnnnyynyyy", "yyyynnnnnny"),
            (false, "nnyy", "nnnn"),
            (false, "yyy", "nny"),
        ] {
            assert_eq!(fit_after(is_fit, probes), after, "{is_fit} {probes}");
        }
    }
}
