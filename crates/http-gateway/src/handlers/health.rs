//! `/healthz` and `/readyz`.

use axum::Json;
use serde_json::{Value, json};
use service_core::model::Network;

use crate::error::ApiError;
use crate::state::Api;

/// The process lives.
pub async fn live() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

/// The process can do its work: the storage service answers, from its store.
pub async fn ready(api: Api) -> Result<Json<Value>, ApiError> {
    api.storage.find::<Network>(Network::DEFAULT).await.map_err(|error| {
        tracing::warn!(error = service_core::error::chain(&error), "not ready");
        ApiError::unavailable("the storage service does not answer")
    })?;
    Ok(Json(json!({"status": "ready"})))
}
