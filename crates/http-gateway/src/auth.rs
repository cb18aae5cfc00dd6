//! Who asks: a chain of plugins, tried in order until one accepts.
//!
//! Nobody is refused with anything but 403, whatever is wrong with the credentials: the answer tells
//! nothing about which users exist.

mod http_basic;
mod throttle;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use axum::extract::{ConnectInfo, Request, State};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::{Map, Value};
use service_core::bus::Context;

use crate::error::ApiError;
use crate::peer::Peer;
use crate::state::AppState;
use http_basic::HttpBasic;
use throttle::Throttle;

/// The prefix that names of the original have.
const ORIGINAL_PREFIX: &str = "commissaire_http.authentication.";

/// Paths that tell nothing and need nobody.
pub const OPEN: [&str; 4] =
    ["/healthz", "/readyz", crate::openapi::DOCS_PATH, crate::openapi::PATH];

/// A plugin, as the configuration names it.
#[derive(Debug, Clone, Deserialize)]
pub struct PluginConfig {
    /// Its name, with or without the original's prefix.
    pub name: String,
    /// What it needs to know.
    #[serde(flatten)]
    pub options: Map<String, Value>,
}

/// Why a plugin cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// There is no such plugin.
    #[error("there is no authentication plugin {0:?}: known is httpbasicauth")]
    Unknown(String),
    /// An option is missing or wrong.
    #[error("the authentication plugin {plugin} is told something wrong: {message}")]
    Option {
        /// The plugin.
        plugin: &'static str,
        /// What is wrong, and what to say.
        message: String,
    },
    /// A file cannot be read.
    #[error("cannot read the users file {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Who was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal(pub String);

/// The plugins, and the memory of failures.
#[derive(Debug)]
pub struct Chain {
    plugins: RwLock<Arc<[Plugin]>>,
    throttle: Throttle,
}

#[derive(Debug)]
enum Plugin {
    HttpBasic(HttpBasic),
}

impl Chain {
    /// Sets the plugins up.
    ///
    /// # Errors
    /// [`SetupError`].
    pub fn new(configs: &[PluginConfig]) -> Result<Self, SetupError> {
        let plugins = set_up(configs)?;
        if plugins.is_empty() {
            tracing::warn!("no authentication plugin is configured: every request will be refused");
        }
        Ok(Self { plugins: RwLock::new(plugins), throttle: Throttle::default() })
    }

    /// Reads the files that the plugins' configurations name again; whoever was accepted is asked anew.
    ///
    /// # Errors
    /// [`SetupError`]; everything is then as it was.
    pub fn reload(&self, configs: &[PluginConfig]) -> Result<(), SetupError> {
        let plugins = set_up(configs)?;
        *self.plugins.write().unwrap_or_else(PoisonError::into_inner) = plugins;
        Ok(())
    }

    fn plugins(&self) -> Arc<[Plugin]> {
        Arc::clone(&self.plugins.read().unwrap_or_else(PoisonError::into_inner))
    }
    /// Whoever was accepted a moment ago with the same credentials.
    async fn remembered(&self, headers: &HeaderMap) -> Option<Principal> {
        for Plugin::HttpBasic(basic) in &*self.plugins() {
            let accepted = basic.remembered(headers).await;
            if accepted.is_some() {
                return accepted;
            }
        }
        None
    }

    async fn authenticate(&self, headers: &HeaderMap) -> Option<Principal> {
        for Plugin::HttpBasic(basic) in &*self.plugins() {
            let accepted = basic.authenticate(headers).await;
            if accepted.is_some() {
                return accepted;
            }
        }
        None
    }

    /// Who asks; else the answer to them. Guessing is slowed down: what was accepted before is not.
    async fn admit(&self, peer: IpAddr, headers: &HeaderMap) -> Result<Principal, ApiError> {
        if let Some(principal) = self.remembered(headers).await {
            return Ok(principal);
        }
        let claimed = http_basic::claimed_user(headers);
        if let Some(seconds) = self.throttle.refused_for(peer, &claimed) {
            let detail = "too many failed log-ins from this address: wait";
            return Err(ApiError::too_many(detail, seconds));
        }
        self.authenticate(headers).await.ok_or_else(|| {
            self.throttle.failed(peer, &claimed);
            tracing::info!(peer.ip = %peer, user = claimed, "refused: not authenticated");
            ApiError::forbidden("give a user name and password that this server knows")
        })
    }
}

fn set_up(configs: &[PluginConfig]) -> Result<Arc<[Plugin]>, SetupError> {
    let plugin = |config: &PluginConfig| {
        let name = config.name.strip_prefix(ORIGINAL_PREFIX).unwrap_or(&config.name);
        match name {
            "httpbasicauth" => HttpBasic::new(&config.options).map(Plugin::HttpBasic),
            _ => Err(SetupError::Unknown(config.name.clone())),
        }
    };
    configs.iter().map(plugin).collect()
}

/// The middleware: lets a request through with its principal, or refuses it.
pub async fn require(
    State(state): State<AppState>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path();
    if OPEN.contains(&path) || state.self_auths.iter().any(|open| open == path) {
        return next.run(request).await;
    }
    let Principal(name) = match state.auth.admit(peer.address.ip(), request.headers()).await {
        Ok(principal) => principal,
        Err(refusal) => return refusal.into_response(),
    };
    if let Some(context) = request.extensions_mut().get_mut::<Context>() {
        context.principal = name;
    }
    next.run(request).await
}
