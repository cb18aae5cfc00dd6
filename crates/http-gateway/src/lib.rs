//! The REST gateway: turns calls of the API into requests on the bus.
//!
//! - [`config`][]: what it is told
//! - [`routes`][]: all endpoints, and the layers around them
//! - [`endpoint`][]: what an endpoint needs, declared beside its handler
//! - [`handlers`][]: a file per resource
//! - [`changes`][]: changes of clusters that take several transactions
//! - [`cluster_records`][]: the records of clusters and members
//! - [`idempotency`][]: what is asked for twice is started once
//! - [`metrics`][]: what is counted
//! - [`custodia`][]: the keeper of secrets behind it
//! - [`nodes`][]: what joining and leaving a cluster means for its container manager
//! - [`openapi`][]: the document about them, and a page of it for people
//! - [`params`][]: path parameters and bodies, checked before a handler runs
//! - [`request`][]: what is found out about a request before it is routed
//! - [`admission`][]: whether a request is let in
//! - [`access`][]: what principals may do, and where
//! - [`auth`][]: who asks
//! - [`principal`][]: who was accepted, and in which role
//! - [`peer`][], [`source`][], [`browser`][]: from where
//! - [`audit`][]: who did what
//! - [`error`][]: what a client is told when it does not work
//! - [`api`][]: the services, as one request uses them
//! - [`ports`][]: what a gateway depends on
//! - [`state`][]: what handlers share
//! - [`service`](mod@service): all of this as one service
//! - [`server`][]: sockets
//! - [`tls`][]: certificates from files
//! - [`token_uses`][]: when API tokens were last used
//! - [`watching`][]: those who watch operations

pub mod access;
pub mod admission;
pub mod api;
pub mod audit;
pub mod auth;
pub mod browser;
pub mod changes;
pub mod cluster_records;
pub mod config;
pub mod custodia;
pub mod endpoint;
pub mod error;
pub mod handlers;
pub mod idempotency;
pub mod metrics;
pub mod nodes;
pub mod openapi;
pub mod params;
pub mod peer;
pub mod ports;
pub mod principal;
pub mod readiness;
pub mod request;
pub mod routes;
pub mod server;
pub mod service;
pub mod source;
pub mod state;
pub mod tls;
pub mod token_uses;
pub mod watching;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bus::error::chain;
use bus::{Bus, Context, presence};
use model::{Network, NetworkType};
use runtime::Lifecycle;
use storage_client::{StorageClient, Transaction};
use tokio::net::TcpListener;

pub use config::Config;
pub use ports::Ports;
use server::Server;
pub use service::Service;
use state::AppState;
use tls::{Tls, TlsError};

/// The pause before the storage service is asked again.
const RETRY: Duration = Duration::from_millis(100);

/// How often users files are looked at.
const USERS_POLL: Duration = Duration::from_secs(2);

/// What is logged when users cannot be read again.
const AUTHENTICATION_STAYS: &str = "authentication stays as it was";

