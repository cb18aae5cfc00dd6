//! Open connections, limited in total and per source: a new one replaces the one that has been idle the longest.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};
use model::Networks;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::limits::Limits;
use crate::source;

/// While all connections are busy: how often an idle one is looked for.
const POLL: Duration = Duration::from_millis(100);

/// The value of [`Open::idle_since`] during a request.
const BUSY: u64 = 0;

/// All open connections of a listener.
#[derive(Debug)]
pub(super) struct Connections {
    permits: Arc<Semaphore>,
    limit_per_source: usize,
    /// Trusted proxies, which have no limit per source.
    exempt: Networks,
    /// A logical clock: it advances whenever a connection becomes idle.
    clock: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    open: HashMap<u64, Arc<Open>>,
    /// The number of connections of each source that has any, without evicted ones.
    per_source: HashMap<IpAddr, usize>,
}

#[derive(Debug)]
struct Open {
    source: IpAddr,
    /// The time on the logical clock at which it became idle, or [`BUSY`].
    idle_since: AtomicU64,
    /// Cancelled when it has to close.
    evicted: CancellationToken,
}

/// An open connection; dropping this removes it.
#[derive(Debug)]
pub(super) struct Connection {
    id: u64,
    open: Arc<Open>,
    connections: Arc<Connections>,
    _permit: OwnedSemaphorePermit,
}

/// Marks a connection as busy; dropping this marks it as idle.
#[derive(Debug)]
pub(super) struct Busy {
    open: Arc<Open>,
    connections: Arc<Connections>,
}

impl Connections {
    pub(super) fn new(limits: &Limits, exempt: &Networks) -> Arc<Self> {
        Arc::new(Self {
            permits: Arc::new(Semaphore::new(limits.connections)),
            limit_per_source: limits.connections_per_source(),
            exempt: exempt.clone(),
            clock: AtomicU64::new(BUSY),
            state: Mutex::default(),
        })
    }

    // A std mutex: it is held for a scan of the map and never across an await.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Admits a connection. At a limit, the connection that has been idle the longest is closed for it: of the same source
    /// at the limit per source. Waits while all connections are busy; returns `None` while all of its source are.
    pub(super) async fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Connection> {
        let address = address.to_canonical();
        let source = source::of_limits(address);
        let is_exempt = address.is_loopback() || self.exempt.contains(address);
        if !is_exempt && self.count(source) >= self.limit_per_source {
            metrics::counter!("commissaire_http_connections_over_limit_total", "limit" => "source")
                .increment(1);
            if !self.evict(Some(source)) {
                return None;
            }
        }
        let permit = self.permit().await;
        let id = self.tick();
        let open = Arc::new(Open {
            source,
            idle_since: AtomicU64::new(id),
            evicted: CancellationToken::new(),
        });
        let mut state = self.state();
        *state.per_source.entry(source).or_default() += 1;
        state.open.insert(id, Arc::clone(&open));
        drop(state);
        Some(Connection { id, open, connections: Arc::clone(self), _permit: permit })
    }

    async fn permit(&self) -> OwnedSemaphorePermit {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return permit;
        }
        metrics::counter!("commissaire_http_connections_over_limit_total", "limit" => "all")
            .increment(1);
        loop {
            self.evict(None);
            // The semaphore is never closed.
            let acquired = timeout(POLL, Arc::clone(&self.permits).acquire_owned()).await;
            if let Ok(Ok(permit)) = acquired {
                return permit;
            }
        }
    }

    fn count(&self, source: IpAddr) -> usize {
        self.state().per_source.get(&source).copied().unwrap_or_default()
    }

    /// Closes the connection that has been idle the longest, of one source or of all; returns whether there was one.
    fn evict(&self, source: Option<IpAddr>) -> bool {
        let mut state = self.state();
        let idle = state.open.values().filter(|open| {
            source.is_none_or(|source| open.source == source)
                && open.is_idle()
                && !open.evicted.is_cancelled()
        });
        let longest = idle.min_by_key(|open| open.idle_since.load(Ordering::Relaxed));
        let Some(longest) = longest.map(Arc::clone) else { return false };
        longest.evicted.cancel();
        state.uncount(longest.source);
        true
    }
}

impl State {
    fn uncount(&mut self, source: IpAddr) {
        if let Some(count) = self.per_source.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.per_source.remove(&source);
            }
        }
    }
}

impl Open {
    fn is_idle(&self) -> bool {
        self.idle_since.load(Ordering::Relaxed) != BUSY
    }
}

impl Connection {
    /// Resolves when it has to close.
    pub(super) async fn evicted(&self) {
        self.open.evicted.cancelled().await;
    }

    /// Whether it has to close.
    pub(super) fn is_evicted(&self) -> bool {
        self.open.evicted.is_cancelled()
    }

