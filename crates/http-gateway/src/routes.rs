//! The whole API, and what every request goes through.

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, get, post, put};
use service_core::bus::Context;
use service_core::random;
use tower_http::catch_panic::CatchPanicLayer;
use tracing::Instrument as _;

use crate::auth;
use crate::error::ApiError;
use crate::handlers::{
    clusters, container_managers, enrollments, freeze, health, hosts, members, networks,
    operations, secrets,
};
use crate::openapi;
use crate::params::{BODY_MAX, no_route};
use crate::state::AppState;
use crate::{idempotency, metrics};

/// The header that carries a request's id, both ways.
pub const REQUEST_ID: &str = "x-request-id";

/// Every route of the API.
pub fn router(state: AppState) -> Router {
    // On what starts something; answers that hold secrets must not be kept.
    let once = from_fn_with_state(state.clone(), idempotency::once);
    let mut api = Router::new()
        // Clusters and their members
        .route("/clusters", get(clusters::list))
        .route("/cluster/{name}", get(clusters::get).put(clusters::create).delete(clusters::delete))
        .route("/cluster/{name}/hosts", get(members::list).put(members::replace))
        .route(
            "/cluster/{name}/hosts/{host}",
            get(members::get).put(members::add).delete(members::remove),
        )
        // Operations
        .route(
            "/cluster/{name}/restart",
            get(operations::restart_status)
                .put(operations::start::restart)
                .route_layer(once.clone()),
        )
        .route(
            "/cluster/{name}/upgrade",
            get(operations::upgrade_status)
                .put(operations::start::upgrade)
                .route_layer(once.clone()),
        )
        .route(
            "/cluster/{name}/deploy",
            get(operations::deploy_status).put(operations::start::deploy).route_layer(once.clone()),
        )
        .route("/cluster/{name}/operations", get(operations::history::list))
        .route("/operation/{id}", get(operations::history::get))
        .route("/operation/{id}/events", get(operations::events::stream))
        .route("/operation/{id}/pause", post(operations::control::pause))
        .route("/operation/{id}/resume", post(operations::control::resume))
        .route("/operation/{id}/abort", post(operations::control::abort))
        .route(
            "/operation/{id}/continue",
            post(operations::continuation::proceed).route_layer(once.clone()),
        )
        .route("/freeze", get(freeze::get).put(freeze::put).delete(freeze::delete))
        // Container managers
        .route("/containermanagers", get(container_managers::list))
        .route(
            "/containermanager/{name}",
            get(container_managers::get)
                .put(container_managers::create)
                .delete(container_managers::delete),
        )
        // Hosts
        .route("/hosts", get(hosts::list))
        .route("/host", put(hosts::create_unnamed).route_layer(once.clone()))
        .route(
            "/host/{address}",
            get(hosts::get).put(hosts::create).delete(hosts::delete).route_layer(once.clone()),
        )
        .route("/host/{address}/creds", get(hosts::credentials).put(hosts::rotate))
        .route("/host/{address}/status", get(hosts::status))
        .route("/host/{address}/investigate", post(hosts::investigate).route_layer(once.clone()))
        .route("/host/{address}/hostkey", put(hosts::accept_key).route_layer(once))
        .route("/publickey", get(hosts::public_key))
        // Enrollments
        .route("/enrollments", get(enrollments::list).post(enrollments::create))
        .route("/enrollment/{id}", delete(enrollments::revoke))
        // Networks
        .route("/networks", get(networks::list))
        .route(
            "/network/{name}",
            get(networks::get).put(networks::create).delete(networks::delete),
        );
    if state.custodia.is_some() {
        let secret = get(secrets::get).put(secrets::put).post(secrets::post);
        api = api
            .route("/secrets", get(secrets::list))
            .route("/secrets/{*path}", secret.delete(secrets::delete));
    }
    Router::new()
        .nest("/api/v0", api)
        .route("/healthz", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(metrics::render))
        .route("/docs", get(openapi::page))
        .route("/api/v0/openapi.json", get(openapi::document))
        .fallback(no_route)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(BODY_MAX))
        // From here on outwards, that is: the last one is the first that a request meets.
        .layer(from_fn_with_state(state.clone(), auth::require))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn(with_context))
        .layer(from_fn(metrics::measure))
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
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn(with_context))
        .with_state(state)
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

/// Makes sure that a request has an id, which its answer is to have, too; to be used outside the router.
pub fn identify(request: &mut Request) -> HeaderValue {
    let id = context_of(request.headers()).request_id;
    // It is fit for a header: it came from one, or is a UUID.
    let id = HeaderValue::from_str(&id).unwrap_or(HeaderValue::from_static("none"));
    request.headers_mut().insert(REQUEST_ID, id.clone());
    id
}

/// Gives the request its id and its span, and logs how it ended.
async fn with_context(mut request: Request, next: Next) -> Response {
    let context = context_of(request.headers());
    let request_id = context.request_id.clone();
    let span = tracing::info_span!("http", request.id = request_id);
    let method = request.method().clone();
    // The path only: a query may hold what does not belong into a log.
    let path = request.uri().path().to_owned();
    request.extensions_mut().insert(context);
    async move {
        let mut response = next.run(request).await;
        let status = response.status().as_u16();
        tracing::debug!(http.method = %method, http.path = path, http.status = status, "answered");
        if let Ok(value) = HeaderValue::from_str(&request_id) {
            response.headers_mut().insert(REQUEST_ID, value);
        }
        response
    }
    .instrument(span)
    .await
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

fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    let mut response =
        ApiError::from(service_core::Error::internal("a handler panicked")).into_response();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

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
