//! `/healthz` and `/readyz`.

use axum::Json;
use serde::Serialize;
use service_core::model::Network;
use utoipa::ToSchema;

use crate::error::ApiError;
use crate::state::Api;

/// How the process is.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    status: &'static str,
}

/// The process lives.
#[utoipa::path(
    get,
    path = "/healthz",
    responses((status = 200, body = Health)),
)]
pub async fn live() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// The process can do its work: the storage service answers, from its store.
#[utoipa::path(
    get,
    path = "/readyz",
    responses(
        (status = 200, body = Health),
        (status = 503, description = "a part does not answer"),
    ),
)]
pub async fn ready(api: Api) -> Result<Json<Health>, ApiError> {
    api.storage.find::<Network>(Network::DEFAULT).await.map_err(|error| {
        tracing::warn!(error = service_core::error::chain(&error), "not ready");
        ApiError::unavailable("the storage service does not answer")
    })?;
    Ok(Json(Health { status: "ready" }))
}
