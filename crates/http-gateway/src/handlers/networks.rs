//! Networks.

use axum::Json;
use axum::http::StatusCode;
use model::{ClusterHead, Model as _, Network, NetworkType, abridged};
use serde::Deserialize;
use serde_json::{Map, Value};
use storage_client::{Found, Transaction};
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::api::Api;
use crate::endpoint::{Endpoint, Endpoints};
use crate::error::ApiError;
use crate::params::{Body, Name, Params, same};
use crate::state::AppState;

/// A network as it is asked for.
#[derive(Debug, Deserialize, ToSchema)]
pub struct NewNetwork {
    #[serde(default, deserialize_with = "crate::params::present")]
    name: Option<String>,
    #[serde(default, rename = "type", deserialize_with = "crate::params::word")]
    kind: NetworkType,
    #[serde(default)]
    options: Map<String, Value>,
}

/// The endpoints of networks; their secrets are masked.
pub fn endpoints() -> Endpoints<AppState> {
    Endpoints::new("networks")
        .add(routes!(list), Endpoint::READER)
        .add(routes!(get), Endpoint::READER)
        .add(routes!(create, delete), Endpoint::ADMIN)
}

/// The names of the networks, sorted.
#[utoipa::path(
    get,
    path = "/api/v0/networks",
    responses((status = 200, body = [String])),
)]
async fn list(api: Api) -> Result<Json<Vec<String>>, ApiError> {
    let networks = api.storage.list::<Network>().await?;
    Ok(Json(networks.into_iter().map(|network| network.record.name).collect()))
}

/// A network.
#[utoipa::path(
    get,
    path = "/api/v0/network/{name}",
    responses(
        (status = 200, body = Network),
        (status = 404, description = "there is no such network"),
    ),
)]
async fn get(api: Api, Params(Name(name)): Params<Name>) -> Result<Json<Network>, ApiError> {
    Ok(Json(found(&api, &name).await?))
}

/// Makes a network; again the same is no error.
#[utoipa::path(
    put,
    path = "/api/v0/network/{name}",
    request_body = NewNetwork,
    responses(
        (status = 201, body = Network),
        (status = 409, description = "there is a different network of that name"),
    ),
)]
async fn create(
    api: Api,
    Params(Name(name)): Params<Name>,
    Body(new): Body<NewNetwork>,
) -> Result<(StatusCode, Json<Network>), ApiError> {
    same("name", new.name.as_deref(), &name)?;
    let network = Network { name: name.clone(), kind: new.kind, options: new.options };
    network.validate().map_err(ApiError::bad_request)?;
    let plan = || async {
        match api.storage.find::<Network>(&name).await? {
            None => Ok((Transaction::default().create(&network)?, ())),
            Some(existing) if existing.record == network => Ok((Transaction::default(), ())),
            Some(_) => Err(ApiError::conflict(format!(
                "there is a network {name} with another type or other options: delete it first"
            ))),
        }
    };
    api.commit(plan).await?;
    Ok((StatusCode::CREATED, Json(network)))
}

/// Removes a network. One whose record is damaged is removed even if it is the default one or in use: created again
/// under the same name it is what its clusters refer to.
#[utoipa::path(
    delete,
    path = "/api/v0/network/{name}",
    responses(
        (status = 200),
        (status = 404, description = "there is no such network"),
        (status = 409, description = "it is the default one, or in use"),
    ),
)]
async fn delete(api: Api, Params(Name(name)): Params<Name>) -> Result<Json<[(); 0]>, ApiError> {
    let plan = || async {
        let network = api.storage.find_damaged::<Network>(&name).await?;
        let network = network.ok_or_else(|| missing(&name))?;
        let deletion = Transaction::default()
            .check::<Network>(&name, Some(network.revision()))
            .delete::<Network>(&name);
        if matches!(network, Found::Damaged(_)) {
            return Ok((deletion, ()));
        }
        if name == Network::DEFAULT {
            return Err(ApiError::conflict("the default network stays"));
        }
        let clusters = api.storage.list::<ClusterHead>().await?;
        let users: Vec<_> = clusters
            .into_iter()
            .map(|c| c.record)
            .filter(|c| c.network == name)
            .map(|c| c.name)
            .collect();
        if !users.is_empty() {
            let users = abridged(users, ", ");
            return Err(ApiError::conflict(format!("the network {name} is in use by {users}")));
        }
        // A cluster that begins to use it changes its revision.
        Ok((deletion, ()))
    };
    api.commit(plan).await?;
    Ok(Json([]))
}

async fn found(api: &Api, name: &str) -> Result<Network, ApiError> {
    let network = api.storage.find::<Network>(name).await?;
    network.map(|network| network.record).ok_or_else(|| missing(name))
}

fn missing(name: &str) -> ApiError {
    ApiError::not_found(format!("there is no network {name}"))
}
