//! Who asks, and whether they may: a chain of plugins, tried in order until one accepts, and a role.
//!
//! Nobody is refused with anything but 403, whatever is wrong with the credentials: the answer tells
//! nothing about which users exist. Only a bearer token that is not accepted is a 401, by which its client renews it.

pub mod api_token;
mod check_queue;
mod client_cert;
mod http_basic;
mod logins;
pub mod passwords;
mod plugins;
mod provider;
mod refusal;
mod role_mapping;
mod setup;
mod throttle;
pub mod token;

use std::future::pending;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;

use axum::http::HeaderMap;
use runtime::{Clock, Files, Lifecycle};
use storage_client::StorageClient;

use crate::access::bindings::Index;
use crate::error::ApiError;
use crate::peer::ClientCertificate;
use crate::principal::{Caller, Principal};
use crate::source;
use check_queue::CheckQueue;
use client_cert::ClientCert;
use http_basic::HttpBasic;
pub use logins::{Logins, ProviderLogin};
use passwords::Passwords;
pub use plugins::{PluginConfig, SetupError};
use provider::{Found, Needs, Provider, bearer, keystone_token};
pub(crate) use refusal::Refusal;
use refusal::{Refused, refusal, too_many};
use setup::set_up;
use throttle::Throttle;
use token::Token;
use tokio::sync::watch;
use tokio::time::sleep;

/// The most characters of a rejected user name that are logged.
const LOGGED_NAME_LENGTH: usize = 64;

/// The user name under which the failures of tokens are counted. A user name of HTTP Basic has no colon.
const TOKEN: &str = ":token";

/// The plugins, and the memory of failures.
#[derive(Debug)]
pub struct Chain {
    passwords: Passwords,
    files: Files,
    clock: Clock,
    lifecycle: Lifecycle,
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
    Provider(Arc<Provider>),
}

