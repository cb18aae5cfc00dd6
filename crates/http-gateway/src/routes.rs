//! The whole API, and what every request goes through.

use std::panic::AssertUnwindSafe;

use axum::Router;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, delete, get, post, put};
use futures_util::FutureExt as _;
use service_core::bus::Context;
use service_core::random;
use tracing::Instrument as _;

use crate::auth;
use crate::error::ApiError;
use crate::handlers::{
    clusters, container_managers, enrollments, freeze, health, hosts, members, networks,
    operations, secrets,
};
use crate::openapi;
use crate::params::{BODY_MAX, no_route};
use crate::peer::Peer;
use crate::state::AppState;
use crate::{idempotency, metrics};

/// The header that carries a request's id, both ways.
pub const REQUEST_ID: &str = "x-request-id";

/// Every route of the API, by its whole path: nesting would add a layer to each.
pub fn router(state: AppState) -> Router {
    // Calls that start something; answers that hold secrets must not be kept.
    let once = |call: MethodRouter<AppState>| {
        call.route_layer(from_fn_with_state(state.clone(), idempotency::once))
    };
    let mut router = Router::new()
        // Clusters and their members
        .route("/api/v0/clusters", get(clusters::list))
        .route(
            "/api/v0/cluster/{name}",
            get(clusters::get).put(clusters::create).delete(clusters::delete),
        )
        .route("/api/v0/cluster/{name}/hosts", get(members::list).put(members::replace))
        .route(
            "/api/v0/cluster/{name}/hosts/{host}",
            get(members::get).put(members::add).delete(members::remove),
        )
        // Operations
        .route(
            "/api/v0/cluster/{name}/restart",
            get(operations::restart_status).merge(once(put(operations::start::restart))),
        )
        .route(
            "/api/v0/cluster/{name}/upgrade",
            get(operations::upgrade_status).merge(once(put(operations::start::upgrade))),
        )
        .route(
            "/api/v0/cluster/{name}/deploy",
            get(operations::deploy_status).merge(once(put(operations::start::deploy))),
        )
        .route("/api/v0/cluster/{name}/operations", get(operations::history::list))
        .route("/api/v0/operation/{id}", get(operations::history::get))
        .route("/api/v0/operation/{id}/events", get(operations::events::stream))
        .route("/api/v0/operation/{id}/pause", post(operations::control::pause))
        .route("/api/v0/operation/{id}/resume", post(operations::control::resume))
        .route("/api/v0/operation/{id}/abort", post(operations::control::abort))
        .route("/api/v0/operation/{id}/continue", once(post(operations::continuation::proceed)))
        .route("/api/v0/freeze", get(freeze::get).put(freeze::put).delete(freeze::delete))
        // Container managers
        .route("/api/v0/containermanagers", get(container_managers::list))
        .route(
            "/api/v0/containermanager/{name}",
            get(container_managers::get)
                .put(container_managers::create)
                .delete(container_managers::delete),
        )
        // Hosts
        .route("/api/v0/hosts", get(hosts::list))
        .route("/api/v0/host", once(put(hosts::create_unnamed)))
        .route(
            "/api/v0/host/{address}",
            get(hosts::get).merge(once(put(hosts::create))).delete(hosts::delete),
        )
        .route("/api/v0/host/{address}/creds", get(hosts::credentials).put(hosts::rotate))
        .route("/api/v0/host/{address}/status", get(hosts::status))
        .route("/api/v0/host/{address}/investigate", once(post(hosts::investigate)))
        .route("/api/v0/host/{address}/hostkey", once(put(hosts::accept_key)))
        .route("/api/v0/publickey", get(hosts::public_key))
        // Enrollments
        .route("/api/v0/enrollments", get(enrollments::list).post(enrollments::create))
        .route("/api/v0/enrollment/{id}", delete(enrollments::revoke))
        // Networks
        .route("/api/v0/networks", get(networks::list))
        .route(
            "/api/v0/network/{name}",
            get(networks::get).put(networks::create).delete(networks::delete),
        )
        // About the API and its server
        .route("/healthz", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(metrics::render))
        .route("/docs", get(openapi::page))
        .route("/api/v0/openapi.json", get(openapi::document));
    if state.custodia.is_some() {
        let secret = get(secrets::get).put(secrets::put).post(secrets::post);
        router = router
            .route("/api/v0/secrets", get(secrets::list))
            .route("/api/v0/secrets/{*path}", secret.delete(secrets::delete));
    }
    router
        .fallback(no_route)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn_with_state(state.clone(), every_request))
        .with_state(state)
}

