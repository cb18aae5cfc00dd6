//! Sockets: serving the router until the daemon is told to stop.

use std::net::SocketAddr;

use axum::ServiceExt;
use axum::extract::Request;
use service_core::Lifecycle;
use service_core::error::chain;
use tokio::net::TcpListener;
use tower::Layer as _;
use tower::util::MapRequestLayer;

use crate::routes;
use crate::state::AppState;

/// Serves until the daemon is told to stop; requests under way are then answered.
pub fn serve(state: AppState, listener: TcpListener, lifecycle: &Lifecycle) {
    let app = MapRequestLayer::new(routes::without_slash).layer(routes::router(state));
    let app = ServiceExt::<Request>::into_make_service_with_connect_info::<SocketAddr>(app);
    let stopping = lifecycle.stopping();
    lifecycle.spawn_critical("http", async move {
        let listener = axum::serve::ListenerExt::tap_io(listener, |stream| {
            // Answers are small: each goes out at once.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(error = chain(&error), "no TCP_NODELAY");
            }
        });
        if let Err(error) = axum::serve(listener, app).with_graceful_shutdown(stopping).await {
            tracing::error!(error = chain(&error), "the HTTP server failed");
        }
    });
}
