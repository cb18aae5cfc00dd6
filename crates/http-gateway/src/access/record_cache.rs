//! Records that are kept in memory, since each request needs some of them.
//!
//! A gateway that changes one reads all of them again before it answers. The others do so at the notification, and every ten
//! seconds in case that one is lost. Records that could not be read for a minute are not used any more.

use std::fmt::Debug;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use bus::error::chain;
use bus::{Bus, Context, Error, topology};
use futures_util::FutureExt as _;
use model::Model;
use runtime::Lifecycle;
use storage_client::StorageClient;
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, sleep, timeout};

/// How often they are read again without a notification.
const REFRESH: Duration = Duration::from_secs(10);

/// The age at which they are not used any more.
const AGE_MAX: Duration = Duration::from_mins(1);

/// Timeout of a reading: its error is the answer to requests that wait for it.
const TIMEOUT: Duration = Duration::from_secs(3);

/// The pause after a failure.
const PAUSE: Duration = Duration::from_secs(1);

/// What requests look up in all records of a type.
pub trait RecordIndex: Debug + Default + Send + Sync + 'static {
    /// The records.
    type Record: Model + Debug + PartialEq;

    /// Whether a damaged record makes the reading fail, instead of being left out.
    const NEEDS_ALL: bool;

    /// The index of these records.
    fn of_records(records: &[Self::Record]) -> Self;
}

/// See the module.
#[derive(Debug)]
pub struct RecordCache<I: RecordIndex> {
    bus: Bus,
    storage: StorageClient,
    known: RwLock<Known<I>>,
    /// Held while they are read: a reading that began later is never replaced by an earlier one. The last failure, and when it
    /// began.
    reading: Mutex<Option<(Instant, Error)>>,
    /// Notified with each change.
    changes: watch::Sender<()>,
}

#[derive(Debug)]
struct Known<I: RecordIndex> {
    index: Arc<I>,
    read_at: Option<Instant>,
    records: Vec<I::Record>,
}

impl<I: RecordIndex> RecordCache<I> {
    /// Those that can be read over `bus`; none is read yet.
    pub fn new(bus: &Bus) -> Self {
        let hasty = bus.with_timeout(bus.timeout().min(TIMEOUT));
        let known = Known { index: Arc::default(), read_at: None, records: Vec::new() };
        Self {
            bus: bus.clone(),
            storage: StorageClient::new(hasty, Context::service("gateway")),
            known: RwLock::new(known),
            reading: Mutex::default(),
            changes: watch::Sender::new(()),
        }
    }

    /// As they were a short time ago.
    ///
    /// # Errors
    /// When they cannot be read, and are not known well enough.
    pub async fn current(&self) -> bus::Result<Arc<I>> {
        match self.fresh() {
            Some(index) => Ok(index),
            // Boxed: it is large, and seldom needed.
            None => Box::pin(self.read_once()).await,
        }
    }

    /// As they were when they could be read last; `None` if they never could.
    pub fn last_known(&self) -> Option<Arc<I>> {
        let known = self.known();
        known.read_at.map(|_| Arc::clone(&known.index))
    }

    /// As others that asked at the same time have read them, or else read now.
    async fn read_once(&self) -> bus::Result<Arc<I>> {
        let asked = Instant::now();
        let mut failure = self.reading.lock().await;
        // Another request may have read them, or has tried to.
        if let Some(index) = self.fresh() {
            return Ok(index);
        }
        if let Some((began, error)) = &*failure
            && *began >= asked
        {
            return Err(error.clone());
        }
        let began = Instant::now();
        let read = self.read().await;
        *failure = read.as_ref().err().map(|error| (began, error.clone()));
        read
    }

    /// Reads them again.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn refresh(&self) -> bus::Result<Arc<I>> {
        let _reading = self.reading.lock().await;
        self.read().await
    }

    /// Resolves when a condition on the index no longer holds.
    pub async fn until_not(self: Arc<Self>, holds: impl Fn(&I) -> bool + Send) {
        let mut changes = self.changes.subscribe();
        // Dropped as long as this is held: never.
        while holds(&self.known().index) && changes.changed().await.is_ok() {}
    }

    fn known(&self) -> RwLockReadGuard<'_, Known<I>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn fresh(&self) -> Option<Arc<I>> {
        let known = self.known();
        let is_fresh = known.read_at.is_some_and(|read_at| read_at.elapsed() < AGE_MAX);
        is_fresh.then(|| Arc::clone(&known.index))
    }

    async fn read(&self) -> bus::Result<Arc<I>> {
        let read_at = Instant::now();
        let found = if I::NEEDS_ALL {
            self.storage.list_complete::<I::Record>().await?
        } else {
            self.storage.list::<I::Record>().await?
        };
        let records: Vec<_> = found.into_iter().map(|found| found.record).collect();
        let (index, is_changed) = {
            let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
            known.read_at = Some(read_at);
            let is_changed = known.records != records;
            if is_changed {
                known.index = Arc::new(I::of_records(&records));
                known.records = records;
            }
            (Arc::clone(&known.index), is_changed)
        };
        if is_changed {
            self.changes.send_replace(());
        }
        Ok(index)
    }

    /// Keeps them up to date until the daemon stops.
    pub(crate) fn follow(self: Arc<Self>, lifecycle: &Lifecycle) {
        let stopping = lifecycle.stopping();
        lifecycle.spawn(I::Record::LIST_TYPE, async move {
            tokio::select! {
                () = stopping => {}
                () = self.follow_forever() => {}
            }
        });
    }

    async fn follow_forever(&self) {
        let records = I::Record::LIST_TYPE;
        let pattern = topology::changed(I::Record::TYPE, "*");
        loop {
            let mut notifications = match self.bus.subscribe(&pattern).await {
                Ok(notifications) => Some(notifications),
                Err(error) => {
                    tracing::debug!(
                        error = chain(&error),
                        records,
                        "cannot subscribe to notifications"
                    );
                    None
                }
            };
            loop {
                // What has been announced so far is in what is read now.
                if let Some(notifications) = &mut notifications {
                    while let Some(Some(_)) = notifications.next().now_or_never() {}
                }
                let wait = match self.refresh().await {
                    Ok(_) => REFRESH,
                    Err(error) => {
                        tracing::debug!(error = chain(&error), records, "cannot read the records");
                        PAUSE
                    }
                };
                let Some(notifications) = &mut notifications else { break sleep(wait).await };
                if let Ok(None) = timeout(wait, notifications.next()).await {
                    break sleep(PAUSE).await;
                }
            }
        }
    }
}
