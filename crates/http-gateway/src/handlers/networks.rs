//! Networks.

use axum::Json;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value};
use service_core::model::{Cluster, Model as _, Network, NetworkType};
use service_core::storage::Transaction;

use crate::error::ApiError;
use crate::params::{Body, Name, Params, same};
use crate::state::Api;

/// A network as it is asked for.
#[derive(Debug, Deserialize)]
pub struct NewNetwork {
    #[serde(default, deserialize_with = "crate::params::present")]
    name: Option<String>,
    #[serde(default, rename = "type", deserialize_with = "crate::params::word")]
    kind: NetworkType,
    #[serde(default)]
    options: Map<String, Value>,
}

/// `GET /networks`
pub async fn list(api: Api) -> Result<Json<Vec<String>>, ApiError> {
    let networks = api.storage.list::<Network>().await?;
    Ok(Json(networks.into_iter().map(|network| network.record.name).collect()))
}

/// `GET /network/{name}`
pub async fn get(api: Api, Params(Name(name)): Params<Name>) -> Result<Json<Network>, ApiError> {
    Ok(Json(found(&api, &name).await?))
}

/// `PUT /network/{name}`
pub async fn create(
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

/// `DELETE /network/{name}`
pub async fn delete(api: Api, Params(Name(name)): Params<Name>) -> Result<Json<[(); 0]>, ApiError> {
    if name == Network::DEFAULT {
        return Err(ApiError::conflict("the default network stays"));
    }
    let plan = || async {
        let network = api.storage.find::<Network>(&name).await?.ok_or_else(|| missing(&name))?;
        let clusters = api.storage.list::<Cluster>().await?;
        let users: Vec<_> = clusters
            .into_iter()
            .map(|c| c.record)
            .filter(|c| c.network == name)
            .map(|c| c.name)
            .collect();
        if !users.is_empty() {
            let users = users.join(", ");
            return Err(ApiError::conflict(format!("the network {name} is in use by {users}")));
        }
        // A cluster that begins to use it changes its revision.
        let check = Transaction::default().check::<Network>(&name, Some(network.revision));
        Ok((check.delete::<Network>(&name), ()))
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