/// Why the gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An authentication plugin cannot be set up.
    #[error("cannot set up authentication")]
    Auth(#[source] auth::SetupError),
    /// Nothing can be measured.
    #[error("cannot set up metrics")]
    Metrics(#[source] metrics_exporter_prometheus::BuildError),
    /// The audit log cannot be opened.
    #[error("cannot open the audit log {}", path.display())]
    Audit {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no client for Custodia.
    #[error("cannot use the socket of Custodia")]
    Custodia(#[source] reqwest::Error),
    /// Certificates cannot be used.
    #[error("cannot set up TLS")]
    Tls(#[source] TlsError),
    /// The listener for `/healthz` and `/readyz`.
    #[error("cannot listen on {address} for the state of health")]
    HealthListen {
        /// Its address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// Serves the API on `listener` until the daemon is told to stop. Returns where the state of health is
/// served, if on a listener of its own.
///
/// # Errors
/// [`StartError`].
pub async fn run(
    bus: Bus,
    config: &Config,
    listener: TcpListener,
    lifecycle: &Lifecycle,
) -> Result<Option<SocketAddr>, StartError> {
    let service = service(Ports::system(bus, config)?, config, lifecycle).await?;
    listen(service, config, listener, lifecycle)
}

/// Starts the tasks of a gateway, which end with `lifecycle`; the whole gateway as a service that needs no socket.
///
/// # Errors
/// [`StartError`].
pub async fn service(
    ports: Ports,
    config: &Config,
    lifecycle: &Lifecycle,
) -> Result<Service, StartError> {
    let state = AppState::new(ports, config, &routes::DOCUMENT, lifecycle).await?;
    state.watching.listen(state.bus.clone());
    Arc::clone(&state.bindings).follow(lifecycle);
    Arc::clone(&state.tokens).follow(lifecycle);
    presence::answer_pings(&state.bus, "gateway", lifecycle);
    metrics::install(&state.clock, lifecycle).map_err(StartError::Metrics)?;
    let sweep = idempotency::sweep(state.bus.clone(), state.clock.clone(), lifecycle.clone());
    lifecycle.spawn("sweep", sweep);
    lifecycle.spawn("cluster changes", state.changes.clone().look_for_orphans());
    Ok(Service::new(state, &config.limits))
}

/// Serves a gateway on `listener`, and its state of health on a listener of its own if one is configured: where.
///
/// # Errors
/// [`StartError`].
pub fn listen(
    service: Service,
    config: &Config,
    listener: TcpListener,
    lifecycle: &Lifecycle,
) -> Result<Option<SocketAddr>, StartError> {
    let tls = config.tls_files().map(Tls::load).transpose().map_err(StartError::Tls)?;
    let tls = tls.map(Arc::new);
    let state = service.state().clone();
    lifecycle.spawn("reload", reload(state, tls.clone(), config.clone(), lifecycle.clone()));
    let health = config.health_listen.map(|address| {
        serve_health(service.health(), address, config, lifecycle)
            .map_err(|source| StartError::HealthListen { address, source })
    });
    let health = health.transpose()?;
    let (limits, proxies) = (config.limits.clone(), config.trusted_proxies.clone());
    let server = Server { service, tls, limits, proxies };
    server.serve(listener, lifecycle);
    Ok(health)
}

/// Serves the state of health in clear, whatever the API does and however many ask it.
fn serve_health(
    service: Service,
    address: SocketAddr,
    config: &Config,
    lifecycle: &Lifecycle,
) -> io::Result<SocketAddr> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let address = listener.local_addr()?;
    let (limits, proxies) = (config.limits.clone(), config.trusted_proxies.clone());
    Server { service, tls: None, limits, proxies }.serve(listener, lifecycle);
    tracing::info!(%address, "serving the state of health");
    Ok(address)
}

/// Makes the network `default`, of which clusters that name none are part, as soon as the storage
/// service can be asked; what an operator made of it stays.
pub fn keep_default_network(bus: Bus, lifecycle: &Lifecycle) {
    let stopping = lifecycle.stopping();
    let storage = StorageClient::new(bus, Context::service("gateway"));
    let make = async move {
        while let Err(error) = make_default_network(&storage, NetworkType::FlannelEtcd).await {
            tracing::debug!(error = chain(&error), "the default network is not made yet");
            tokio::time::sleep(RETRY).await;
        }
    };
    lifecycle.spawn("default network", async move {
        tokio::select! {
            () = stopping => {}
            () = make => {}
        }
    });
}

/// Makes the network `default` where it is missing.
///
/// # Errors
/// When the storage service does not answer.
pub async fn make_default_network(storage: &StorageClient, kind: NetworkType) -> bus::Result<()> {
    if storage.find::<Network>(Network::DEFAULT).await?.is_some() {
        return Ok(());
    }
    let name = Network::DEFAULT.to_owned();
    let network = Network { name, kind, options: serde_json::Map::new() };
    storage.transact(&Transaction::default().create(&network)?).await.map(drop)
}

/// At each reload, reads users and certificates, and opens the audit log again. A users file that has changed is read
/// without one.
async fn reload(state: AppState, tls: Option<Arc<Tls>>, config: Config, lifecycle: Lifecycle) {
    let mut reloads = lifecycle.reloads();
    let plugins = &config.authentication_plugins;
    let mut users = state.auth.users_files(plugins).await;
    loop {
        let reload = tokio::select! {
            () = lifecycle.stopping() => return,
            reload = reloads.next() => Some(reload),
            () = tokio::time::sleep(USERS_POLL) => None,
        };
        let before = std::mem::replace(&mut users, state.auth.users_files(plugins).await);
        if reload.is_some() || users != before {
            match (state.auth.reload(plugins, reload.is_none()).await, &reload) {
                (Ok(()), _) => tracing::info!("authentication is set up again"),
                (Err(error), Some(reload)) => reload.failed(AUTHENTICATION_STAYS, &error),
                (Err(error), None) => {
                    tracing::error!(error = chain(&error), "{AUTHENTICATION_STAYS}");
                }
            }
        }
        let Some(reload) = reload else { continue };
        if let Err(error) = state.audit.reopen().await {
            reload.failed("the audit log stays in the file it is in", &error);
        }
        match tls.as_ref().map(|tls| tls.reload()) {
            None => {}
            Some(Ok(())) => tracing::info!("certificates are read again"),
            Some(Err(error)) => reload.failed("certificates stay as they were", &error),
        }
    }
}
