//! Operations over a cluster.

use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use service_core::bus::topology;
use service_core::model::{
    ClusterDeploy, ClusterRecord, ClusterRestart, ClusterUpgrade, Work, ident, work,
};
use utoipa::ToSchema;

use super::clusters::found;
use crate::error::ApiError;
use crate::idempotency::OperationId;
use crate::params::{Body, Name, Params, present, same};
use crate::state::Api;

/// Options of operations. This version carries none of them out, and must not seem to: a restart that
/// was asked for as a `dry_run` is refused, and so is a misspelt one.
const OPTIONS: [&str; 12] = [
    "reboot",
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

/// A restart or an upgrade as it is asked for.
#[derive(Debug, Deserialize, ToSchema)]
pub struct NewOperation {
    #[serde(default, deserialize_with = "present")]
    name: Option<String>,
    #[serde(flatten)]
    #[schema(ignore)]
    options: Map<String, Value>,
}

/// A deployment as it is asked for.
#[derive(Debug, Deserialize, ToSchema)]
pub struct NewDeployment {
    /// What the hosts are to boot.
    #[schema(max_length = 253, pattern = "^[A-Za-z0-9][A-Za-z0-9._:+~-]*$")]
    version: String,
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
pub async fn restart_status(api: Api, name: Params<Name>) -> Newest<work::Restart> {
    newest(api, name).await
}

/// The newest upgrade of a cluster.
#[utoipa::path(
    get,
    path = "/api/v0/cluster/{name}/upgrade",
    responses(
        (status = 200, body = ClusterUpgrade),
        (status = 404, description = "there is no such cluster, or it has never been upgraded"),
    ),
)]
pub async fn upgrade_status(api: Api, name: Params<Name>) -> Newest<work::Upgrade> {
    newest(api, name).await
}

/// The newest deployment on a cluster.
#[utoipa::path(
    get,
    path = "/api/v0/cluster/{name}/deploy",
    responses(
        (status = 200, body = ClusterDeploy),
        (status = 404, description = "there is no such cluster, or nothing was ever deployed on it"),
    ),
)]
pub async fn deploy_status(api: Api, name: Params<Name>) -> Newest<work::Deploy> {
    newest(api, name).await
}

/// The newest record of a kind of work.
type Newest<W> = Result<Json<ClusterRecord<W>>, ApiError>;

async fn newest<W: Work>(api: Api, Params(Name(name)): Params<Name>) -> Newest<W> {
    found(&api, &name).await?;
    let newest = api.storage.find::<ClusterRecord<W>>(&name).await?;
    let never = || ApiError::not_found(format!("the cluster {name} has never been {}", W::DONE));
    Ok(Json(newest.ok_or_else(never)?.record))
}

/// What a started operation is answered with.
type Started = Result<(StatusCode, Json<Value>), ApiError>;

/// The id that the operation is to have, where the request says so.
type Id = Option<Extension<OperationId>>;

/// Restarts the hosts of a cluster, one after the other.
#[utoipa::path(
    put,
    path = "/api/v0/cluster/{name}/restart",
    request_body = NewOperation,
    responses(
        (status = 201, body = ClusterRestart),
        (status = 404, description = "there is no such cluster"),
        (status = 409, description = "an operation is in process, or a host cannot be used"),
    ),
)]
pub async fn restart(
    api: Api,
    Params(Name(name)): Params<Name>,
    id: Id,
    Body(new): Body<NewOperation>,
) -> Started {
    start(&api, topology::RESTART, &name, &new, id, None).await
}

/// Brings the hosts of a cluster up to date, one after the other.
#[utoipa::path(
    put,
    path = "/api/v0/cluster/{name}/upgrade",
    request_body = NewOperation,
    responses(
        (status = 201, body = ClusterUpgrade),
        (status = 404, description = "there is no such cluster"),
        (status = 409, description = "an operation is in process, or a host cannot be used"),
    ),
)]
pub async fn upgrade(
    api: Api,
    Params(Name(name)): Params<Name>,
    id: Id,
    Body(new): Body<NewOperation>,
) -> Started {
    start(&api, topology::UPGRADE, &name, &new, id, None).await
}

/// Has the hosts of a cluster boot a version of their tree, one after the other.
#[utoipa::path(
    put,
    path = "/api/v0/cluster/{name}/deploy",
    request_body = NewDeployment,
    responses(
        (status = 201, body = ClusterDeploy),
        (status = 404, description = "there is no such cluster"),
        (status = 409, description = "an operation is in process, or a host cannot be used"),
    ),
)]
pub async fn deploy(
    api: Api,
    Params(Name(name)): Params<Name>,
    id: Id,
    Body(NewDeployment { version, name: named, options }): Body<NewDeployment>,
) -> Started {
    ident::version(&version).map_err(|e| ApiError::bad_request(format!("version: {e}")))?;
    let rest = NewOperation { name: named, options };
    start(&api, topology::DEPLOY, &name, &rest, id, Some(version)).await
}

async fn start(
    api: &Api,
    key: &str,
    name: &str,
    new: &NewOperation,
    id: Id,
    version: Option<String>,
) -> Started {
    same("name", new.name.as_deref(), name)?;
    refuse_options(&new.options)?;
    let mut params = json!({"cluster_name": name});
    if let Some(version) = version {
        params["version"] = version.into();
    }
    if let Some(Extension(OperationId(id))) = id {
        params["operation_id"] = id.into();
    }
    let record = api.request(key, &params).await.map_err(|error| match error.status() {
        StatusCode::GATEWAY_TIMEOUT => {
            let kind = key.rsplit('.').next().unwrap_or(key);
            error.with_detail(format!(
                "no answer in time; the operation may be running: look with \
                 GET /api/v0/cluster/{name}/{kind}"
            ))
        }
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
