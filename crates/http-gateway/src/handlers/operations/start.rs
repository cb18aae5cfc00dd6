//! Starting operations, and asking what would happen.

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use service_core::Error;
use service_core::bus::topology;
use service_core::model::{
    AlarmView, ClusterDeploy, ClusterRestart, ClusterUpgrade, OperationKind, Options, ident,
};
use utoipa::ToSchema;

use super::options::options;
use crate::api::Api;
use crate::endpoint::OPERATION_PATH;
use crate::error::ApiError;
use crate::params::{Body, Name, Params, present, same};

/// A restart or an upgrade as it is asked for. Its options are members, too.
#[derive(Debug, Deserialize, ToSchema)]
pub struct NewOperation {
    #[serde(default, deserialize_with = "present")]
    name: Option<String>,
    /// Start nothing, and say what would happen.
    #[serde(default, deserialize_with = "present")]
    dry_run: Option<bool>,
    #[serde(flatten)]
    #[schema(value_type = Options)]
    options: Map<String, Value>,
}

/// A deployment as it is asked for. Its options are members, too.
#[derive(Debug, Deserialize, ToSchema)]
pub struct NewDeployment {
    /// What the hosts are to boot.
    #[schema(max_length = 253, pattern = "^[A-Za-z0-9][A-Za-z0-9._:+~-]*$")]
    version: String,
    #[serde(default, deserialize_with = "present")]
    name: Option<String>,
    /// Start nothing, and say what would happen.
    #[serde(default, deserialize_with = "present")]
    dry_run: Option<bool>,
    #[serde(flatten)]
    #[schema(value_type = Options)]
    options: Map<String, Value>,
}

/// What an operation would do if it was started now.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Plan {
    cluster: String,
    kind: OperationKind,
    /// Whether it would.
    would_start: bool,
    /// Why it would not, and what to do.
    #[serde(default)]
    #[schema(required)]
    refused: Option<String>,
    /// How many hosts could be unavailable at a time.
    max_unavailable: u64,
    /// Those that are already.
    unavailable: Vec<Unavailable>,
    /// The hosts, in the order of their turns.
    hosts: Vec<Planned>,
    /// The alarm that the operation would wait for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    alarm: Option<AlarmView>,
}

/// A host that is unavailable before anything is done.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Unavailable {
    address: String,
    reason: String,
}

/// What would be done to a host.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Planned {
    address: String,
    action: Action,
    /// Why, where that is not plain.
    #[serde(default)]
    #[schema(required)]
    reason: String,
}

/// See [`Planned`].
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Reboot it.
    Restart,
    /// Bring it up to date.
    Upgrade,
    /// Have it boot the version.
    Deploy,
    /// Leave it as it is.
    Skip,
}

/// Restarts the hosts of a cluster.
#[utoipa::path(
    put,
    path = "/api/v0/cluster/{name}/restart",
    request_body = NewOperation,
    responses(
        (status = 200, body = Plan, description = "what would happen (`dry_run`)"),
        (
            status = 201,
            body = ClusterRestart,
            headers(("Location" = String, description = "Where the operation is shown.")),
        ),
        (status = 404, description = "there is no such cluster"),
        (status = 409, description = "an operation is in process, or a host cannot be used"),
    ),
)]
pub(super) async fn restart(
    api: Api,
    Params(Name(name)): Params<Name>,
    Body(new): Body<NewOperation>,
) -> Result<Response, ApiError> {
    start(&api, topology::RESTART, &name, new, None).await
}

/// Brings the hosts of a cluster up to date.
#[utoipa::path(
    put,
    path = "/api/v0/cluster/{name}/upgrade",
    request_body = NewOperation,
    responses(
        (status = 200, body = Plan, description = "what would happen (`dry_run`)"),
        (
            status = 201,
            body = ClusterUpgrade,
            headers(("Location" = String, description = "Where the operation is shown.")),
        ),
        (status = 404, description = "there is no such cluster"),
        (status = 409, description = "an operation is in process, or a host cannot be used"),
    ),
)]
pub(super) async fn upgrade(
    api: Api,
    Params(Name(name)): Params<Name>,
    Body(new): Body<NewOperation>,
) -> Result<Response, ApiError> {
    start(&api, topology::UPGRADE, &name, new, None).await
}

/// Has the hosts of a cluster boot a version of their tree.
#[utoipa::path(
    put,
    path = "/api/v0/cluster/{name}/deploy",
    request_body = NewDeployment,
    responses(
        (status = 200, body = Plan, description = "what would happen (`dry_run`)"),
        (
            status = 201,
            body = ClusterDeploy,
            headers(("Location" = String, description = "Where the operation is shown.")),
        ),
        (status = 404, description = "there is no such cluster"),
        (status = 409, description = "an operation is in process, or a host cannot be used"),
    ),
)]
pub(super) async fn deploy(
    api: Api,
    Params(Name(name)): Params<Name>,
    Body(new): Body<NewDeployment>,
) -> Result<Response, ApiError> {
    let NewDeployment { version, name: named, dry_run, options } = new;
    ident::version(&version).map_err(|e| ApiError::bad_request(format!("version: {e}")))?;
    let new = NewOperation { name: named, dry_run, options };
    start(&api, topology::DEPLOY, &name, new, Some(version)).await
}

async fn start(
    api: &Api,
    key: &str,
    name: &str,
    new: NewOperation,
    version: Option<String>,
) -> Result<Response, ApiError> {
    same("name", new.name.as_deref(), name)?;
    let options = options(new.options).map_err(ApiError::bad_request)?;
    let mut params = json!({"cluster_name": name});
    if let Some(version) = version {
        params["version"] = version.into();
    }
    if options != Options::default() {
        params["options"] = json!(options);
    }
    if new.dry_run == Some(true) {
        params["dry_run"] = true.into();
        return foresee(api, key, &params).await;
    }
    let id = api.operation_id();
    params["operation_id"] = id.as_str().into();
    let record = api.request(key, &params).await.map_err(|error| match error.status() {
        StatusCode::GATEWAY_TIMEOUT => {
            let kind = key.rsplit('.').next().unwrap_or(key);
            error.with_detail(format!(
                "no answer in time; the operation may be running: look with \
                 GET /api/v0/cluster/{name}/{kind}, or GET {OPERATION_PATH}{id}"
            ))
        }
        _ => error,
    })?;
    Ok((StatusCode::CREATED, location(&id), Json(record)).into_response())
}

/// What would happen; nothing does.
async fn foresee(api: &Api, key: &str, params: &Value) -> Result<Response, ApiError> {
    Ok(Json(plan(api.request(key, params).await?)?).into_response())
}

/// The answer of the cluster executor to a dry run.
pub(super) fn plan(answer: Value) -> Result<Plan, Error> {
    serde_json::from_value(answer).map_err(|e| {
        let message = "the cluster executor answered with something else than a plan";
        Error::internal(message).with_source(e)
    })
}

/// The header that says where an operation is shown.
pub(super) fn location(id: &str) -> Option<[(HeaderName, HeaderValue); 1]> {
    let value = HeaderValue::from_str(&format!("{OPERATION_PATH}{id}")).ok()?;
    Some([(header::LOCATION, value)])
}
