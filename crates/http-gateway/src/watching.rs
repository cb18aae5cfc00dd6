//! What those share who watch operations: a bound on how many there are, and what wakes them.
//!
//! A wake-up is a kindness, not a promise: it may be lost, and whoever watches looks by itself, too. So
//! nobody waits for a watcher, whatever it does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bus::error::chain;
use bus::{Bus, Error, topology};
use futures_util::FutureExt as _;
use futures_util::future::Shared;
use model::{Model as _, OperationEvent};
use runtime::Lifecycle;
use runtime::expiring::Expiring;
use storage_client::{Revised, StorageClient};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, oneshot};

use crate::error::ApiError;
use crate::server::limits::Limits;

/// Wake-ups that a watcher may be behind; one that is further behind is woken all the same.
const BACKLOG: usize = 256;

/// How many readings are remembered, and for how long: until all who are woken together have come by.
const READINGS: usize = 64;
/// See [`READINGS`].
const REMEMBERED: Duration = Duration::from_secs(2);

/// `Retry-After` at the limit of streams per user, in seconds.
const RETRY_AFTER: u64 = 5;

/// The pause before notifications are subscribed to again.
const RETRY: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub struct Watching {
    lifecycle: Lifecycle,
    room: Arc<Semaphore>,
    most: usize,
    limit_per_user: usize,
    users: StreamsPerUser,
    /// The operations that have new events.
    news: broadcast::Sender<Arc<str>>,
    readings: Readings,
}

/// The number of streams of each user that has any.
type StreamsPerUser = Arc<Mutex<HashMap<String, usize>>>;

/// Readings of events by the id of the first, complete or under way: an event does not change.
type Readings = Arc<Expiring<String, Reading>>;

/// All who ask for it while it lasts have the same result.
type Reading = Shared<oneshot::Receiver<bus::Result<Arc<[OperationEvent]>>>>;

impl Watching {
    /// Admits as many watchers at a time as `limits` allow.
    pub fn new(limits: &Limits, lifecycle: &Lifecycle) -> Self {
        Self {
            lifecycle: lifecycle.clone(),
            room: Arc::new(Semaphore::new(limits.streams)),
            most: limits.streams,
            limit_per_user: limits.streams_per_user,
            users: StreamsPerUser::default(),
            news: broadcast::Sender::new(BACKLOG),
            readings: Arc::new(Expiring::new(READINGS, REMEMBERED)),
        }
    }

    /// Passes notifications about events on to the watchers until the daemon is told to stop.
    pub(crate) fn listen(&self, bus: Bus) {
        let (news, stopping) = (self.news.clone(), self.lifecycle.stopping());
        self.lifecycle.spawn("events", async move {
            tokio::select! {
                () = stopping => {}
                () = listen(&bus, &news) => {}
            }
        });
    }

    /// Lets one more watcher in.
    ///
    /// # Errors
    /// 429 at the limit per user, 503 at the limit of all streams.
    pub fn enter(&self, user: &str) -> Result<Watcher, ApiError> {
        let user_stream = UserStream::open(&self.users, user, self.limit_per_user).ok_or_else(|| {
            let limit = self.limit_per_user;
            let detail = format!(
                "the user {user} has {limit} open event streams, the most allowed: close one of them first"
            );
            ApiError::too_many(detail, RETRY_AFTER)
        })?;
        let room = Arc::clone(&self.room).try_acquire_owned().map_err(|_| {
            let most = self.most;
            ApiError::unavailable(format!(
                "{most} streams of events are being read already: try again when one has ended"
            ))
        })?;
        Ok(Watcher {
            news: self.news.subscribe(),
            lifecycle: self.lifecycle.clone(),
            readings: Arc::clone(&self.readings),
            _room: room,
            _user_stream: user_stream,
        })
    }
}

/// A stream of a user; dropping this decrements the user's count.
#[derive(Debug)]
struct UserStream {
    users: StreamsPerUser,
    user: String,
}

impl UserStream {
    fn open(users: &StreamsPerUser, user: &str, limit: usize) -> Option<Self> {
        let mut counts = users.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.get(user).copied().unwrap_or_default();
        if count >= limit {
            return None;
        }
        counts.insert(user.to_owned(), count + 1);
        drop(counts);
        Some(Self { users: Arc::clone(users), user: user.to_owned() })
    }
}

impl Drop for UserStream {
    fn drop(&mut self) {
        let mut counts = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        match counts.get_mut(&self.user) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(counts.remove(&self.user)),
        }
    }
}

/// One who watches an operation, as long as this is held.
#[derive(Debug)]
pub struct Watcher {
    news: broadcast::Receiver<Arc<str>>,
    lifecycle: Lifecycle,
    readings: Readings,
    _room: OwnedSemaphorePermit,
    _user_stream: UserStream,
}

