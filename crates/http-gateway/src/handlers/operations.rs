//! Operations over a cluster.

use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use service_core::bus::topology;
use service_core::model::{ClusterRecord, Work, ident};

use super::clusters::found;
use crate::error::ApiError;
use crate::idempotency::OperationId;
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

/// A restart or an upgrade as it is asked for.
#[derive(Debug, Deserialize)]
pub struct NewOperation {
    #[serde(default, deserialize_with = "present")]
    name: Option<String>,
    #[serde(flatten)]
    options: Map<String, Value>,
}

/// A deployment as it is asked for.
#[derive(Debug, Deserialize)]
pub struct NewDeployment {
    version: String,
    #[serde(flatten)]
    rest: NewOperation,
}

/// `GET /cluster/{name}/restart`, `upgrade` and `deploy`: the newest record.
pub async fn newest<W: Work>(
    api: Api,
    Params(Name(name)): Params<Name>,
) -> Result<Json<ClusterRecord<W>>, ApiError> {
    found(&api, &name).await?;
    let newest = api.storage.find::<ClusterRecord<W>>(&name).await?;
    let never = || ApiError::not_found(format!("the cluster {name} has never been {}", W::DONE));
    Ok(Json(newest.ok_or_else(never)?.record))
}

/// What a started operation is answered with.
type Started = Result<(StatusCode, Json<Value>), ApiError>;

/// The id that the operation is to have, where the request says so.
type Id = Option<Extension<OperationId>>;

/// `PUT /cluster/{name}/restart`
pub async fn restart(
    api: Api,
    Params(Name(name)): Params<Name>,
    id: Id,
    Body(new): Body<NewOperation>,
) -> Started {
    start(&api, topology::RESTART, &name, &new, id, None).await
}

/// `PUT /cluster/{name}/upgrade`
pub async fn upgrade(
    api: Api,
    Params(Name(name)): Params<Name>,
    id: Id,
    Body(new): Body<NewOperation>,
) -> Started {
    start(&api, topology::UPGRADE, &name, &new, id, None).await
}

/// `PUT /cluster/{name}/deploy`
pub async fn deploy(
    api: Api,
    Params(Name(name)): Params<Name>,
    id: Id,
    Body(NewDeployment { version, rest }): Body<NewDeployment>,
) -> Started {
    ident::version(&version).map_err(|e| ApiError::bad_request(format!("version: {e}")))?;
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