/// The state of health alone, for a listener of its own: nobody is asked who they are.
pub fn health_router(state: AppState) -> Router {
    Router::new()
        .route("/healthz", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(metrics::render))
        .fallback(no_route)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn(|request, next: Next| {
            with_span(request, |request| catching_panics(next.run(request)))
        }))
        .with_state(state)
}

/// What every request goes through. One layer and not five: for each of its requests, axum clones all that a layer
/// surrounds.
fn every_request(
    State(state): State<AppState>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    mut request: Request,
    next: Next,
) -> impl Future<Output = Response> {
    DefaultBodyLimit::max(BODY_MAX).apply(&mut request);
    let admit = |request| catching_panics(auth::require(state, peer, request, next));
    metrics::measure(request, |request| with_span(request, admit))
}

/// Says of a request that its path had a slash at the end.
#[derive(Debug, Clone, Copy)]
pub struct TrailingSlash;

/// Takes off exactly one trailing slash; to be used outside the router.
pub fn without_slash(mut request: Request) -> Request {
    let path_and_query = request.uri().path_and_query().map_or("", |p| p.as_str());
    let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
    if let Some(shorter) = path.strip_suffix('/').filter(|shorter| !shorter.is_empty()) {
        let separator = if query.is_empty() { "" } else { "?" };
        let mut parts = request.uri().clone().into_parts();
        if let Ok(changed) = format!("{shorter}{separator}{query}").parse() {
            parts.path_and_query = Some(changed);
        }
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
            request.extensions_mut().insert(TrailingSlash);
        }
    }
    request
}

/// Gives a request its id, which its answer is to have, too; to be used outside the router.
pub fn identify(request: &mut Request) -> HeaderValue {
    let context = context_of(request.headers());
    // It is fit for a header: it came from one, or is a UUID.
    let id = HeaderValue::from_str(&context.request_id);
    request.extensions_mut().insert(context);
    id.unwrap_or(HeaderValue::from_static("none"))
}

/// Gives a request its span, and logs how it ended.
fn with_span<Answer: Future<Output = Response>>(
    request: Request,
    answer: impl FnOnce(Request) -> Answer,
) -> impl Future<Output = Response> {
    let request_id = request.extensions().get::<Context>().map(|context| &*context.request_id);
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

/// What a request brings along, where it is fit to be passed on; who asks is found out later.
fn context_of(headers: &HeaderMap) -> Context {
    let header = |name: &str| headers.get(name)?.to_str().ok().filter(|value| value.len() <= 64);
    let plain = |id: &&str| id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let given = header(REQUEST_ID).filter(plain).filter(|id| !id.is_empty());
    Context {
        request_id: given.map_or_else(|| random::uuid().to_string(), str::to_owned),
        principal: String::new(),
        traceparent: header("traceparent").map(str::to_owned),
    }
}

async fn method_not_allowed(State(_): State<AppState>) -> Response {
    // The router adds the `Allow` header.
    let detail = "this path does not have that method: see `Allow`";
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, detail).into_response()
}

fn panicked() -> Response {
    let mut response =
        ApiError::from(service_core::Error::internal("a handler panicked")).into_response();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[tokio::test]
    async fn panic_of_a_handler_is_answered_and_closes_the_connection() {
        let answer = catching_panics(async { panic!("boom") }).await;
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(answer.headers()[header::CONNECTION], "close");
        let answer = catching_panics(no_route()).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    }

    #[test]
    fn one_trailing_slash_is_optional() {
        for (given, routed) in [
            ("/api/v0/hosts/", "/api/v0/hosts"),
            ("/api/v0/hosts", "/api/v0/hosts"),
            ("/api/v0/hosts//", "/api/v0/hosts/"),
            ("/api/v0/hosts/?a=/", "/api/v0/hosts?a=/"),
            ("/", "/"),
            ("//", "/"),
        ] {
            let request = Request::builder().uri(given).body(Body::empty()).unwrap();
            assert_eq!(without_slash(request).uri(), routed, "{given}");
        }
    }
}
