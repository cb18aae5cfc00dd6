//! The log-in of a request: who sends it, and whether its endpoint is for them.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request};
use axum::http::Extensions;
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use storage_client::{Damaged, StorageClient};

use crate::access::bindings::Index;
use crate::access::gate::{self, HostRight};
use crate::auth::api_token;
use crate::auth::{Refusal, Shown};
use crate::browser;
use crate::endpoint::{Endpoint, Scope};
use crate::error::ApiError;
use crate::peer::Peer;
use crate::principal::{Caller, Principal};
use crate::request::{Admission, RequestContext};
use crate::source;
use crate::state::AppState;

/// Finds out who sends a request, and whether they may: `next` gets both. Requests that no client of the API sends are
/// refused here.
pub fn admit<Answer>(
    state: AppState,
    peer: Peer,
    endpoint: Endpoint,
    request: Request,
    next: impl FnOnce(Admission) -> Answer + Send + 'static,
) -> BoxFuture<'static, Response>
where
    Answer: Future<Output = Response> + Send + 'static,
{
    if !endpoint.accepts_no_host()
        && let Err(refused) = browser::check_host(request.headers())
    {
        return ready(refused.into_response()).boxed();
    }
    if endpoint.role(request.uri().query()).is_none() {
        return next(Admission { request, refusal: None }).boxed();
    }
    let proxied = state.trusted_proxies.contains(peer.address.ip().to_canonical());
    let origins = &state.allowed_origins;
    if let Err(refused) = browser::check_origin(request.headers(), proxied, origins) {
        return ready(refused.into_response()).boxed();
    }
    // The body cannot be borrowed across an await: it is not `Sync`.
    let (mut parts, body) = request.into_parts();
    async move {
        let source = source::client(peer.address.ip(), &parts.headers, &state.trusted_proxies);
        let reloads = state.auth.reloads();
        // Without bindings, rights may seem larger than they are.
        let (mut refuses_storage, mut is_known) = (None, true);
        let (principal, admitted) = if endpoint.has_self_auth(parts.uri.path(), &state.self_auths) {
            (None, Ok(None))
        } else {
            let bindings = state.bindings.current().await.unwrap_or_else(|error| {
                refuses_storage = Some(Box::new(rights_unknown(error)));
                state.bindings.last_known().unwrap_or_else(|| Arc::new(Index::unknown()))
            });
            is_known = !bindings.is_unknown();
            authorize(&state, &peer, source, endpoint, &bindings, &mut parts).await
        };
        let is_refused =
            endpoint.shows_credentials() || !is_known && is_about_all(endpoint, &parts.extensions);
        let mut refusal = None;
        if let Some(context) = parts.extensions.get_mut::<RequestContext>() {
            if let Some(principal) = &principal {
                context.bus.principal.clone_from(&principal.id);
            }
            // They may be old: no record is read or changed by them.
            context.refuses_storage.clone_from(&refuses_storage);
            match (admitted, refuses_storage) {
                (Ok(_), Some(error)) if is_refused => refusal = Some((*error).into()),
                (Ok(host_right), _) => context.host_right = host_right,
                (Err(error), _) => refusal = Some(error),
            }
            context.caller = Some(Caller { source, principal: principal.map(Arc::new), reloads });
        }
        next(Admission { request: Request::from_parts(parts, body), refusal }).await
    }
    .boxed()
}

/// Whether an endpoint is about all clusters: its answer need not come from the storage service.
fn is_about_all(endpoint: Endpoint, extensions: &Extensions) -> bool {
    match endpoint.scope() {
        Scope::Fleet => true,
        Scope::Path => {
            extensions.get::<MatchedPath>().is_none_or(|path| !path.as_str().contains('{'))
        }
        Scope::Handler | Scope::Nothing => false,
    }
}

/// The answer of the storage service while the bindings cannot be read. A damaged one is not named to everybody.
fn rights_unknown(error: bus::Error) -> bus::Error {
    let Some(Damaged { key, .. }) = Damaged::reported_by(&error) else { return error };
    tracing::error!(
        key,
        "a damaged binding: until it is repaired in the store, requests are refused"
    );
    bus::Error::unavailable(
        "a binding in the store is damaged, so it is not known what you may do until it is repaired; the gateway's log \
         names it",
    )
    .of_part("store")
}

/// Who sends a request, as far as that is known; and the right that the request depends on, or the answer to it if its sender
/// may not have another one.
async fn authorize(
    state: &AppState,
    peer: &Peer,
    source: IpAddr,
    endpoint: Endpoint,
    bindings: &Index,
    parts: &mut Parts,
) -> (Option<Principal>, Result<Option<HostRight>, ApiError>) {
    let context = RequestContext::of(&parts.extensions);
    let storage = StorageClient::new(state.bus.clone(), context.bus);
    let shown = Shown { headers: &parts.headers, certificate: peer.certificate.as_ref() };
    let authenticated = match api_token::Shown::by(&parts.headers) {
        Some(token) => Box::pin(admit_token(state, token, source, bindings)).await,
        None => state.auth.admit(shown, source, &storage, bindings).await,
    };
    match authenticated {
        Ok(principal) => {
            let admitted = gate::check(&storage, &principal, endpoint, parts).await;
            (Some(principal), admitted)
        }
        Err(refusal) => (refusal.claimed, Err(refusal.error)),
    }
}

/// The principal of an API token.
async fn admit_token(
    state: &AppState,
    token: api_token::Shown,
    source: IpAddr,
    bindings: &Index,
) -> Result<Principal, Refusal> {
    let principal = state.auth.admit_token(token, source, &state.tokens, bindings).await?;
    if let Some(id) = principal.api_token_id() {
        state.token_uses.note(id);
    }
    Ok(principal)
}
