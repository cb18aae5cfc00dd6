//! What the API is, for programs and for people.

use axum::extract::State;
use axum::http::header;
use axum::response::{Html, IntoResponse};
use utoipa_axum::routes;

use crate::endpoint::{Endpoint, Endpoints};
use crate::state::AppState;

/// The endpoints of the documentation.
pub fn endpoints() -> Endpoints<AppState> {
    Endpoints::new("docs")
        .add(routes!(document), Endpoint::PUBLIC)
        .add(routes!(page), Endpoint::PUBLIC)
}

/// This document.
#[utoipa::path(get, path = "/api/v0/openapi.json", responses((status = 200, body = Object)))]
async fn document(State(state): State<AppState>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], state.document.text())
}

/// The calls of the API, for people.
#[utoipa::path(
    get,
    path = "/docs",
    responses((status = 200, body = String, content_type = "text/html; charset=utf-8")),
)]
async fn page(State(state): State<AppState>) -> impl IntoResponse {
    // Nothing in it runs, and nothing is fetched for it.
    let policy = "default-src 'none'; style-src 'unsafe-inline'";
    ([(header::CONTENT_SECURITY_POLICY, policy)], Html(state.document.page()))
}
