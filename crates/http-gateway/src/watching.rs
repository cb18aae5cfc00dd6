//! What those share who watch operations: a bound on how many there are, and what wakes them.
//!
//! A wake-up is a kindness, not a promise: it may be lost, and whoever watches looks by itself, too. So
//! nobody waits for a watcher, whatever it does.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use service_core::bus::topology;
use service_core::error::chain;
use service_core::expiring::Expiring;
use service_core::model::{Event, Model as _};
use service_core::{Bus, Lifecycle, StorageClient};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};

use crate::error::ApiError;

/// Wake-ups that a watcher may be behind; one that is further behind is woken all the same.
const BACKLOG: usize = 256;

/// How many readings are remembered, and for how long: until all who are woken together have come by.
const READINGS: usize = 64;
/// See [`READINGS`].
const REMEMBERED: Duration = Duration::from_secs(2);

/// The pause before notifications are subscribed to again.
const RETRY: Duration = Duration::from_secs(1);

/// See the module; clones share it.
#[derive(Debug, Clone)]
pub struct Watching {
    lifecycle: Lifecycle,
    room: Arc<Semaphore>,
    most: usize,
    /// The operations that have new events.
    news: broadcast::Sender<Arc<str>>,
    readings: Readings,
}

/// Readings of events by the id of the first, complete or under way: an event does not change.
type Readings = Arc<Expiring<String, Reading>>;

/// All who ask for it while it lasts have the same result.
type Reading = Shared<BoxFuture<'static, service_core::Result<Arc<[Event]>>>>;

impl Watching {
    /// Room for `most` watchers at a time.
    pub fn new(most: usize, lifecycle: &Lifecycle) -> Self {
        let (lifecycle, room) = (lifecycle.clone(), Arc::new(Semaphore::new(most)));
        let readings = Arc::new(Expiring::new(READINGS, REMEMBERED));
        Self { lifecycle, room, most, news: broadcast::Sender::new(BACKLOG), readings }
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
    /// 503 when there are too many already.
    pub fn enter(&self) -> Result<Watcher, ApiError> {
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
        })
    }
}

/// One who watches an operation, as long as this is held.
#[derive(Debug)]
pub struct Watcher {
    news: broadcast::Receiver<Arc<str>>,
    lifecycle: Lifecycle,
    readings: Readings,
    _room: OwnedSemaphorePermit,
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
    ) -> service_core::Result<Arc<[Event]>> {
        let Some(first) = ids.first() else { return Ok(Arc::from([])) };
        let begin = || {
            let (storage, ids) = (storage.clone(), ids.to_vec());
            let reading = async move {
                let found = storage.get_many::<Event>(&ids).await?;
                Ok(found.into_iter().map_while(|event| Some(event?.record)).collect())
            };
            reading.boxed().shared()
        };
        let reading = self.readings.get_or_insert_with(first.clone(), begin);
        let events = reading.clone().await;
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

async fn listen(bus: &Bus, news: &broadcast::Sender<Arc<str>>) {
    let pattern = topology::changed(Event::TYPE, "created");
    loop {
        match bus.subscribe(&pattern).await {
            Ok(mut notifications) => {
                while let Some(notification) = notifications.next().await {
                    let id = notification.params["model"][Event::ID].as_str();
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
