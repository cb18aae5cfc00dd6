//! `/healthz` and `/readyz`.

use std::time::Duration;

use axum::Json;
use serde::Serialize;
use serde_json::{Map, Value, json};
use service_core::bus::topology;
use service_core::error::chain;
use service_core::model::Network;
use utoipa::ToSchema;

use crate::error::ApiError;
use crate::state::Api;

/// How long each part may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// How the process is.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    status: &'static str,
}

/// That everything is there which the process needs for its work.
#[derive(Debug, Serialize, ToSchema)]
pub struct Readiness {
    status: &'static str,
    /// Each part, and `ok`.
    #[schema(value_type = Object)]
    parts: Map<String, Value>,
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

/// The process can do its work: the storage service answers, from its store. Else which part does not;
/// what lies behind that part is `unknown`.
#[utoipa::path(
    get,
    path = "/readyz",
    responses(
        (status = 200, body = Readiness),
        (status = 503, description = "a part does not answer: `parts` says which"),
    ),
)]
pub async fn ready(api: Api) -> Result<Json<Readiness>, ApiError> {
    let mut parts = Map::from_iter(
        ["broker", "storage", "store"].map(|part| (part.to_owned(), json!("unknown"))),
    );
    let mut fails = |part: &str, what: &str, works: bool| {
        parts.insert(part.to_owned(), json!(if works { "ok" } else { "failed" }));
        let members = Map::from_iter([("parts".to_owned(), Value::Object(parts.clone()))]);
        let detail = format!("{what} does not answer");
        if works { Ok(()) } else { Err(ApiError::unavailable(detail).with_members(members)) }
    };
    fails("broker", "the message broker", api.bus.is_connected())?;
    let bus = api.bus.with_timeout(PATIENCE);
    let asked = bus.request(topology::STORAGE_LIST_STORE_HANDLERS, &json!({}), &api.context).await;
    if let Err(error) = &asked {
        tracing::warn!(error = chain(error), "not ready");
    }
    fails("storage", "the storage service", asked.is_ok())?;
    let read = api.storage.with_timeout(PATIENCE).find::<Network>(Network::DEFAULT).await;
    if let Err(error) = &read {
        tracing::warn!(error = chain(error), "not ready");
    }
    fails("store", "the store behind the storage service", read.is_ok())?;
    Ok(Json(Readiness { status: "ready", parts }))
}
