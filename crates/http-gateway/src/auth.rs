//! Who asks, and whether they may: a chain of plugins, tried in order until one accepts, and a role.
//!
//! Nobody is refused with anything but 403, whatever is wrong with the credentials: the answer tells
//! nothing about which users exist.

mod check_queue;
mod client_cert;
mod http_basic;
pub mod passwords;
pub mod principal;
mod setup;
mod throttle;
pub mod token;

use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;

use axum::extract::{MatchedPath, Request};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use service_core::bus::Context;
use service_core::{Clock, Files, Lifecycle, StorageClient};

use crate::audit::Entry;
use crate::browser;
use crate::error::ApiError;
use crate::handlers::{health, secrets};
use crate::peer::{ClientCertificate, Peer};
use crate::source;
use crate::state::AppState;
use check_queue::{CheckQueue, Overloaded};
use client_cert::ClientCert;
use http_basic::HttpBasic;
use passwords::Passwords;
pub use principal::{Principal, Role};
use setup::set_up;
pub use setup::{PluginConfig, SetupError};
use throttle::Throttle;
use token::Token;
use tokio::sync::watch;

/// Paths that tell nothing and need nobody.
pub const OPEN: [&str; 4] = [HEALTH[0], HEALTH[1], crate::openapi::DOCS_PATH, crate::openapi::PATH];

/// Paths for load balancers, some of which send no `Host`.
const HEALTH: [&str; 2] = ["/healthz", "/readyz"];

/// The most characters of a rejected user name that are logged.
const LOGGED_NAME_LENGTH: usize = 64;

/// `Retry-After` of a log-in that found the queue of checks full, in seconds.
const OVERLOAD_RETRY_AFTER: u64 = 5;

/// The plugins, and the memory of failures.
#[derive(Debug)]
pub struct Chain {
    passwords: Passwords,
    files: Files,
    plugins: RwLock<Arc<[Plugin]>>,
    throttle: Throttle,
    /// Admits as many password checks at a time as there are processors.
    checks: CheckQueue,
    /// The number of reloads: a principal that was accepted before the last one may have been removed.
    reloads: watch::Sender<u64>,
}

#[derive(Debug)]
enum Plugin {
    HttpBasic(Box<HttpBasic>),
    ClientCert(ClientCert),
}

impl Plugin {
    fn has_users(&self) -> bool {
        match self {
            Self::HttpBasic(basic) => basic.has_users(),
            // Every certificate of an authority may be a user's.
            Self::ClientCert(_) => true,
        }
    }
}

/// What a request shows of who sends it.
#[derive(Debug, Clone, Copy)]
struct Shown<'a> {
    headers: &'a HeaderMap,
    certificate: Option<&'a ClientCertificate>,
}

impl Shown<'_> {
    fn has_password(&self) -> bool {
        http_basic::credentials(self.headers).is_some()
    }
}

/// Why somebody is not let in.
#[derive(Debug)]
struct Refusal {
    /// What they are told.
    error: ApiError,
    /// The principal of the enrollment token, if its secret was right: such rejections are audited.
    claimed: Option<Principal>,
    /// It may have been a guess.
    counts: bool,
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self { error, claimed: None, counts: false }
    }
}

impl Chain {
    /// Sets the plugins up.
    ///
    /// # Errors
    /// [`SetupError`].
    pub async fn new(
        configs: &[PluginConfig],
        passwords: Passwords,
        files: Files,
        lifecycle: &Lifecycle,
    ) -> Result<Self, SetupError> {
        let plugins = set_up(configs, passwords, &files).await?;
        let (plugins, throttle) = (RwLock::new(plugins), Throttle::default());
        let concurrency = thread::available_parallelism().map_or(1, usize::from);
        let checks = CheckQueue::new(concurrency, lifecycle.clone());
        let reloads = watch::Sender::new(0);
        Ok(Self { passwords, files, plugins, throttle, checks, reloads })
    }

    /// Reads the files that the plugins' configurations name again; whoever was accepted is asked anew.
    ///
    /// # Errors
    /// [`SetupError`]; everything is then as it was.
    pub async fn reload(&self, configs: &[PluginConfig]) -> Result<(), SetupError> {
        let plugins = set_up(configs, self.passwords, &self.files).await?;
        *self.plugins.write().unwrap_or_else(PoisonError::into_inner) = plugins;
        self.reloads.send_modify(|count| *count += 1);
        Ok(())
    }

    /// Whether there is a user who could log in.
    pub fn has_users(&self) -> bool {
        self.plugins().iter().any(Plugin::has_users)
    }

    /// The contents of the users files; `None` for one that cannot be read.
    pub async fn users_files(&self, configs: &[PluginConfig]) -> Vec<Option<String>> {
        let mut contents = Vec::new();
        for path in configs.iter().filter_map(PluginConfig::users_file) {
            contents.push(self.files.read_to_string(path).await.ok());
        }
        contents
    }

