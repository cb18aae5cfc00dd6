//! What handlers share, and what each of them is given.

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use serde::Serialize;
use serde_json::Value;
use service_core::bus::Context;
use service_core::storage::{Reads, Transaction};
use service_core::{Bus, Clock, Files, Lifecycle, Networks, StorageClient, random};
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};

use crate::audit::Audit;
use crate::auth::{Caller, Chain};
use crate::browser::Origin;
use crate::changes::Changes;
use crate::custodia::Custodia;
use crate::error::ApiError;
use crate::readiness::Readiness;
use crate::watching::Watching;
use crate::{Config, Ports, StartError};

/// How often a plan is made anew when others change its records meanwhile: those of other gateways, and
/// those who try for the first time. Each round at least one of those who compete gets through.
const COMMIT_ATTEMPTS: usize = 256;

/// How often a plan is made again that read records of which another request deleted one in between.
const STALE_ATTEMPTS: u32 = 8;

/// The first pause before that; each further one is twice as long, with jitter (50–100 %).
const STALE_PAUSE: Duration = Duration::from_millis(5);

/// How long a request waits for its turn to try again before it tries without: the one whose turn it is
/// may wait for a store that hangs.
const TURN: Duration = Duration::from_secs(2);

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
        lifecycle: &Lifecycle,
    ) -> Result<Self, StartError> {
        let Ports { bus, clock, audit, passwords, files } = ports;
        let auth = Chain::new(&config.authentication_plugins, passwords, files.clone(), lifecycle);
        let auth = auth.await.map_err(StartError::Auth)?;
        let custodia = config.custodia_socket_path.as_deref().map(Custodia::new).transpose();
        let retrying = Arc::default();
        let changes = Changes::new(&bus, &clock, &retrying, config.limits.request, lifecycle);
        Ok(Self(Arc::new(Shared {
            changes,
            reads: Reads::start(&bus, Context::service("gateway"), lifecycle),
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
            retrying,
        })))
    }
}

/// The services as one request sees them: every message carries who asks.
#[derive(Debug)]
pub struct Api {
    /// The storage service.
    pub storage: StorageClient,
    /// Who asks.
    pub context: Context,
    /// Who asks, and from where; always there on the server's own routes.
    pub caller: Option<Caller>,
    /// The other services.
    pub bus: Bus,
    /// The time.
    pub clock: Clock,
    pub(crate) retrying: Arc<Mutex<()>>,
}

impl FromRequestParts<AppState> for Api {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let context = parts.extensions.get::<Context>().cloned().unwrap_or_default();
        let storage =
            StorageClient::new(state.bus.clone(), context.clone()).with_reads(state.reads.clone());
        let caller = parts.extensions.get::<Caller>().cloned();
        let (bus, clock) = (state.bus.clone(), state.clock.clone());
        let retrying = Arc::clone(&state.retrying);
        Ok(Self { storage, context, caller, bus, clock, retrying })
    }
}

impl Api {
    /// Reads, decides and writes as one step: `plan` reads the records and answers what to write
    /// (checking the revisions it has seen) and what to return. When somebody else was faster it is
    /// asked again, one request after the other: hundreds of hosts that join one cluster at the same
    /// time would otherwise spoil each other's tries. A plan without anything to write just answers.
    ///
    /// # Errors
    /// Those of `plan`, and of the storage service.
    pub async fn commit<T, Plan>(&self, plan: impl Fn() -> Plan + Send) -> Result<T, ApiError>
    where
        T: Send,
        Plan: Future<Output = Result<(Transaction, T), ApiError>> + Send,
    {
        let mut turn = None;
        let mut stale = 0;
        for _ in 0..COMMIT_ATTEMPTS {
            let (transaction, answer) = match plan().await {
                Err(error) if error.is_stale() && stale < STALE_ATTEMPTS => {
                    let pause = STALE_PAUSE * 2_u32.pow(stale);
                    sleep(random::jitter(pause)).await;
                    stale += 1;
                    continue;
                }
                planned => planned?,
            };
            if transaction.saves.is_empty() && transaction.deletes.is_empty() {
                return Ok(answer);
            }
            match self.storage.transact(&transaction).await {
                Ok(_) => return Ok(answer),
                Err(error) if !error.is_conflict() => return Err(error.into()),
                Err(_) if turn.is_some() => {}
                Err(_) => turn = timeout(TURN, self.retrying.lock()).await.ok(),
            }
        }
        Err(ApiError::unavailable("others keep changing the same records: try again"))
    }

    /// Asks another service.
    ///
    /// # Errors
    /// The service's own.
    pub async fn request(
        &self,
        key: &str,
        params: &(impl Serialize + Sync),
    ) -> Result<Value, ApiError> {
        Ok(self.bus.request(key, params, &self.context).await?)
    }
}
