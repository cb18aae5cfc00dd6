//! Sockets: serving requests until the daemon is told to stop.
//!
//! - [`limits`][]: what one client may take from the others
//! - `connections`: limits on their number
//! - `head`: a strict look at requests, before they are parsed
//! - `stream`: a connection's bytes, in time

mod connections;
mod head;
pub mod limits;
mod stream;

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::{ConnectInfo, Request};
use bus::error::chain;
use futures_util::FutureExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use model::Networks;
use runtime::Lifecycle;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use crate::peer::Peer;
use crate::service::Service;
use crate::tls::Tls;
use connections::{Connection, Connections};
use limits::Limits;
use stream::Guarded;

/// The pause after a connection that could not be accepted, most likely for want of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// How long a client that was refused may go on sending: closing earlier could take the answer from it.
const LINGER: Duration = Duration::from_secs(2);

/// The grace period of an evicted connection, for a response that is being sent.
const EVICTION_GRACE: Duration = Duration::from_secs(1);

/// File descriptors for what is no connection: the store, the bus, SSH.
const OTHER_FILES: u64 = 1024;

/// What serves connections.
#[derive(Debug, Clone)]
pub struct Server {
    /// What answers.
    pub service: Service,
    /// Certificates; none: plain HTTP.
    pub tls: Option<Arc<Tls>>,
    /// What one client may take from the others.
    pub limits: Limits,
    /// Trusted proxies: they connect for many clients, and have no limit per source.
    pub proxies: Networks,
}

impl Server {
    /// Serves until the daemon is told to stop; requests under way are then answered.
    pub fn serve(self, listener: TcpListener, life: &Lifecycle) {
        make_room_for(self.limits.connections);
        let accepting = accept(Arc::new(self), listener, life.clone());
        life.spawn_critical("http", accepting);
    }

    async fn serve_connection(
        &self,
        tcp: TcpStream,
        address: SocketAddr,
        connection: &Connection,
        stopping: impl Future,
    ) {
        if let Err(error) = tcp.set_nodelay(true) {
            tracing::debug!(error = chain(&error), "no TCP_NODELAY");
        }
        let mut stopping = pin!(stopping);
        let Some(tls) = &self.tls else {
            return self.requests(tcp, Peer::from(address), connection, stopping).await;
        };
        let handshake = tokio::select! {
            _ = &mut stopping => return,
            () = connection.evicted() => return,
            handshake = timeout(self.limits.handshake, tls.accept(tcp)) => handshake,
        };
        match handshake {
            Ok(Ok((stream, certificate))) => {
                self.requests(stream, Peer { address, certificate }, connection, stopping).await;
            }
            Ok(Err(error)) => {
                tracing::debug!(peer.address = %address, error = chain(&error), "no TLS handshake");
            }
            Err(_) => tracing::debug!(peer.address = %address, "the TLS handshake takes too long"),
        }
    }

    /// Serves the requests of a connection.
    async fn requests<S>(
        &self,
        stream: S,
        peer: Peer,
        connection: &Connection,
        mut stopping: impl Future + Unpin,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let stream = Guarded::new(stream, &self.limits);
        let used = stream.used();
        let answer = service_fn(|mut request: Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer.clone()));
            let (busy, answer) = (connection.busy(), self.service.answer(request));
            answer.map(|answer| Ok::<_, Infallible>(busy.during(answer))).boxed()
        });
        let mut http = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.idle)
            .max_buf_size(self.limits.head_size)
            .serve_connection(TokioIo::new(stream), answer);
        let ended = tokio::select! {
            ended = poll_fn(|cx| http.poll_without_shutdown(cx)) => Some(ended),
            _ = &mut stopping => None,
            () = connection.evicted() => None,
        };
        let ended = match ended {
            Some(ended) => ended,
            // To the parser a connection without any request is not idle, but busy.
            None if !used.load(Ordering::Relaxed) => return,
            None => {
                Pin::new(&mut http).graceful_shutdown();
                let mut end = pin!(poll_fn(|cx| http.poll_without_shutdown(cx)));
                match timeout(EVICTION_GRACE, &mut end).await {
                    Ok(ended) => ended,
                    Err(_) if connection.is_evicted() && connection.is_idle() => return,
                    Err(_) => end.await,
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(peer.address = %peer.address, error = chain(&error), "a connection broke");
        }
        close(http.into_parts().io.into_inner()).await;
    }
}

async fn accept(server: Arc<Server>, listener: TcpListener, life: Lifecycle) {
    let connections = Connections::new(&server.limits, &server.proxies);
    let mut stopping = pin!(life.stopping());
    loop {
        let admitted = async {
            let (tcp, address) = next(&listener).await;
            (connections.admit(address.ip()).await, tcp, address)
        };
        let (connection, tcp, address) = tokio::select! {
            () = &mut stopping => return,
            admitted = admitted => admitted,
        };
        let Some(connection) = connection else {
            tracing::debug!(peer.address = %address, "connection rejected: too many connections of its source are busy");
            continue;
        };
        let (server, stopping) = (Arc::clone(&server), life.stopping());
        life.spawn("connection", async move {
            Box::pin(server.serve_connection(tcp, address, &connection, stopping)).await;
        });
    }
}

/// The next connection.
async fn next(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    let mut failing = false;
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::error!(error = chain(&error), "cannot accept a connection");
                }
                sleep(PAUSE).await;
            }
        }
    }
}

/// Says good-bye so that what was answered last arrives.
async fn close<S: AsyncRead + AsyncWrite + Unpin>(mut stream: Guarded<S>) {
    // Whoever does not listen any more misses nothing.
    let said = stream.shutdown().await;
    if let (Ok(()), Some(mut stream)) = (said, stream.into_unfinished()) {
        let mut rest = vec![0; 4096];
        let drain = async { while stream.read(&mut rest).await.is_ok_and(|count| count > 0) {} };
        drop(timeout(LINGER, drain).await);
    }
}

/// Lets the process have as many files open as that takes, where the system allows it.
fn make_room_for(connections: usize) {
    let wanted = OTHER_FILES.saturating_add(connections as u64);
    let mut limit = getrlimit(Resource::Nofile);
    let (Some(current), most) = (limit.current, limit.maximum.unwrap_or(u64::MAX)) else { return };
    if current >= wanted {
        return;
    }
    limit.current = Some(wanted.min(most));
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(error = chain(&error), "the limit of open files stays");
    }
    if most < wanted {
        tracing::warn!(most, wanted, "few files may be open: connections may have to wait");
    }
}
