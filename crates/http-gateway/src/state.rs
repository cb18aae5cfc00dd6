//! What handlers share.

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use bus::{Bus, Context};
use model::Networks;
use runtime::{Clock, Files, Lifecycle};
use storage_client::{Reads, StorageClient};
use tokio::sync::Mutex;

use crate::access::{Bindings, Tokens};
use crate::api::Api;
use crate::audit::Audit;
use crate::auth::Chain;
use crate::browser::Origin;
use crate::changes::Changes;
use crate::custodia::Custodia;
use crate::error::ApiError;
use crate::openapi::Document;
use crate::ports::Ports;
use crate::readiness::{Ground, Readiness};
use crate::request::RequestContext;
use crate::token_uses::TokenUses;
use crate::watching::Watching;
use crate::{Config, StartError};

/// What all requests share. A clone is one reference count: axum clones it for each layer and handler of each request.
#[derive(Debug, Clone)]
pub struct AppState(Arc<Shared>);

/// See [`AppState`].
#[derive(Debug)]
pub struct Shared {
    /// The services.
    pub bus: Bus,
    /// Records that several requests ask for at a time.
    pub reads: Option<Reads>,
    /// Who may ask.
    pub auth: Chain,
    /// The roles of principals on clusters.
    pub bindings: Arc<Bindings>,
    /// The API tokens.
    pub tokens: Arc<Tokens>,
    /// When API tokens were last used.
    pub token_uses: TokenUses,
    /// The public half of the server's own SSH key.
    pub public_key_file: Option<PathBuf>,
    /// Exact paths that authenticate by themselves.
    pub self_auths: Vec<String>,
    /// The keeper of secrets, where there is one.
    pub custodia: Option<Custodia>,
    /// Who is believed when they say for whom they ask.
    pub trusted_proxies: Networks,
    /// Origins whose cross-site requests are accepted.
    pub allowed_origins: Vec<Origin>,
    /// Who did what.
    pub audit: Audit,
    /// Those who watch operations.
    pub watching: Watching,
    /// Whether the API can serve.
    pub readiness: Readiness,
    /// The time.
    pub clock: Clock,
    /// The files that the configuration names.
    pub files: Files,
    /// The `OpenAPI` document.
    pub document: &'static LazyLock<Document>,
    /// Changes of clusters that take several transactions.
    pub changes: Changes,
    /// Held by the one who tries a change again after somebody else was faster.
    retrying: Arc<Mutex<()>>,
}

impl Deref for AppState {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl AppState {
    /// What the configuration says.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn new(
        ports: Ports,
        config: &Config,
        document: &'static LazyLock<Document>,
        lifecycle: &Lifecycle,
    ) -> Result<Self, StartError> {
        let Ports { bus, clock, audit, passwords, files } = ports;
        let plugins = &config.authentication_plugins;
        let auth = Chain::new(plugins, passwords, files.clone(), clock.clone(), lifecycle);
        let auth = auth.await.map_err(StartError::Auth)?;
        let custodia = config.custodia_socket_path.as_deref().map(Custodia::new).transpose();
        let retrying = Arc::default();
        let changes = Changes::new(&bus, &clock, &retrying, config.limits.request, lifecycle);
        Ok(Self(Arc::new(Shared {
            changes,
            reads: Reads::start(&bus, Context::service("gateway"), lifecycle),
            bindings: Arc::new(Bindings::new(&bus)),
            tokens: Arc::new(Tokens::new(&bus)),
            token_uses: TokenUses::new(&bus, &clock, lifecycle),
            bus,
            auth,
            public_key_file: config.ssh_public_key_file.clone(),
            self_auths: config.self_auths.clone(),
            custodia: custodia.map_err(StartError::Custodia)?,
            trusted_proxies: config.trusted_proxies.clone(),
            allowed_origins: config.allowed_origins.clone(),
            audit,
            watching: Watching::new(&config.limits, lifecycle),
            readiness: Readiness::default(),
            clock,
            files,
            document,
            retrying,
        })))
    }
}

impl Shared {
    /// What the checks of `/readyz` use, for this request.
    pub fn ground<'a>(&'a self, api: &'a Api) -> Ground<'a> {
        Ground { bus: &api.bus, context: &api.context.bus, audit: &self.audit, clock: &api.clock }
    }
}

impl FromRequestParts<AppState> for Api {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let context = RequestContext::of(&parts.extensions);
        let storage = StorageClient::new(state.bus.clone(), context.bus.clone())
            .with_reads(state.reads.clone())
            .with_refusal(context.refuses_storage.as_deref().cloned());
        let (bus, clock) = (state.bus.clone(), state.clock.clone());
        let retrying = Arc::clone(&state.retrying);
        Ok(Self { storage, context, bus, clock, retrying })
    }
}