    /// Resolves when `caller` has to authenticate again, because the plugins were reloaded.
    pub fn outdated(&self, caller: &Caller) -> impl Future<Output = ()> + Send + use<> {
        let (mut reloads, accepted) = (self.reloads.subscribe(), caller.reloads);
        async move {
            if reloads.wait_for(|count| *count != accepted).await.is_err() {
                // The sender is dropped: the gateway stops.
                std::future::pending::<()>().await;
            }
        }
    }

    fn plugins(&self) -> Arc<[Plugin]> {
        Arc::clone(&self.plugins.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The principal that was accepted within the last hour with the same credentials. A certificate that would be accepted
    /// ends the search: what stands behind it has no turn.
    fn remembered(&self, shown: Shown<'_>) -> Option<Principal> {
        for plugin in &*self.plugins() {
            match plugin {
                Plugin::HttpBasic(basic) => {
                    let accepted = basic.remembered(shown.headers);
                    if accepted.is_some() {
                        return accepted;
                    }
                }
                Plugin::ClientCert(cert) => {
                    if cert.accept(shown.certificate).is_some() {
                        return None;
                    }
                }
            }
        }
        None
    }

    /// The principal of the first plugin that accepts, and whether a password was rejected before. With `throttled`, no
    /// password is checked.
    async fn first(
        &self,
        shown: Shown<'_>,
        source: IpAddr,
        throttled: bool,
    ) -> Result<Option<(Principal, bool)>, Overloaded> {
        let (mut failed, mut overloaded) = (false, false);
        for plugin in &*self.plugins() {
            let accepted = match plugin {
                Plugin::HttpBasic(_) if throttled => None,
                Plugin::HttpBasic(basic) => {
                    let checked = basic.authenticate(shown.headers, source, &self.checks).await;
                    overloaded |= checked.is_err();
                    failed |= checked == Ok(None) && shown.has_password();
                    checked.ok().flatten()
                }
                Plugin::ClientCert(cert) => cert.accept(shown.certificate),
            };
            if let Some(principal) = accepted {
                return Ok(Some((principal, failed)));
            }
        }
        if overloaded { Err(Overloaded) } else { Ok(None) }
    }

    /// Why a certificate is accepted by no plugin, if it is for want of a role.
    fn lacking_role(&self, shown: Shown<'_>) -> Option<String> {
        self.plugins().iter().find_map(|plugin| match plugin {
            Plugin::ClientCert(cert) => cert.refusal(shown.certificate),
            Plugin::HttpBasic(_) => None,
        })
    }

    /// Who asks; else the answer to them. Guessing is slowed down: what was accepted before is not.
    async fn admit(
        &self,
        shown: Shown<'_>,
        source: IpAddr,
        (storage, clock): (&StorageClient, &Clock),
    ) -> Result<Principal, Refusal> {
        if let Some(principal) = self.remembered(shown) {
            return Ok(principal);
        }
        // Boxed: it is large, and seldom needed.
        Box::pin(self.authenticate(shown, source, (storage, clock))).await
    }

    async fn authenticate(
        &self,
        shown: Shown<'_>,
        source: IpAddr,
        (storage, clock): (&StorageClient, &Clock),
    ) -> Result<Principal, Refusal> {
        let token = Token::of(shown.headers);
        let claimed = match http_basic::credentials(shown.headers) {
            Some((user, _)) => user,
            None => token.as_ref().map(|_| token::USER.to_owned()).unwrap_or_default(),
        };
        let limited = source::of_limits(source);
        let wait = self.throttle.refused_for(limited, &claimed);
        let admitted = match (&token, wait) {
            (Some(token), None) => token.check(storage, clock, source).await,
            _ => match self.first(shown, limited, wait.is_some()).await {
                Ok(Some((principal, false))) => return Ok(principal),
                // A certificate has opened the door, but a password was tried at it.
                Ok(Some((principal, true))) => {
                    self.throttle.failed(limited, &claimed);
                    return Ok(principal);
                }
                Ok(None) => Err(refusal(wait, self.lacking_role(shown))),
                Err(Overloaded) => Err(too_many(
                    "too many log-ins are waiting for their check: try again",
                    OVERLOAD_RETRY_AFTER,
                )),
            },
        };
        if let Err(Refusal { counts: true, .. }) = admitted {
            self.throttle.failed(limited, &claimed);
            metrics::counter!("commissaire_auth_failures_total").increment(1);
            let user: String = claimed.chars().take(LOGGED_NAME_LENGTH).collect();
            tracing::info!(source.ip = %source, user, "refused: not authenticated");
        }
        admitted
    }
}

fn too_many(detail: &str, seconds: u64) -> Refusal {
    metrics::counter!("commissaire_auth_throttled_total").increment(1);
    ApiError::too_many(detail, seconds).into()
}

fn refusal(wait: Option<u64>, lacking_role: Option<String>) -> Refusal {
    if let Some(seconds) = wait {
        return too_many("too many failed log-ins from this address: wait", seconds);
    }
    let unknown = || "give a user name and password that this server knows".to_owned();
    let detail = lacking_role.unwrap_or_else(unknown);
    Refusal { error: ApiError::forbidden(detail), claimed: None, counts: true }
}

/// Who sends a request, and from where.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The client's address: behind trusted proxies, not theirs.
    pub source: IpAddr,
    /// Who was accepted; nobody on paths that authenticate by themselves.
    pub principal: Option<Principal>,
    /// The number of reloads before the authentication.
    reloads: u64,
}

/// Lets a request through with its [`Caller`], or refuses it, and keeps the audit log.
pub fn require(
    state: AppState,
    peer: Peer,
    request: Request,
    next: Next,
) -> BoxFuture<'static, Response> {
    let path = request.uri().path();
    if !HEALTH.contains(&path)
        && let Err(refused) = browser::check_host(request.headers())
    {
        return ready(refused.into_response()).boxed();
    }
    let needs_role = health::is_verbose(request.uri().query()) && path == HEALTH[1];
    if OPEN.contains(&path) && !needs_role {
        return next.run(request).boxed();
    }
    let proxied = state.trusted_proxies.contains(peer.address.ip().to_canonical());
    let origins = &state.allowed_origins;
    if let Err(refused) = browser::check_origin(request.headers(), proxied, origins) {
        return ready(refused.into_response()).boxed();
    }
    let (mut parts, body) = request.into_parts();
    async move {
        let source = source::client(peer.address.ip(), &parts.headers, &state.trusted_proxies);
        let reloads = *state.auth.reloads.borrow();
        let by_itself = by_itself(&state, &parts);
        let (principal, refusal) =
            if by_itself { (None, None) } else { authorize(&state, &peer, source, &parts).await };
        let entry = entry(&state, source, principal.as_ref(), by_itself, &parts);
        if let (Some(context), Some(principal)) =
            (parts.extensions.get_mut::<Context>(), &principal)
        {
            context.principal.clone_from(&principal.name);
        }
        parts.extensions.insert(Caller { source, principal, reloads });
        let answer = async {
            match refusal {
                Some(error) => error.into_response(),
                None => next.run(Request::from_parts(parts, body)).await,
            }
        };
        match entry {
            Some(entry) => Box::pin(state.audit.keep(entry, answer)).await,
            None => answer.await,
        }
    }
    .boxed()
}

