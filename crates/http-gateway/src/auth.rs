//! Who asks, and whether they may: a chain of plugins, tried in order until one accepts, and a role.
//!
//! Nobody is refused with anything but 403, whatever is wrong with the credentials: the answer tells
//! nothing about which users exist.

mod check_queue;
mod client_cert;
mod http_basic;
pub mod passwords;
mod plugins;
mod setup;
mod throttle;
pub mod token;

use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;

use axum::http::HeaderMap;
use runtime::{Clock, Files, Lifecycle};
use storage_client::StorageClient;

use crate::error::ApiError;
use crate::peer::ClientCertificate;
use crate::principal::{Caller, Principal};
use crate::source;
use check_queue::{CheckQueue, Overloaded};
use client_cert::ClientCert;
use http_basic::HttpBasic;
use passwords::Passwords;
pub use plugins::{PluginConfig, SetupError};
use setup::set_up;
use throttle::Throttle;
use token::Token;
use tokio::sync::watch;

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
pub(crate) struct Shown<'a> {
    pub(crate) headers: &'a HeaderMap,
    pub(crate) certificate: Option<&'a ClientCertificate>,
}

impl Shown<'_> {
    fn has_password(&self) -> bool {
        http_basic::credentials(self.headers).is_some()
    }
}

/// Why somebody is not let in.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// What they are told.
    pub(crate) error: ApiError,
    /// The principal of the enrollment token, if its secret was right: such rejections are audited.
    pub(crate) claimed: Option<Principal>,
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

    /// The number of reloads until now.
    pub(crate) fn reloads(&self) -> u64 {
        *self.reloads.borrow()
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
    pub(crate) async fn admit(
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
