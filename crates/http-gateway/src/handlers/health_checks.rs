//! Health checks: commands that administrators define, and operators choose by their names.

use axum::Json;
use axum::http::StatusCode;
use model::{HealthCheck, Model as _};
use serde::Deserialize;
use storage_client::{Revised, Transaction};
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::api::Api;
use crate::endpoint::{Endpoint, Endpoints};
use crate::error::ApiError;
use crate::params::{Name, Params, SpelledBody, present, same};
use crate::state::AppState;

/// A health check as it is asked for.
#[derive(Debug, Deserialize, ToSchema)]
pub struct NewHealthCheck {
    #[serde(default, deserialize_with = "present")]
    name: Option<String>,
    /// Run by a shell on a host that is back, until it succeeds or the operation's `health_timeout` is over.
    #[schema(min_length = 1, max_length = 4096)]
    command: String,
}

/// The endpoints of health checks. Readers of any cluster see their names; here their commands need a role on all clusters.
pub fn endpoints() -> Endpoints<AppState> {
    Endpoints::new("health_checks")
        .add(routes!(list), Endpoint::READER.without_fleet())
        .add(routes!(get), Endpoint::READER)
        .add(routes!(put, delete), Endpoint::ADMIN)
}

/// The names of the health checks, sorted.
#[utoipa::path(get, path = "/api/v0/healthchecks", responses((status = 200, body = [String])))]
async fn list(api: Api) -> Result<Json<Vec<String>>, ApiError> {
    let checks = api.storage.list::<HealthCheck>().await?;
    Ok(Json(checks.into_iter().map(|found| found.record.name).collect()))
}

/// A health check.
#[utoipa::path(
    get,
    path = "/api/v0/healthcheck/{name}",
    responses(
        (status = 200, body = HealthCheck),
        (status = 404, description = "there is no such health check"),
    ),
)]
async fn get(api: Api, Params(Name(name)): Params<Name>) -> Result<Json<HealthCheck>, ApiError> {
    let found = api.storage.find::<HealthCheck>(&name).await?;
    found.map(|found| Json(found.record)).ok_or_else(|| missing(&name))
}

/// Makes a health check, or replaces it. Operations in process keep the command that they were started with.
#[utoipa::path(
    put,
    path = "/api/v0/healthcheck/{name}",
    request_body = NewHealthCheck,
    responses(
        (status = 200, body = HealthCheck, description = "it was there, and is now as it was asked for"),
        (status = 201, body = HealthCheck, description = "it was made"),
    ),
)]
async fn put(
    api: Api,
    Params(Name(name)): Params<Name>,
    SpelledBody(new): SpelledBody<NewHealthCheck>,
) -> Result<(StatusCode, Json<HealthCheck>), ApiError> {
    same("name", new.name.as_deref(), &name)?;
    let (changed_by, changed_at) = (api.context.bus.principal.clone(), api.clock.stamp());
    let check = HealthCheck { name, command: new.command, changed_by, changed_at };
    check.validate().map_err(ApiError::bad_request)?;
    let plan = || async {
        let transaction = Transaction::default();
        Ok(match api.storage.find::<HealthCheck>(&check.name).await? {
            None => (transaction.create(&check)?, (StatusCode::CREATED, check.clone())),
            Some(found) if found.record.command == check.command => {
                (transaction, (StatusCode::OK, found.record))
            }
            Some(Revised { revision, .. }) => {
                let changed = Revised { record: check.clone(), revision };
                (transaction.update(&changed)?, (StatusCode::OK, check.clone()))
            }
        })
    };
    let (status, check) = api.commit(plan).await?;
    Ok((status, Json(check)))
}

/// Removes a health check. Operations in process keep its command.
#[utoipa::path(
    delete,
    path = "/api/v0/healthcheck/{name}",
    responses(
        (status = 200),
        (status = 404, description = "there is no such health check"),
    ),
)]
async fn delete(api: Api, Params(Name(name)): Params<Name>) -> Result<Json<[(); 0]>, ApiError> {
    match api.storage.delete::<HealthCheck>(&name).await {
        Err(error) if error.is_not_found() => Err(missing(&name)),
        deleted => Ok(deleted.map(|()| Json([]))?),
    }
}

fn missing(name: &str) -> ApiError {
    ApiError::not_found(format!("there is no health check {name}"))
}
