//! The whole API, and what every request goes through.

use std::panic::AssertUnwindSafe;
use std::sync::LazyLock;

use axum::Router;
use axum::extract::{ConnectInfo, DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;
use futures_util::future::{Either, ready};
use storage_client::StorageClient;
use tracing::Instrument as _;
use utoipa::OpenApi;

use crate::access::redaction::Redaction;
use crate::endpoint::{Declared, Endpoint, Endpoints};
use crate::error::{ApiError, Problem};
use crate::handlers::{
    backup, bindings, clusters, container_managers, docs, enrollments, explain, freeze, health,
    health_checks, hosts, login, members, networks, operations, secrets, tokens, whoami,
};
use crate::openapi::Document;
use crate::params::{AddressParam, BODY_MAX, Name, no_route};
use crate::peer::Peer;
use crate::principal::Role;
use crate::request::{Admission, RequestContext};
use crate::state::AppState;
use crate::{admission, audit, idempotency, metrics};

/// What the documentation of the API says besides its endpoints.
#[derive(OpenApi)]
#[openapi(
    info(title = "Commissaire", description = "Manages fleets of Linux hosts without an agent."),
    components(schemas(AddressParam, Name, Problem))
)]
struct Head;

/// The `OpenAPI` document.
pub static DOCUMENT: LazyLock<Document> = LazyLock::new(|| {
    let (_, endpoints, declared) = endpoints(true).split();
    let mut documentation = Head::openapi();
    documentation.merge(endpoints);
    Document::new(&documentation, &declared)
});

fn endpoints(with_secrets: bool) -> Endpoints<AppState> {
    let endpoints = clusters::endpoints()
        .merge(members::endpoints())
        .merge(operations::endpoints())
        .merge(explain::endpoints())
        .merge(freeze::endpoints())
        .merge(container_managers::endpoints())
        .merge(hosts::endpoints())
        .merge(enrollments::endpoints())
        .merge(networks::endpoints())
        .merge(backup::endpoints())
        .merge(bindings::endpoints())
        .merge(health_checks::endpoints())
        .merge(tokens::endpoints())
        .merge(whoami::endpoints())
        .merge(login::endpoints())
        .merge(health::endpoints())
        .merge(metrics::endpoints())
        .merge(docs::endpoints());
    if with_secrets { endpoints.merge(secrets::endpoints()) } else { endpoints }
}

/// All endpoints, and the layers around them. Secrets only where Custodia is configured.
pub fn router(state: AppState) -> Router {
    let (router, _, declared) = endpoints(state.custodia.is_some()).split();
    router
        .fallback(no_route)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn_with_state((state.clone(), declared), every_request))
        .with_state(state)
}

/// The state of health alone, for a listener of its own: without a log-in.
pub fn health_router(state: AppState) -> Router {
    let (router, ..) = health::endpoints().merge(metrics::endpoints()).split();
    router
        .fallback(no_route)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn(|request, next: Next| {
            with_span(request, |request| catching_panics(next.run(request)))
        }))
        .with_state(state)
}

/// The layers around a handler, from the outside: metrics, the span, panics, the log-in, the audit log, redaction, and
/// idempotency keys. One layer of axum instead of six: axum clones what a layer surrounds for each request.
fn every_request(
    State((state, declared)): State<(AppState, Declared)>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    mut request: Request,
    next: Next,
) -> impl Future<Output = Response> {
    DefaultBodyLimit::max(BODY_MAX).apply(&mut request);
    let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let endpoint = declared.find(request.method(), path);
    let handle = {
        let state = state.clone();
        move |Admission { request, refusal }| match refusal {
            Some(error) => Either::Left(ready(error.into_response())),
            None if endpoint.is_idempotent()
                || !endpoint.takes_backups() && is_limited(&request) =>
            {
                Either::Right(Either::Left(Box::pin(carry_out(state, endpoint, request, next))))
            }
            None => Either::Right(Either::Right(next.run(request))),
        }
    };
    let record = {
        let state = state.clone();
        move |admission| audit::record(&state.audit, &state.clock, endpoint, admission, handle)
    };
    let admit =
        move |request| catching_panics(admission::admit(state, peer, endpoint, request, record));
    metrics::measure(request, |request| with_span(request, admit))
}

/// Whether the sender of a request may see some clusters only. A host that registers itself sees nothing but its registration.
fn is_limited(request: &Request) -> bool {
    let context = request.extensions().get::<RequestContext>();
    let principal = context.and_then(RequestContext::principal);
    principal.is_some_and(|principal| {
        !principal.rights.shows(None) && principal.role() != Some(Role::Enroll)
    })
}

/// Carries out a request that has an idempotency key, or whose answer is limited to what its sender may see.
async fn carry_out(state: AppState, endpoint: Endpoint, request: Request, next: Next) -> Response {
    if !is_limited(&request) {
        return idempotency::once(state, endpoint, request, next).await;
    }
    let context = RequestContext::of(request.extensions());
    let (request, redaction) = match Redaction::of(request, &state).await {
        Ok(begun) => begun,
        Err(refused) => return refused.into_response(),
    };
    let response = if endpoint.is_idempotent() {
        idempotency::once(state.clone(), endpoint, request, next).await
    } else {
        next.run(request).await
    };
    let storage = StorageClient::new(state.bus.clone(), context.bus.clone());
    redaction.answer(&storage, response).await
}

/// Gives a request its span, and logs how it ended.
fn with_span<Answer: Future<Output = Response>>(
    request: Request,
    answer: impl FnOnce(Request) -> Answer,
) -> impl Future<Output = Response> {
    let request_id =
        request.extensions().get::<RequestContext>().map(|context| &*context.bus.request_id);
    let span = tracing::info_span!("http", request.id = request_id);
    let method = request.method().clone();
    // The path only: a query may hold what does not belong into a log.
    let path = request.uri().path().to_owned();
    let answer = answer(request);
    async move {
        let response = answer.await;
        let status = response.status().as_u16();
        tracing::debug!(http.method = %method, http.path = path, http.status = status, "answered");
        response
    }
    .instrument(span)
}

/// The answer; an error where its handler panics.
async fn catching_panics(answer: impl Future<Output = Response>) -> Response {
    AssertUnwindSafe(answer).catch_unwind().await.unwrap_or_else(|_| panicked())
}

async fn method_not_allowed(State(_): State<AppState>) -> Response {
    // The router adds the `Allow` header.
    let detail = "this path does not have that method: see `Allow`";
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, detail).into_response()
}

fn panicked() -> Response {
    let mut response = ApiError::from(bus::Error::internal("a handler panicked")).into_response();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

#[cfg(test)]
mod tests {

    use super::*;

    #[tokio::test]
    async fn panic_of_a_handler_is_answered_and_closes_the_connection() {
        let answer = catching_panics(async { panic!("boom") }).await;
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(answer.headers()[header::CONNECTION], "close");
        let answer = catching_panics(no_route()).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    }
}
