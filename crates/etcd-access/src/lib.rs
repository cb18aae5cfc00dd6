//! The way to etcd: one connection, to whichever member answers.
//!
//! Rules, held by `tests/it/etcd.rs` here and in the storage service:
//!
//! - A request is answered or fails within [`GIVE_UP`], whatever the members do.
//! - Requests go to one member until it fails: refuses the connection, breaks it, is without a leader, or
//!   says nothing in time, as a stopped process or a host without power does. Then that connection is
//!   never used again, and the next member is tried. So nothing has to be found out by pings.
//! - A connection is used once it has answered a read that needs a majority.
//! - Reads are tried again until the deadline. A change is tried again only where it certainly has not
//!   been made: it was never sent, or etcd says so. In all other cases the answer is
//!   [`Error::Unconfirmed`], because a change that was made and is tried again fails its own checks, and
//!   a comparison of values does not tell one's own change from another's. Whoever made it reads again.
//!
//! Configuration that is kept in etcd is read by [`config`].

mod cause;
pub mod config;
mod members;
mod options;

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use etcd_client::{GetOptions, GetResponse, KvClient, Txn, TxnResponse};
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout};

use cause::Outcome;

pub use cause::Cause;
pub use members::MemberStatus;
pub use options::{Options, OptionsError};

/// How long a request may take, with all its attempts: less than a caller on the bus waits.
pub const GIVE_UP: Duration = Duration::from_secs(8);

/// How long a member may take to accept a connection, log in and answer for the first time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a member may take to answer a read.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a member may take to make a change: with a busy disk that takes longer than a read.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(3);

/// The pause after all members have been tried in vain.
const PAUSE: Duration = Duration::from_millis(200);

/// The kernel notices a dead peer of an idle connection after a few times this long.
const TCP_KEEPALIVE: Duration = Duration::from_secs(10);

/// The largest answer that is read; etcd sends any.
const MESSAGE_LIMIT: usize = 16 << 20;

/// What a new connection has to read: any key will do, there or not, permitted or not.
const PROBE: &str = "/commissaire/config";

