//! The log-in of a request: who sends it, and whether its endpoint is for them.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use storage_client::StorageClient;

use crate::auth::Shown;
use crate::browser;
use crate::endpoint::Endpoint;
use crate::error::ApiError;
use crate::peer::Peer;
use crate::principal::{Caller, Principal, Role};
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
        let (principal, refusal) = if endpoint.has_self_auth(parts.uri.path(), &state.self_auths) {
            (None, None)
        } else {
            authorize(&state, &peer, source, endpoint, &parts).await
        };
        if let Some(context) = parts.extensions.get_mut::<RequestContext>() {
            if let Some(principal) = &principal {
                context.bus.principal.clone_from(&principal.id);
            }
            context.caller = Some(Caller { source, principal, reloads });
        }
        next(Admission { request: Request::from_parts(parts, body), refusal }).await
    }
    .boxed()
}

/// Who sends a request, as far as that is known, and the answer to them if they may not.
async fn authorize(
    state: &AppState,
    peer: &Peer,
    source: IpAddr,
    endpoint: Endpoint,
    parts: &Parts,
) -> (Option<Principal>, Option<ApiError>) {
    let context = RequestContext::of(&parts.extensions);
    let storage = StorageClient::new(state.bus.clone(), context.bus);
    let shown = Shown { headers: &parts.headers, certificate: peer.certificate.as_ref() };
    let principal = match state.auth.admit(shown, source, (&storage, &state.clock)).await {
        Ok(principal) => principal,
        Err(refusal) => return (refusal.claimed, Some(refusal.error)),
    };
    let Principal { id, role, .. } = &principal;
    let query = parts.uri.query();
    let refusal = match endpoint.role(query) {
        _ if endpoint.admits(*role, query) => None,
        Some(needed) if *role != Role::Enroll => {
            Some(format!("this needs the role {needed}, and {id} has the role {role}"))
        }
        _ => Some("the role enroll may register hosts, and nothing else".to_owned()),
    };
    (Some(principal), refusal.map(ApiError::forbidden))
}
