//! Sockets: serving the router until the daemon is told to stop.

use std::net::SocketAddr;

use axum::ServiceExt;
use axum::extract::Request;
use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use service_core::Lifecycle;
use service_core::error::chain;
use tokio::net::{TcpListener, TcpStream};
use tower::Layer as _;
use tower::util::MapRequestLayer;

use crate::peer::Peer;
use crate::routes;
use crate::state::AppState;

/// Serves until the daemon is told to stop; requests under way are then answered.
pub fn serve(state: AppState, listener: TcpListener, lifecycle: &Lifecycle) {
    let app = MapRequestLayer::new(routes::without_slash).layer(routes::router(state));
    let app = ServiceExt::<Request>::into_make_service_with_connect_info::<Peer>(app);
    let stopping = lifecycle.stopping();
    lifecycle.spawn_critical("http", async move {
        if let Err(error) =
            axum::serve(Prompt(listener), app).with_graceful_shutdown(stopping).await
        {
            tracing::error!(error = chain(&error), "the HTTP server failed");
        }
    });
}

/// Connections whose small answers go out at once.
struct Prompt(TcpListener);

impl Listener for Prompt {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        let (stream, peer) = Listener::accept(&mut self.0).await;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(error = chain(&error), "no TCP_NODELAY");
        }
        (stream, peer)
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

impl Connected<IncomingStream<'_, Prompt>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Prompt>) -> Self {
        Self::from(*stream.remote_addr())
    }
}