/// Why etcd did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// It cannot be reached that way.
    #[error("the way to etcd is wrong")]
    Options(#[source] OptionsError),
    /// No member answers; nothing was changed.
    #[error("etcd does not answer at {endpoints}")]
    Unavailable {
        /// Where it was asked.
        endpoints: String,
        /// Why the last attempt failed.
        source: Cause,
    },
    /// It answered, and will not do that; nothing was changed.
    #[error("etcd refuses")]
    Refused(#[source] Cause),
    /// Whether the change was made, or will be, is unknown.
    #[error("etcd does not say whether it made the change: look before trying again")]
    Unconfirmed(#[source] Cause),
}

/// A handle on etcd; clones are cheap and share its connection.
#[derive(Clone)]
pub struct Client(Arc<Shared>);

struct Shared {
    options: Options,
    endpoints: Vec<String>,
    current: Mutex<Connection>,
    /// Why the last attempt failed, if it did.
    failure: Mutex<Option<Cause>>,
}

/// The connection to the `number`th member, counted round and round; made by the first who needs it.
#[derive(Clone, Default)]
struct Connection {
    number: usize,
    kv: Arc<OnceCell<KvClient>>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("options", &self.0.options).finish_non_exhaustive()
    }
}

impl Client {
    /// A client that connects when it is first used: etcd need not be there yet.
    ///
    /// # Errors
    /// [`Error::Options`] when the options are wrong, or a file that they name cannot be used.
    pub async fn new(options: &Options) -> Result<Self, Error> {
        options.validate().map_err(Error::Options)?;
        let endpoints = options.endpoints();
        for endpoint in &endpoints {
            options.connect_options(endpoint).await.map_err(Error::Options)?;
        }
        Ok(Self(Arc::new(Shared {
            options: options.clone(),
            endpoints,
            current: Mutex::default(),
            failure: Mutex::default(),
        })))
    }

    /// Reads a key or a range of keys.
    ///
    /// # Errors
    /// [`Error::Unavailable`], [`Error::Refused`].
    pub async fn get(&self, key: &[u8], options: GetOptions) -> Result<GetResponse, Error> {
        self.request(READ_TIMEOUT, true, |mut kv| {
            let (key, options) = (key.to_vec(), options.clone());
            async move { kv.get(key, Some(options)).await }
        })
        .await
    }

    /// Carries out a transaction that reads only.
    ///
    /// # Errors
    /// [`Error::Unavailable`], [`Error::Refused`].
    pub async fn read(&self, transaction: &Txn) -> Result<TxnResponse, Error> {
        self.request(READ_TIMEOUT, true, |mut kv| {
            let transaction = transaction.clone();
            async move { kv.txn(transaction).await }
        })
        .await
    }

    /// Carries out a transaction.
    ///
    /// # Errors
    /// [`Error::Unavailable`], [`Error::Refused`], [`Error::Unconfirmed`].
    pub async fn commit(&self, transaction: &Txn) -> Result<TxnResponse, Error> {
        self.request(COMMIT_TIMEOUT, false, |mut kv| {
            let transaction = transaction.clone();
            async move { kv.txn(transaction).await }
        })
        .await
    }

    /// Drops the history before `revision`, which may be dropped already.
    ///
    /// # Errors
    /// [`Error::Unavailable`], [`Error::Refused`].
    pub async fn compact(&self, revision: i64) -> Result<(), Error> {
        let compacted = self
            .request(COMMIT_TIMEOUT, true, |mut kv| async move { kv.compact(revision, None).await })
            .await;
        match compacted {
            Err(Error::Refused(cause)) if cause.is_compacted() => Ok(()),
            other => other.map(drop),
        }
    }

    /// Why the last attempt failed, if it did; of a request that was given up before its end, too.
    pub fn last_failure(&self) -> Option<Cause> {
        self.failure().clone()
    }

    /// Asks one member after the other until one answers.
    async fn request<T, F>(
        &self,
        limit: Duration,
        repeatable: bool,
        call: impl Fn(KvClient) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        // What is sent at the last moment still has its time.
        let last_start = Instant::now() + GIVE_UP.saturating_sub(limit);
        let mut attempts = 0;
        loop {
            let connection = self.connection();
            let attempt = self.attempt(&connection, last_start, limit, &call);
            let cause = match attempt.await {
                Ok(answer) => {
                    self.answered();
                    return Ok(answer);
                }
                Err(cause) => cause,
            };
            match cause.outcome() {
                Outcome::Refused => {
                    self.answered();
                    return Err(Error::Refused(cause));
                }
                Outcome::Unknown if !repeatable => {
                    self.discard(&connection, &cause);
                    return Err(Error::Unconfirmed(cause));
                }
                Outcome::Unknown | Outcome::NotDone => self.discard(&connection, &cause),
            }
            attempts += 1;
            if attempts % self.0.endpoints.len() == 0 {
                tokio::time::sleep(PAUSE).await;
            }
            if until(last_start).is_zero() {
                let endpoints = self.0.endpoints.join(",");
                return Err(Error::Unavailable { endpoints, source: cause });
            }
        }
    }

    /// One try with one member.
    async fn attempt<T, F>(
        &self,
        connection: &Connection,
        last_start: Instant,
        limit: Duration,
        call: impl Fn(KvClient) -> F,
    ) -> Result<T, Cause>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        let patience = CONNECT_TIMEOUT.min(until(last_start));
        let connected = timeout(patience, self.connected(connection)).await;
        let kv = connected.map_err(|_| Cause::silence(Outcome::NotDone))??;
        let answer = timeout(limit, call(kv)).await;
        answer.map_err(|_| Cause::silence(Outcome::Unknown))?.map_err(Cause::from)
    }

    fn connection(&self) -> Connection {
        self.0.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn endpoint(&self, connection: &Connection) -> &str {
        &self.0.endpoints[connection.number % self.0.endpoints.len()]
    }

    /// The next request uses the next member.
    fn discard(&self, connection: &Connection, cause: &Cause) {
        let endpoint = self.endpoint(connection);
        tracing::debug!(etcd.endpoint = endpoint, error = %cause, "left this member of etcd");
        *self.failure() = Some(cause.clone());
        let mut current = self.0.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.number == connection.number {
            *current = Connection { number: connection.number + 1, kv: Arc::default() };
        }
    }

    async fn connected(&self, connection: &Connection) -> Result<KvClient, Cause> {
        let endpoint = self.endpoint(connection);
        connection.kv.get_or_try_init(|| self.connect(endpoint)).await.cloned()
    }

    async fn connect(&self, endpoint: &str) -> Result<KvClient, Cause> {
        let options = self.0.options.connect_options(endpoint).await;
        let options = options.map_err(|e| Cause::not_done(e.to_string()))?;
        let client = etcd_client::Client::connect([endpoint], Some(options));
        let client = client.await.map_err(|e| Cause::from(e).while_connecting())?;
        let mut kv = client.kv_client().max_decoding_message_size(MESSAGE_LIMIT);
        match kv.get(PROBE, Some(GetOptions::new().with_keys_only())).await.map_err(Cause::from) {
            Err(cause) if !cause.is_no_permission() => Err(cause.while_connecting()),
            _ => Ok(kv),
        }
    }

    fn answered(&self) {
        self.failure().take();
    }

    fn failure(&self) -> MutexGuard<'_, Option<Cause>> {
        self.0.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn until(moment: Instant) -> Duration {
    moment.saturating_duration_since(Instant::now())
}
