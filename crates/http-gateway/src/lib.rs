//! The REST gateway: turns calls of the API into requests on the bus.
//!
//! - [`config`][]: what it is told
//! - [`routes`][]: the whole API on one screen
//! - [`handlers`][]: a file per resource
//! - [`params`][]: path parameters and bodies, checked before a handler runs
//! - [`auth`][]: who asks
//! - [`error`][]: what a client is told when it does not work
//! - [`state`][]: what handlers share
//! - [`server`][]: sockets

pub mod auth;
pub mod config;
pub mod error;
pub mod handlers;
pub mod params;
pub mod routes;
pub mod server;
pub mod state;

use std::sync::Arc;

use service_core::{Bus, Lifecycle};
use tokio::net::TcpListener;

pub use config::Config;
use state::AppState;

/// Why the gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An authentication plugin cannot be set up.
    #[error("cannot set up authentication")]
    Auth(#[source] auth::SetupError),
    /// The server's public SSH key cannot be read.
    #[error("cannot read the server's public SSH key {}", path.display())]
    PublicKey {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Serves the API on `listener` until the daemon is told to stop.
///
/// # Errors
/// [`StartError`].
pub fn run(
    bus: Bus,
    config: &Config,
    listener: TcpListener,
    lifecycle: &Lifecycle,
) -> Result<(), StartError> {
    let auth = auth::Chain::new(&config.authentication_plugins).map_err(StartError::Auth)?;
    let public_key = match &config.ssh_public_key_file {
        None => None,
        Some(path) => {
            let failed = |source| StartError::PublicKey { path: path.clone(), source };
            Some(std::fs::read_to_string(path).map_err(failed)?.trim().to_owned())
        }
    };
    let state = AppState {
        bus,
        auth: Arc::new(auth),
        public_key: public_key.map(Arc::from),
        self_auths: config.self_auths.clone().into(),
    };
    server::serve(state, listener, lifecycle);
    Ok(())
}
