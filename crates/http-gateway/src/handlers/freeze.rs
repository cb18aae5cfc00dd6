//! The freeze: while it is there, no roll starts a further host.

use axum::Json;
use axum::http::StatusCode;
use model::{Freeze, Model as _, Stamp};
use serde::{Deserialize, Serialize};
use storage_client::{Transaction, queries};
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::api::Api;
use crate::endpoint::{Endpoint, Endpoints};
use crate::error::ApiError;
use crate::params::{Body, present};
use crate::state::AppState;

/// A freeze as it is asked for.
#[derive(Debug, Deserialize, ToSchema)]
pub struct NewFreeze {
    /// Why; for whoever wonders.
    #[serde(default, deserialize_with = "present")]
    #[schema(max_length = 1024)]
    reason: Option<String>,
}

/// Whether there is a freeze, and if so, by whom, since when and why.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct FreezeView {
    frozen: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    at: Option<Stamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl From<Freeze> for FreezeView {
    fn from(Freeze { by, at, reason, .. }: Freeze) -> Self {
        Self { frozen: true, by: Some(by), at: Some(at), reason: Some(reason) }
    }
}

/// The endpoints of the freeze.
pub fn endpoints() -> Endpoints<AppState> {
    Endpoints::new("freeze")
        .add(routes!(get), Endpoint::READER)
        .add(routes!(put, delete), Endpoint::OPERATOR)
}

/// Whether work is frozen.
#[utoipa::path(get, path = "/api/v0/freeze", responses((status = 200, body = FreezeView)))]
async fn get(api: Api) -> Result<Json<FreezeView>, ApiError> {
    Ok(Json(queries::freeze(&api.storage).await?.map(FreezeView::from).unwrap_or_default()))
}

/// Freezes work: no roll starts a further host until the freeze is deleted. Again changes nothing.
#[utoipa::path(
    put,
    path = "/api/v0/freeze",
    request_body = NewFreeze,
    responses((status = 201, body = FreezeView)),
)]
async fn put(
    api: Api,
    Body(new): Body<NewFreeze>,
) -> Result<(StatusCode, Json<FreezeView>), ApiError> {
    let freeze = Freeze {
        name: Freeze::ALL.to_owned(),
        by: api.context.bus.principal.clone(),
        at: api.clock.stamp(),
        reason: new.reason.unwrap_or_default(),
        restored: false,
    };
    freeze.validate().map_err(ApiError::bad_request)?;
    let plan = || async {
        Ok(match queries::freeze(&api.storage).await? {
            Some(there) => (Transaction::default(), there),
            None => (Transaction::default().create(&freeze)?, freeze.clone()),
        })
    };
    let freeze = api.commit(plan).await?;
    Ok((StatusCode::CREATED, Json(freeze.into())))
}

/// Ends the freeze, if there is one.
#[utoipa::path(delete, path = "/api/v0/freeze", responses((status = 200)))]
async fn delete(api: Api) -> Result<Json<[(); 0]>, ApiError> {
    let transaction = Transaction::default().delete::<Freeze>(Freeze::ALL);
    api.storage.transact(&transaction).await?;
    Ok(Json([]))
}
