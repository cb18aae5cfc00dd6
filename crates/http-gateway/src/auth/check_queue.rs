//! A bounded queue of password checks with a limited concurrency, served round-robin over sources.
//!
//! A source that sends a thousand guesses delays its own requests; a request from another source is checked next.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use runtime::Lifecycle;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// The most checks that wait.
const CAPACITY: usize = 1024;

/// The most checks of one source that wait.
const CAPACITY_PER_SOURCE: usize = CAPACITY / 2;

/// The longest that a check waits.
const TIMEOUT: Duration = Duration::from_mins(1);

/// The queue is full, the check has waited for [`TIMEOUT`], or the daemon stops.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Overloaded;

/// A handle on the queue; clones share it.
#[derive(Debug, Clone)]
pub(super) struct CheckQueue {
    state: Arc<Mutex<State>>,
    lifecycle: Lifecycle,
}

/// Permission to run one check. Dropping it admits the next one.
#[derive(Debug)]
pub(super) struct Permit(CheckQueue);

#[derive(Debug)]
struct State {
    /// Permits that are available.
    available: usize,
    /// In the order of service; no queue is empty.
    sources: VecDeque<SourceQueue>,
}

#[derive(Debug)]
struct SourceQueue {
    source: IpAddr,
    waiting: VecDeque<oneshot::Sender<Permit>>,
}

impl CheckQueue {
    /// A queue that admits `concurrency` checks at a time. Nothing waits in it once the daemon stops.
    pub(super) fn new(concurrency: usize, lifecycle: Lifecycle) -> Self {
        let state = State { available: concurrency, sources: VecDeque::new() };
        Self { state: Arc::new(Mutex::new(state)), lifecycle }
    }

    // A std mutex: it is held for a few queue operations and never across an await.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a permit.
    pub(super) async fn acquire(&self, source: IpAddr) -> Result<Permit, Overloaded> {
        let enqueued = self.state().enqueue(source)?;
        let Some(permit) = enqueued else { return Ok(Permit(self.clone())) };
        tokio::select! {
            permit = timeout(TIMEOUT, permit) => permit.map_err(|_| Overloaded)?.map_err(|_| Overloaded),
            () = self.lifecycle.stopping() => Err(Overloaded),
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let next = self.0.state().dequeue();
        if let Some(next) = next {
            // If the receiver was dropped in the meantime, the rejected permit is dropped here and admits the next one.
            drop(next.send(Self(self.0.clone())));
        }
    }
}

impl State {
    /// Takes an available permit (`None`), or a place in the queue.
    fn enqueue(&mut self, source: IpAddr) -> Result<Option<oneshot::Receiver<Permit>>, Overloaded> {
        if self.available > 0 {
            self.available -= 1;
            return Ok(None);
        }
        if self.waiting_of(source) >= CAPACITY_PER_SOURCE || self.waiting() >= CAPACITY {
            self.remove_cancelled();
            self.make_room(self.waiting_of(source))?;
        }
        let (sender, permit) = oneshot::channel();
        match self.sources.iter_mut().find(|queue| queue.source == source) {
            Some(queue) => queue.waiting.push_back(sender),
            None => {
                self.sources.push_back(SourceQueue { source, waiting: VecDeque::from([sender]) });
            }
        }
        Ok(Some(permit))
    }

    /// Makes room for one more check of a source with `own` waiting ones: if the queue is full, the last check of the source
    /// with the most is rejected, provided that it has more than this one would have.
    fn make_room(&mut self, own: usize) -> Result<(), Overloaded> {
        if own >= CAPACITY_PER_SOURCE {
            return Err(Overloaded);
        }
        if self.waiting() < CAPACITY {
            return Ok(());
        }
        let longest = self.sources.iter_mut().max_by_key(|queue| queue.waiting.len());
        let longest = longest.filter(|queue| queue.waiting.len() > own + 1).ok_or(Overloaded)?;
        longest.waiting.pop_back();
        Ok(())
    }

    /// The next check that still waits; if there is none, the permit is available again.
    fn dequeue(&mut self) -> Option<oneshot::Sender<Permit>> {
        while let Some(mut queue) = self.sources.pop_front() {
            let next = queue.waiting.pop_front();
            if !queue.waiting.is_empty() {
                self.sources.push_back(queue);
            }
            if let Some(next) = next.filter(|next| !next.is_closed()) {
                return Some(next);
            }
        }
        self.available += 1;
        None
    }

    fn remove_cancelled(&mut self) {
        for queue in &mut self.sources {
            queue.waiting.retain(|waiting| !waiting.is_closed());
        }
        self.sources.retain(|queue| !queue.waiting.is_empty());
    }

    fn waiting(&self) -> usize {
        self.sources.iter().map(|queue| queue.waiting.len()).sum()
    }

