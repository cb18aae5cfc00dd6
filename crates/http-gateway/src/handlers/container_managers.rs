//! Container managers.

use std::fmt;

use axum::Json;
use axum::http::StatusCode;
use model::{
    ClusterHead, ClusterPatterns, ContainerManagerConfig, ContainerManagerSecret,
    ContainerManagerType, MASK, Model as _, Secrets, abridged,
};
use serde::Deserialize;
use serde_json::{Map, Value};
use storage_client::{Found, Revised, Transaction};
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::api::Api;
use crate::endpoint::{Endpoint, Endpoints};
use crate::error::ApiError;
use crate::params::{Body, Name, Params, same};
use crate::state::AppState;

/// A container manager as it is asked for.
#[derive(Deserialize, ToSchema)]
pub struct NewContainerManager {
    #[serde(default, deserialize_with = "crate::params::present")]
    name: Option<String>,
    #[serde(default, rename = "type", deserialize_with = "crate::params::word")]
    kind: ContainerManagerType,
    #[serde(default)]
    options: Map<String, Value>,
    /// The clusters that may use it, by names and patterns such as `web-*`; all where this is missing.
    #[serde(default, deserialize_with = "crate::params::present")]
    #[schema(value_type = Option<Vec<String>>)]
    clusters: Option<ClusterPatterns>,
}

impl fmt::Debug for NewContainerManager {
    /// Without the options: they hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewContainerManager")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// The endpoints of container managers; their secrets are masked.
pub fn endpoints() -> Endpoints<AppState> {
    Endpoints::new("container_managers")
        .add(routes!(list), Endpoint::READER)
        .add(routes!(get), Endpoint::READER)
        .add(routes!(create, delete), Endpoint::ADMIN)
}

/// The names of the container managers, sorted.
#[utoipa::path(
    get,
    path = "/api/v0/containermanagers",
    responses((status = 200, body = [String])),
)]
async fn list(api: Api) -> Result<Json<Vec<String>>, ApiError> {
    let managers = api.storage.list::<ContainerManagerConfig>().await?;
    Ok(Json(managers.into_iter().map(|manager| manager.record.name).collect()))
}

/// A container manager; its secrets are masked.
#[utoipa::path(
    get,
    path = "/api/v0/containermanager/{name}",
    responses(
        (status = 200, body = ContainerManagerConfig),
        (status = 404, description = "there is no such container manager"),
    ),
)]
async fn get(
    api: Api,
    Params(Name(name)): Params<Name>,
) -> Result<Json<ContainerManagerConfig>, ApiError> {
    Ok(Json(found(&api, &name).await?.record))
}

/// Makes a container manager; again the same is no error.
#[utoipa::path(
    put,
    path = "/api/v0/containermanager/{name}",
    request_body = NewContainerManager,
    responses(
        (status = 201, body = ContainerManagerConfig),
        (status = 409, description = "there is a different container manager of that name"),
    ),
)]
async fn create(
    api: Api,
    Params(Name(name)): Params<Name>,
    Body(new): Body<NewContainerManager>,
) -> Result<(StatusCode, Json<ContainerManagerConfig>), ApiError> {
    same("name", new.name.as_deref(), &name)?;
    let NewContainerManager { kind, options, clusters, .. } = new;
    let given = ContainerManagerConfig { name: name.clone(), kind, options, clusters };
    let (masked, secrets) = given.clone().split().map_err(ApiError::bad_request)?;
    masked.validate().map_err(ApiError::bad_request)?;
    let plan = || async {
        let Some(existing) = api.storage.find::<ContainerManagerConfig>(&name).await? else {
            return Ok((creation(&masked, &secrets)?, ()));
        };
        if existing.record == masked && has_secrets(&api, &given, &secrets).await? {
            return Ok((Transaction::default(), ()));
        }
        Err(ApiError::conflict(format!(
            "there is a container manager {name} with another type or other options: delete it first"
        )))
    };
    api.commit(plan).await?;
    Ok((StatusCode::CREATED, Json(masked)))
}

/// The record and its secrets in one write.
fn creation(masked: &ContainerManagerConfig, secrets: &Secrets) -> Result<Transaction, ApiError> {
    let transaction = Transaction::default().create(masked)?;
    match secrets {
        Secrets::None => Ok(transaction),
        Secrets::Given(secret) => Ok(transaction.save(secret)?),
        Secrets::Unchanged => Err(ApiError::bad_request(format!(
            "{MASK:?} stands for a secret that is stored already, and none is"
        ))),
    }
}

/// Whether the secrets that are stored are those that were given.
async fn has_secrets(
    api: &Api,
    given: &ContainerManagerConfig,
    secrets: &Secrets,
) -> Result<bool, ApiError> {
    let Secrets::Given(secret) = secrets else { return Ok(true) };
    let stored = api.storage.find::<ContainerManagerSecret>(&given.name).await?;
    let same = |stored: &Map<String, Value>| {
        secret.options.iter().all(|(name, value)| stored.get(name) == Some(value))
    };
    Ok(stored.is_some_and(|stored| same(&stored.record.options)))
}

/// Removes a container manager. One whose record is damaged is removed even if it is in use: created again under the
/// same name it is what its clusters refer to.
#[utoipa::path(
    delete,
    path = "/api/v0/containermanager/{name}",
    responses(
        (status = 200),
        (status = 404, description = "there is no such container manager"),
        (status = 409, description = "it is in use"),
    ),
)]
async fn delete(api: Api, Params(Name(name)): Params<Name>) -> Result<Json<[(); 0]>, ApiError> {
    let plan = || async {
        let manager = api.storage.find_damaged::<ContainerManagerConfig>(&name).await?;
        let manager = manager.ok_or_else(|| missing(&name))?;
        let deletion = Transaction::default()
            .check::<ContainerManagerConfig>(&name, Some(manager.revision()))
            .delete::<ContainerManagerConfig>(&name);
        if matches!(manager, Found::Damaged(_)) {
            return Ok((deletion, ()));
        }
        let clusters = api.storage.list::<ClusterHead>().await?;
        let users: Vec<_> = clusters
            .into_iter()
            .map(|cluster| cluster.record)
            .filter(|cluster| cluster.container_manager == name)
            .map(|cluster| cluster.name)
            .collect();
        if !users.is_empty() {
            let users = abridged(users, ", ");
            return Err(ApiError::conflict(format!(
                "the container manager {name} is in use by {users}"
            )));
        }
        // A cluster that begins to use it changes its revision. Its secrets go with it.
        Ok((deletion, ()))
    };
    api.commit(plan).await?;
    Ok(Json([]))
}

async fn found(api: &Api, name: &str) -> Result<Revised<ContainerManagerConfig>, ApiError> {
    api.storage.find::<ContainerManagerConfig>(name).await?.ok_or_else(|| missing(name))
}

fn missing(name: &str) -> ApiError {
    ApiError::not_found(format!("there is no container manager {name}"))
}
