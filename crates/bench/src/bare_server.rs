//! The least that can answer: an axum handler that has the JSON in memory, on the runtime that
//! commissaire has.

use std::io::Read as _;
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::Context as _;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;

/// As many threads as commissaire has at most.
const WORKERS: usize = 4;

/// The path of the host that it answers; any name will do.
const PATH: &str = "/api/v0/host/{address}";

/// Serves the content of a file on a port of the loopback address, until its standard input ends: so it
/// does not outlive whoever started it.
///
/// # Errors
/// When it cannot serve.
pub fn run(body: &Path, port: u16) -> anyhow::Result<()> {
    let body = std::fs::read(body).with_context(|| format!("cannot read {}", body.display()))?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.min(WORKERS))
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(serve(body.into(), port))
}

async fn serve(body: Bytes, port: u16) -> anyhow::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.context("cannot listen")?;
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let app = Router::new().route(PATH, get(answer)).with_state(body);
    let parent = tokio::task::spawn_blocking(|| std::io::stdin().read(&mut [0]));
    tokio::select! {
        served = axum::serve(listener, app) => served.context("cannot serve"),
        _ = parent => Ok(()),
    }
}

async fn answer(State(body): State<Bytes>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body)
}