    fn waiting_of(&self, source: IpAddr) -> usize {
        let queue = self.sources.iter().find(|queue| queue.source == source);
        queue.map_or(0, |queue| queue.waiting.len())
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use futures_util::FutureExt;
    use futures_util::future::{BoxFuture, join_all};
    use tokio::time::{Instant, sleep};

    use super::*;

    type Acquiring = BoxFuture<'static, Result<Permit, Overloaded>>;

    fn queue(concurrency: usize) -> CheckQueue {
        CheckQueue::new(concurrency, Lifecycle::new())
    }

    fn source(number: usize) -> IpAddr {
        Ipv4Addr::from_bits(0x0a00_0000 + u32::try_from(number).unwrap()).into()
    }

    /// A check that waits in the queue.
    fn enqueue(queue: &CheckQueue, source: IpAddr) -> Acquiring {
        let queue = queue.clone();
        let mut acquiring = async move { queue.acquire(source).await }.boxed();
        assert!((&mut acquiring).now_or_never().is_none());
        acquiring
    }

    #[tokio::test(start_paused = true)]
    async fn sources_are_served_round_robin_however_long_their_queues_are() {
        let queue = queue(1);
        let first = queue.acquire(source(1)).await.unwrap();
        let mut guesses: Vec<_> = (0..300).map(|_| enqueue(&queue, source(1))).collect();
        let other = enqueue(&queue, source(2));
        drop(first);
        let guess = guesses.remove(0).await.unwrap();
        assert!((&mut guesses[0]).now_or_never().is_none(), "one check at a time");
        drop(guess);
        drop(other.await.unwrap());
        drop(guesses.remove(0).await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn cancelled_checks_are_skipped_and_hold_no_permit() {
        let queue = queue(1);
        let first = queue.acquire(source(1)).await.unwrap();
        let [before, after, kept] = [(); 3].map(|()| enqueue(&queue, source(1)));
        drop(before);
        drop(first);
        // It was sent the permit, and is cancelled before it receives it.
        drop(after);
        drop(kept.await.unwrap());
        assert!(queue.acquire(source(3)).now_or_never().unwrap().is_ok());
        let state = queue.state();
        assert_eq!((state.available, state.sources.len()), (1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn queue_of_one_source_is_bounded() {
        let queue = queue(1);
        let _first = queue.acquire(source(1)).await.unwrap();
        let mut waiting: Vec<_> =
            (0..CAPACITY_PER_SOURCE).map(|_| enqueue(&queue, source(1))).collect();
        assert_eq!(queue.acquire(source(1)).await.unwrap_err(), Overloaded);
        waiting.pop();
        waiting.push(enqueue(&queue, source(1)));
        drop(enqueue(&queue, source(2)));
    }

    #[tokio::test(start_paused = true)]
    async fn full_queue_rejects_the_last_check_of_the_source_with_the_most() {
        let queue = queue(1);
        let _first = queue.acquire(source(1)).await.unwrap();
        let mut full: Vec<_> = (0..CAPACITY).map(|n| enqueue(&queue, source(n % 2))).collect();
        let newcomer = enqueue(&queue, source(7));
        let rejected: Vec<_> = full.iter_mut().filter_map(FutureExt::now_or_never).collect();
        assert!(matches!(rejected.as_slice(), [Err(Overloaded)]), "{rejected:?}");
        assert_eq!(queue.state().waiting(), CAPACITY);
        drop((full, newcomer));

        let _full: Vec<_> = (0..CAPACITY).map(|n| enqueue(&queue, source(n))).collect();
        assert_eq!(queue.acquire(source(99_999)).await.unwrap_err(), Overloaded);
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_check_times_out_after_a_minute() {
        let queue = queue(1);
        let _first = queue.acquire(source(1)).await.unwrap();
        let started = Instant::now();
        assert_eq!(queue.acquire(source(2)).await.unwrap_err(), Overloaded);
        assert_eq!(started.elapsed(), TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn no_check_waits_once_the_daemon_stops() {
        let queue = queue(1);
        let running = queue.acquire(source(1)).await.unwrap();
        let waiting = enqueue(&queue, source(2));
        queue.lifecycle.stop();
        let started = Instant::now();
        assert_eq!(waiting.await.unwrap_err(), Overloaded);
        assert_eq!(queue.acquire(source(3)).await.unwrap_err(), Overloaded);
        assert_eq!(started.elapsed(), Duration::ZERO);
        drop(running);
    }

    /// 300 clients that guess again as soon as a guess is rejected; a check takes 250 ms, two run at a time.
    #[tokio::test(start_paused = true)]
    async fn first_log_in_beside_300_guessing_clients_takes_less_than_a_minute() {
        const CHECK: Duration = Duration::from_millis(250);
        // All from the address of the user, and each from an address of its own.
        for (sources, user) in [(1, 0), (300, 300)] {
            let queue = queue(2);
            let guess = async |client: usize| loop {
                if let Ok(_permit) = queue.acquire(source(client % sources)).await {
                    sleep(CHECK).await;
                }
            };
            let guessing = join_all((0..300).map(guess));
            let log_in = async {
                sleep(5 * CHECK).await;
                let started = Instant::now();
                drop(queue.acquire(source(user)).await.unwrap());
                started.elapsed()
            };
            tokio::select! {
                _ = guessing => {}
                waited = log_in => assert!(waited < TIMEOUT, "{waited:?}"),
            }
        }
    }
}