impl Watcher {
    /// The events `ids`, up to the first that is not there yet. Those who read the same at the same
    /// time have it read once, so that many readers cost little more than one. That there are none may
    /// therefore be known from a moment before this was asked.
    ///
    /// # Errors
    /// When the storage service cannot say.
    pub async fn read(
        &self,
        storage: &StorageClient,
        ids: &[String],
    ) -> bus::Result<Arc<[OperationEvent]>> {
        let Some(first) = ids.first() else { return Ok(Arc::from([])) };
        let begin = || {
            let (storage, ids) = (storage.clone(), ids.to_vec());
            let (sender, reading) = oneshot::channel();
            // A task: a reader that goes away does not hold up the others.
            self.lifecycle.spawn("reading of events", async move {
                let found = storage.get_many::<OperationEvent>(&ids).await;
                let events = |found: Vec<Option<_>>| found.into_iter().map_while(record).collect();
                // Without a reader nothing waits for it.
                drop(sender.send(found.map(events)));
            });
            reading.shared()
        };
        let reading = self.readings.get_or_insert_with(first.clone(), begin);
        let stopped = |_| Err(Error::unavailable("the server stops"));
        let events = reading.clone().await.unwrap_or_else(stopped);
        if !events.as_ref().is_ok_and(|events| !events.is_empty()) {
            // There may be some when it is read again.
            self.readings.remove_if(first, |kept| kept.ptr_eq(&reading));
        }
        events
    }

    /// Resolves when this operation may have new events. What was announced before is forgotten with
    /// [`Self::forget`].
    pub async fn woken(&mut self, operation: &str) {
        loop {
            match self.news.recv().await {
                Ok(news) if *news != *operation => {}
                // Missed announcements may have been about it.
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => return,
                Err(broadcast::error::RecvError::Closed) => return std::future::pending().await,
            }
        }
    }

    /// Whatever was announced so far is about to be read.
    pub fn forget(&mut self) {
        self.news = self.news.resubscribe();
    }

    /// Resolves when the daemon is told to stop.
    pub fn stopping(&self) -> impl Future<Output = ()> + Send + use<> {
        self.lifecycle.stopping()
    }
}

fn record(event: Option<Revised<OperationEvent>>) -> Option<OperationEvent> {
    Some(event?.record)
}

async fn listen(bus: &Bus, news: &broadcast::Sender<Arc<str>>) {
    let pattern = topology::changed(OperationEvent::TYPE, "created");
    loop {
        match bus.subscribe(&pattern).await {
            Ok(mut notifications) => {
                while let Some(notification) = notifications.next().await {
                    let id = notification.params["model"][OperationEvent::ID].as_str();
                    if let Some((operation, _)) = id.and_then(|id| id.split_once('.')) {
                        // Nobody watches: nobody is woken.
                        drop(news.send(operation.into()));
                    }
                }
            }
            Err(error) => tracing::debug!(error = chain(&error), "no notifications about events"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

#[cfg(test)]
mod tests {
    use bus::Context;
    use serde_json::json;
    use storage_svc::Handler;
    use storage_svc::store::Memory;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_reading_serves_others_when_its_first_reader_has_gone() {
        let (bus, life, folder) = (Bus::memory(), Lifecycle::new(), tempfile::tempdir().unwrap());
        let config = storage_svc::Config::new(folder.path().join("secret.key"));
        let config = config.or_handler(Handler::memory(Memory::default()));
        storage_svc::run(&bus, &config, &life).await.unwrap();
        let storage = StorageClient::new(bus, Context::default());
        let save = async |seq| {
            let event = json!({"id": OperationEvent::id_of("o1", seq), "seq": seq, "outcome": "ok",
                "time": "2026-11-26T05:00:01.000000", "host": "10.0.0.1", "step": "probe"});
            storage.save::<OperationEvent>(&serde_json::from_value(event).unwrap()).await.unwrap();
        };
        let watcher = Watching::new(&Limits::default(), &life).enter("ann").unwrap();
        let [first, second] = [1, 2].map(|seq| [OperationEvent::id_of("o1", seq)]);
        save(1).await;
        assert!(watcher.read(&storage, &first).now_or_never().is_none());
        assert_eq!(watcher.read(&storage, &first).await.unwrap().len(), 1);
        assert!(watcher.read(&storage, &second).await.unwrap().is_empty());
        save(2).await;
        assert_eq!(watcher.read(&storage, &second).await.unwrap().len(), 1, "it is read again");
    }

    #[tokio::test]
    async fn streams_are_limited_per_user_and_in_total() {
        let limits = Limits { streams: 4, streams_per_user: 2, ..Limits::default() };
        let watching = Watching::new(&limits, &Lifecycle::new());
        let enter = |user| watching.enter(user);
        let (first, second) = (enter("ann").unwrap(), enter("ann").unwrap());
        assert_eq!(enter("ann").unwrap_err().status(), 429);
        let _others = [enter("bob").unwrap(), enter("eve").unwrap()];
        assert_eq!(enter("bob").unwrap_err().status(), 503);
        drop(first);
        let _third = enter("ann").unwrap();
        drop(second);
        assert_eq!(watching.users.lock().unwrap().len(), 3);
    }
}
