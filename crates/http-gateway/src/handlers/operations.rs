//! Operations over a cluster.

use axum::Json;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use service_core::bus::topology;
use service_core::model::ClusterRestart;
use utoipa::ToSchema;

use super::clusters::found;
use crate::error::ApiError;
use crate::params::{Body, Name, Params, present, same};
use crate::state::Api;

/// Options of operations. This version carries none of them out, and must not seem to: a restart that
/// was asked for as a `dry_run` is refused, and so is a misspelt one.
const OPTIONS: [&str; 11] = [
    "dry_run",
    "max_unavailable",
    "max_failures",
    "skip_unreachable",
    "include_self",
    "soak",
    "health_command",
    "health_url",
    "order",
    "hosts",
    "if_needed",
];

/// A restart as it is asked for.
#[derive(Debug, Deserialize, ToSchema)]
pub struct NewRestart {
    #[serde(default, deserialize_with = "present")]
    name: Option<String>,
    #[serde(flatten)]
    #[schema(ignore)]
    options: Map<String, Value>,
}

/// The newest restart of a cluster.
#[utoipa::path(
    get,
    path = "/api/v0/cluster/{name}/restart",
    responses(
        (status = 200, body = ClusterRestart),
        (status = 404, description = "there is no such cluster, or it has never been restarted"),
    ),
)]
pub async fn restart_status(
    api: Api,
    Params(Name(name)): Params<Name>,
) -> Result<Json<ClusterRestart>, ApiError> {
    found(&api, &name).await?;
    let newest = api.storage.find::<ClusterRestart>(&name).await?;
    let never = || ApiError::not_found(format!("the cluster {name} has never been restarted"));
    Ok(Json(newest.ok_or_else(never)?.record))
}

/// Restarts the hosts of a cluster, one after the other.
#[utoipa::path(
    put,
    path = "/api/v0/cluster/{name}/restart",
    request_body = NewRestart,
    responses(
        (status = 201, body = ClusterRestart),
        (status = 404, description = "there is no such cluster"),
        (status = 409, description = "an operation is in process, or a host cannot be used"),
    ),
)]
pub async fn restart(
    api: Api,
    Params(Name(name)): Params<Name>,
    Body(new): Body<NewRestart>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    same("name", new.name.as_deref(), &name)?;
    refuse_options(&new.options)?;
    let started = api.request(topology::RESTART, &json!({"cluster_name": name})).await;
    let record = started.map_err(|error| match error.status() {
        StatusCode::GATEWAY_TIMEOUT => error.with_detail(format!(
            "no answer in time; the restart may be running: look with GET /api/v0/cluster/{name}/restart"
        )),
        _ => error,
    })?;
    Ok((StatusCode::CREATED, Json(record)))
}

/// Unknown members are ignored, as everywhere, but for those that are an option or nearly one.
fn refuse_options(options: &Map<String, Value>) -> Result<(), ApiError> {
    for given in options.keys() {
        let plain = given.replace('-', "_");
        if let Some(option) = OPTIONS.iter().find(|known| strsim::levenshtein(known, &plain) <= 2) {
            return Err(ApiError::bad_request(format!(
                "{given}: the option {option} is not supported by this version, and nothing was started"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_an_option_starts_nothing() {
        let body = |name: &str| Map::from_iter([(name.to_owned(), Value::Bool(true))]);
        for given in ["dry_run", "dry-run", "dryrun", "max_unavailible", "hots"] {
            assert!(refuse_options(&body(given)).is_err(), "{given}");
        }
        for ignored in ["type", "name", "comment"] {
            assert!(refuse_options(&body(ignored)).is_ok(), "{ignored}");
        }
    }
}