    /// Whether no request is in progress.
    pub(super) fn is_idle(&self) -> bool {
        self.open.is_idle()
    }

    /// Marks the beginning of a request.
    pub(super) fn busy(&self) -> Busy {
        self.open.idle_since.store(BUSY, Ordering::Relaxed);
        Busy { open: Arc::clone(&self.open), connections: Arc::clone(&self.connections) }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut state = self.connections.state();
        state.open.remove(&self.id);
        if !self.open.evicted.is_cancelled() {
            state.uncount(self.open.source);
        }
    }
}

impl Busy {
    /// Keeps the connection busy until the body of this response ends.
    pub(super) fn during(self, response: Response) -> Response {
        // A body of known length is complete already.
        if response.body().size_hint().exact().is_some() {
            return response;
        }
        response.map(|body| Body::new(Streamed { body, _busy: self }))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.open.idle_since.store(self.connections.tick(), Ordering::Relaxed);
    }
}

/// A streamed body that keeps its connection busy.
struct Streamed {
    body: Body,
    _busy: Busy,
}

impl HttpBody for Streamed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        std::pin::Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn connections(limit: usize, per_source: usize) -> Arc<Connections> {
        let limits = Limits {
            connections: limit,
            connections_per_source: Some(per_source),
            ..Limits::default()
        };
        let proxies = vec!["192.0.2.0/24".to_owned()].try_into().unwrap();
        Connections::new(&limits, &proxies)
    }

    async fn admit(connections: &Arc<Connections>, from: &str) -> Connection {
        connections.admit(address(from)).await.unwrap()
    }

    #[tokio::test]
    async fn limit_per_source_closes_its_connection_that_has_been_idle_the_longest() {
        let connections = connections(100, 3);
        let first = admit(&connections, "10.0.0.1").await;
        let second = admit(&connections, "10.0.0.1").await;
        let third = admit(&connections, "::ffff:10.0.0.1").await;
        let other = admit(&connections, "10.0.0.2").await;
        // A request on the first one: it has been idle for a shorter time than the second.
        drop(first.busy());
        let fourth = admit(&connections, "10.0.0.1").await;
        assert_eq!(
            [&first, &second, &third, &other].map(Connection::is_evicted),
            [false, true, false, false]
        );
        let busy = [&first, &third, &fourth].map(Connection::busy);
        assert!(connections.admit(address("10.0.0.1")).await.is_none(), "all connections are busy");
        admit(&connections, "10.0.0.2").await;
        drop((busy, second));
        admit(&connections, "10.0.0.1").await;
    }

    #[tokio::test]
    async fn loopback_and_trusted_proxies_have_no_limit_per_source() {
        let connections = connections(100, 1);
        for exempt in ["127.0.0.1", "::1", "192.0.2.7"] {
            let kept = [admit(&connections, exempt).await, admit(&connections, exempt).await];
            assert_eq!(kept.each_ref().map(Connection::is_evicted), [false, false], "{exempt}");
        }
        // Two addresses of one /64 network are one source.
        let first = admit(&connections, "2001:db8::1").await;
        let _second = admit(&connections, "2001:db8::ffff:2").await;
        assert!(first.is_evicted());
    }

    #[tokio::test(start_paused = true)]
    async fn total_limit_closes_the_connection_that_has_been_idle_the_longest() {
        let connections = connections(3, 3);
        let silent = admit(&connections, "10.0.0.1").await;
        let busy = [admit(&connections, "10.0.0.2").await, admit(&connections, "10.0.0.3").await];
        let answers = busy.each_ref().map(Connection::busy);
        let mut newcomer = Box::pin(admit(&connections, "10.0.0.4"));
        assert!((&mut newcomer).now_or_never().is_none(), "the evicted connection is still open");
        assert!(silent.is_evicted());
        drop(silent);
        let newcomer = newcomer.await;
        let _busy = newcomer.busy();

        let mut waiting = Box::pin(admit(&connections, "10.0.0.5"));
        assert!(timeout(POLL * 10, &mut waiting).await.is_err(), "all connections are busy");
        drop(answers);
        assert!((&mut waiting).now_or_never().is_none());
        let [first, second] = busy;
        let gone = async {
            first.evicted().await;
            drop(first);
        };
        tokio::join!(gone, waiting);
        assert!(!second.is_evicted());
    }

    #[tokio::test]
    async fn connection_is_busy_until_a_streamed_body_ends() {
        let connections = connections(10, 10);
        let connection = admit(&connections, "10.0.0.1").await;
        let stream = futures_util::stream::iter([Ok::<_, std::io::Error>("event")]);
        let response = Response::new(Body::from_stream(stream));
        let response = connection.busy().during(response);
        assert!(!connection.is_idle());
        axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        assert!(connection.is_idle());
        let response = connection.busy().during(Response::new(Body::from("whole")));
        assert!(connection.is_idle());
        drop(response);
    }
}