/// Whether a path authenticates by itself: exactly those that are configured, and with the secrets also
/// what is below them.
fn by_itself(state: &AppState, parts: &Parts) -> bool {
    let is_secret = route_of(parts) == Some(secrets::ROUTE);
    let is = |open: &String| open == parts.uri.path() || (is_secret && open == secrets::PATH);
    state.self_auths.iter().any(is)
}

/// Who sends a request, as far as that is known, and the answer to them if they may not.
async fn authorize(
    state: &AppState,
    peer: &Peer,
    source: IpAddr,
    parts: &Parts,
) -> (Option<Principal>, Option<ApiError>) {
    let context = parts.extensions.get::<Context>().cloned().unwrap_or_default();
    let storage = StorageClient::new(state.bus.clone(), context);
    let shown = Shown { headers: &parts.headers, certificate: peer.certificate.as_ref() };
    let principal = match state.auth.admit(shown, source, (&storage, &state.clock)).await {
        Ok(principal) => principal,
        Err(refusal) => return (refusal.claimed, Some(refusal.error)),
    };
    let (method, route) = (&parts.method, route_of(parts));
    let refusal = (!principal::may(principal.role, method, route)).then(|| {
        ApiError::forbidden(match principal.role {
            Role::Enroll => "the role enroll may register hosts, and nothing else".to_owned(),
            role => format!(
                "this needs the role {}, and {} has the role {role}",
                principal::needed(method, route),
                principal.name
            ),
        })
    });
    (Some(principal), refusal)
}

/// The line of the audit log, if a request is to have one: a change, a reading of credentials, and
/// whatever somebody tries who may only register hosts. Strangers have none, or they could fill the disk.
fn entry(
    state: &AppState,
    source: IpAddr,
    principal: Option<&Principal>,
    by_itself: bool,
    parts: &Parts,
) -> Option<Entry> {
    let is_enrolling = principal.is_some_and(|principal| principal.role == Role::Enroll);
    let is_known = principal.is_some() || by_itself;
    let is_audited = is_known && principal::is_audited(&parts.method, route_of(parts));
    (is_enrolling || is_audited).then(|| Entry {
        time: state.clock.stamp(),
        principal: principal.map(|principal| principal.name.clone()),
        role: principal.map(|principal| principal.role),
        source,
        request_id: parts
            .extensions
            .get::<Context>()
            .map(|c| c.request_id.clone())
            .unwrap_or_default(),
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        status: None,
        operation: None,
    })
}

/// The path of a request as the router has it; `None` where no route leads.
fn route_of(parts: &Parts) -> Option<&str> {
    parts.extensions.get::<MatchedPath>().map(MatchedPath::as_str)
}