impl Plugin {
    fn has_users(&self) -> bool {
        match self {
            Self::HttpBasic(basic) => basic.has_users(),
            // Every certificate of an authority may be a user's, and so may each user of a provider.
            Self::ClientCert(_) | Self::Provider(_) => true,
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

impl Chain {
    /// Sets the plugins up.
    ///
    /// # Errors
    /// [`SetupError`].
    pub async fn new(
        configs: &[PluginConfig],
        passwords: Passwords,
        files: Files,
        clock: Clock,
        lifecycle: &Lifecycle,
    ) -> Result<Self, SetupError> {
        let needs = Needs { files: &files, clock: &clock, lifecycle };
        let plugins = set_up(configs, passwords, needs, &[]).await?;
        let (plugins, throttle) = (RwLock::new(plugins), Throttle::default());
        let concurrency = thread::available_parallelism().map_or(1, usize::from);
        let checks = CheckQueue::new(concurrency, lifecycle.clone());
        let reloads = watch::Sender::new(0);
        let lifecycle = lifecycle.clone();
        Ok(Self { passwords, files, clock, lifecycle, plugins, throttle, checks, reloads })
    }

    /// Reads the files that the plugins' configurations name again; who was accepted before has to authenticate again. With
    /// `keeps_providers`, what is known of identity providers stays, such as their keys.
    ///
    /// # Errors
    /// [`SetupError`]; everything is then as it was.
    pub async fn reload(
        &self,
        configs: &[PluginConfig],
        keeps_providers: bool,
    ) -> Result<(), SetupError> {
        let before = self.plugins();
        let known = if keeps_providers { &before[..] } else { &[] };
        let needs = Needs { files: &self.files, clock: &self.clock, lifecycle: &self.lifecycle };
        let plugins = set_up(configs, self.passwords, needs, known).await?;
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

    /// Resolves when `caller` has to authenticate again, because the plugins were reloaded or the credentials have expired.
    pub fn outdated(&self, caller: &Caller) -> impl Future<Output = ()> + Send + use<> {
        let (mut reloads, accepted) = (self.reloads.subscribe(), caller.reloads);
        let until = caller.principal.as_ref().and_then(|principal| principal.until);
        let left = until.map(|until| until.duration_since(self.clock.wall()));
        async move {
            let reloaded = async {
                if reloads.wait_for(|count| *count != accepted).await.is_err() {
                    // The sender is dropped: the gateway stops.
                    pending::<()>().await;
                }
            };
            let expired = async {
                match left {
                    Some(left) => sleep(left.try_into().unwrap_or_default()).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = reloaded => {}
                () = expired => {}
            }
        }
    }

    fn plugins(&self) -> Arc<[Plugin]> {
        Arc::clone(&self.plugins.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The principal that was accepted within the last hour with the same credentials. A certificate that would be accepted
    /// ends the search: what stands behind it has no turn.
    fn remembered(&self, shown: Shown<'_>, bindings: &Index) -> Option<Principal> {
        for plugin in &*self.plugins() {
            match plugin {
                Plugin::HttpBasic(basic) => {
                    let accepted = basic.remembered(shown.headers);
                    if let Some(principal) = accepted {
                        return Some(bindings.bind(principal));
                    }
                }
                Plugin::ClientCert(cert) => {
                    if cert.accept(shown.certificate, bindings).is_some() {
                        return None;
                    }
                }
                Plugin::Provider(provider) => {
                    let accepted = provider.remembered(shown.headers, bindings);
                    if accepted.is_some() {
                        return accepted;
                    }
                }
            }
        }
        None
    }

    /// The principal of the first plugin that accepts, and whether a password was rejected before. With `throttled`, no
    /// password is checked, and no provider is asked.
    async fn first(
        &self,
        shown: Shown<'_>,
        source: IpAddr,
        throttled: bool,
        bindings: &Index,
    ) -> Result<(Principal, bool), Refused> {
        let mut refused = Refused::default();
        let plugins = self.plugins();
        // A token that names its issuer is shown to no other provider.
        let is_named = |plugin: &Plugin| matches!(plugin, Plugin::Provider(provider) if provider.is_named_by(shown.headers));
        let names_one = plugins.iter().any(is_named);
        for plugin in &*plugins {
            let accepted = match plugin {
                Plugin::Provider(_) if names_one && !is_named(plugin) => None,
                Plugin::HttpBasic(_) | Plugin::Provider(_) if throttled => None,
                Plugin::HttpBasic(basic) => {
                    let checked = basic.authenticate(shown.headers, source, &self.checks).await;
                    refused.overloaded |= checked.is_err();
                    refused.is_wrong_password |= checked == Ok(None) && shown.has_password();
                    checked.ok().flatten().map(|principal| bindings.bind(principal))
                }
                Plugin::ClientCert(cert) => {
                    let accepted = cert.accept(shown.certificate, bindings);
                    if accepted.is_none()
                        && let Some(refusal) = cert.refusal(shown.certificate)
                    {
                        refused.is_unavailable |= bindings.is_unknown();
                        refused.without_role.get_or_insert(refusal);
                    }
                    accepted
                }
                Plugin::Provider(provider) => {
                    match provider.identify(shown.headers, bindings).await {
                        None => None,
                        Some(Found::Accepted(principal)) => Some(principal),
                        Some(Found::WithoutRole(why)) => {
                            refused.without_role.get_or_insert(why);
                            None
                        }
                        Some(Found::Rejected) => {
                            refused.is_wrong_password |= shown.has_password();
                            None
                        }
                        Some(Found::Unavailable) => {
                            refused.is_unavailable = true;
                            None
                        }
                    }
                }
            };
            if let Some(principal) = accepted {
                return Ok((principal, refused.is_wrong_password));
            }
        }
        Err(refused)
    }

    /// Who asks; else the answer to them. Guessing is slowed down: what was accepted before is not.
    pub(crate) async fn admit(
        &self,
        shown: Shown<'_>,
        source: IpAddr,
        storage: &StorageClient,
        bindings: &Index,
    ) -> Result<Principal, Refusal> {
        if let Some(principal) = self.remembered(shown, bindings) {
            return Ok(principal);
        }
        // Boxed: it is large, and seldom needed.
        Box::pin(self.authenticate(shown, source, storage, bindings)).await
    }

    async fn authenticate(
        &self,
        shown: Shown<'_>,
        source: IpAddr,
        storage: &StorageClient,
        bindings: &Index,
    ) -> Result<Principal, Refusal> {
        let token = Token::of(shown.headers);
        let claimed = match http_basic::credentials(shown.headers) {
            Some((user, _)) => user,
            None if token.is_some() => token::USER.to_owned(),
            None if bearer(shown.headers).or(keystone_token(shown.headers)).is_some() => {
                TOKEN.to_owned()
            }
            None => String::new(),
        };
        let limited = source::of_limits(source);
        let wait = self.throttle.refused_for(limited, &claimed);
        let mut admitted = match (&token, wait) {
            (Some(token), None) => token.check(storage, &self.clock, source).await,
            _ => match self.first(shown, limited, wait.is_some(), bindings).await {
                Ok((principal, false)) => return Ok(principal),
                // A certificate has opened the door, but a password was tried at it.
                Ok((principal, true)) => {
                    self.throttle.failed(limited, &claimed);
                    return Ok(principal);
                }
                Err(refused) => Err(refusal(wait, refused)),
            },
        };
        if let Err(refusal) = &mut admitted
            && refusal.counts
        {
            self.reject(refusal, bearer(shown.headers).is_some(), &claimed, source);
        }
        admitted
    }

    /// Counts and logs what may have been a guess. A rejected bearer token is a 401.
    fn reject(&self, refusal: &mut Refusal, is_bearer: bool, claimed: &str, source: IpAddr) {
        if is_bearer {
            refusal.error = ApiError::unauthorized(refusal.error.detail());
        }
        self.throttle.failed(source::of_limits(source), claimed);
        metrics::counter!("commissaire_auth_failures_total").increment(1);
        let user: String = claimed.chars().take(LOGGED_NAME_LENGTH).collect();
        tracing::info!(source.ip = %source, user, "refused: not authenticated");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt as _;
    use identity_providers::Identity;

    use super::*;
    use crate::access::Rights;
    use crate::principal::Role;

    #[tokio::test(start_paused = true)]
    async fn caller_authenticates_again_when_the_credentials_expire_and_after_a_reload() {
        let (files, lifecycle) = (Files::default(), Lifecycle::new());
        let clock = Clock::simulated("2026-11-30T12:00:00Z".parse().unwrap());
        let chain =
            Chain::new(&[], Passwords::Plain, files, clock.clone(), &lifecycle).await.unwrap();
        let caller = |left: Option<Duration>| {
            let expires = left.map(|left| clock.wall() + left);
            let identity = Identity::new("ann", Vec::new(), expires).unwrap();
            let principal = Principal::of_provider(
                "corp:ann".to_owned(),
                identity,
                Rights::everywhere(Role::Reader),
            );
            let (source, reloads) = (IpAddr::from([192, 0, 2, 1]), chain.reloads());
            Caller { source, principal: Some(Arc::new(principal)), reloads }
        };
        chain.outdated(&caller(Some(Duration::ZERO))).await;
        let mut expiring = std::pin::pin!(chain.outdated(&caller(Some(Duration::from_mins(5)))));
        let mut lasting = std::pin::pin!(chain.outdated(&caller(None)));
        assert!(expiring.as_mut().now_or_never().is_none());
        tokio::time::advance(Duration::from_secs(299)).await;
        assert!(expiring.as_mut().now_or_never().is_none());
        tokio::time::advance(Duration::from_secs(1)).await;
        expiring.await;
        assert!(lasting.as_mut().now_or_never().is_none());
        chain.reload(&[], true).await.unwrap();
        lasting.await;
    }
}
