//! How users can log in.

use axum::Json;
use axum::extract::State;
use utoipa_axum::routes;

use crate::auth::Logins;
use crate::endpoint::{Endpoint, Endpoints};
use crate::state::AppState;

/// The endpoint of the ways to log in: a client has no credentials yet.
pub fn endpoints() -> Endpoints<AppState> {
    Endpoints::new("login").add(routes!(login), Endpoint::PUBLIC)
}

/// The ways to log in: whether with a password, and at which identity providers. Nothing of it is secret.
#[utoipa::path(get, path = "/api/v0/login", responses((status = 200, body = Logins)))]
async fn login(State(state): State<AppState>) -> Json<Logins> {
    Json(state.auth.logins())
}
