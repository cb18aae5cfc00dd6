//! Starting operations, and asking what would happen.

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bus::Error;
use model::messages::{OperationPlan, StartOperation};
use model::{
    ADDRESS, ClusterName, DrainOptions, HealthCheck, KindFacts, OnDrainTimeout, OperationKind,
    Options, ident,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::options::options;
use crate::api::Api;
use crate::endpoint::OPERATION_PATH;
use crate::error::ApiError;
use crate::params::{present, same};
use crate::principal::Role;

/// A restart or an upgrade as it is asked for. Its options are members, too.
#[derive(Debug, Deserialize, ToSchema)]
pub struct NewOperation {
    #[serde(default, deserialize_with = "present")]
    name: Option<String>,
    /// Start nothing, and say what would happen.
    #[serde(default, deserialize_with = "present")]
    dry_run: Option<bool>,
    /// A health check by its name: what it runs has to succeed on a host that is back.
    #[serde(default, deserialize_with = "present")]
    health: Option<String>,
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
    /// A health check by its name: what it runs has to succeed on a host that is back.
    #[serde(default, deserialize_with = "present")]
    health: Option<String>,
    #[serde(flatten)]
    #[schema(value_type = Options)]
    options: Map<String, Value>,
}

/// A request for an operation of any kind.
pub(in crate::handlers) struct Asked {
    name: Option<String>,
    dry_run: Option<bool>,
    health: Option<String>,
    options: Map<String, Value>,
    version: Option<String>,
}

impl From<NewOperation> for Asked {
    fn from(NewOperation { name, dry_run, health, options }: NewOperation) -> Self {
        Self { name, dry_run, health, options, version: None }
    }
}

impl NewOperation {
    /// The same on one host only.
    pub(in crate::handlers) fn on_host(self, address: &str) -> Asked {
        let mut asked = Asked::from(self);
        asked.options.insert("hosts".to_owned(), json!([address]));
        asked
    }
}

impl From<NewDeployment> for Asked {
    fn from(new: NewDeployment) -> Self {
        let NewDeployment { version, name, dry_run, health, options } = new;
        Self { name, dry_run, health, options, version: Some(version) }
    }
}

/// The answer to a request for an operation.
pub(in crate::handlers) enum Started {
    /// What would happen.
    Planned(OperationPlan),
    /// It was accepted.
    Accepted {
        /// Its id.
        id: String,
        /// The documented record.
        record: Value,
    },
}

/// Starts an operation, or answers what would happen.
///
/// # Errors
/// When the request is invalid, or the cluster executor rejects it.
pub(super) async fn start(
    api: &Api,
    kind: OperationKind,
    name: &ClusterName,
    asked: Asked,
) -> Result<Response, ApiError> {
    Ok(match ask(api, kind, name, asked).await? {
        Started::Planned(plan) => Json(plan).into_response(),
        Started::Accepted { id, record } => {
            (StatusCode::CREATED, location(&id), Json(record)).into_response()
        }
    })
}

/// Requests an operation of the cluster executor, or its plan.
///
/// # Errors
/// When the request is invalid, or the cluster executor rejects it.
pub(in crate::handlers) async fn ask(
    api: &Api,
    kind: OperationKind,
    name: &ClusterName,
    asked: Asked,
) -> Result<Started, ApiError> {
    let KindFacts { word, routing_key: key, .. } = kind.facts();
    let version = asked.version.unwrap_or_default();
    if kind.facts().takes_version {
        ident::version(&version).map_err(|e| ApiError::bad_request(format!("version: {e}")))?;
    }
    same("name", asked.name.as_deref(), name)?;
    let mut options = options(asked.options).map_err(ApiError::bad_request)?;
    let on_timeout = options.drain_options().map(DrainOptions::on_timeout);
    if on_timeout == Some(OnDrainTimeout::Reboot) && !api.has_role(Role::Admin, name) {
        return Err(ApiError::forbidden("`drain.on_timeout: reboot` needs the role admin"));
    }
    api.require(Role::Operator, Some(name), || ApiError::no_cluster(name))?;
    if options.health_command.is_some() {
        may_run_commands(api, name, "`health_command`")?;
    }
    if options.health_url.as_deref().is_some_and(|url| !is_of_host(url)) {
        may_run_commands(api, name, "a `health_url` that does not begin with http://{address}")?;
    }
    if let Some(check) = asked.health {
        if options.health_command.is_some() {
            return Err(ApiError::bad_request("give either `health` or `health_command`"));
        }
        options.health_command = Some(command_of(api, &check).await?);
    }
    let mut request =
        StartOperation { cluster_name: name.clone(), version, options, ..Default::default() };
    if asked.dry_run == Some(true) {
        request.dry_run = true;
        return Ok(Started::Planned(plan(api.request(key, &request).await?)?));
    }
    let id = api.operation_id();
    request.operation_id = Some(id.clone());
    let record = api.request(key, &request).await.map_err(|error| match error.status() {
        StatusCode::GATEWAY_TIMEOUT => error.with_detail(format!(
            "no answer in time; the operation may be running: look with \
             GET /api/v0/cluster/{name}/{word}, or GET {OPERATION_PATH}{id}"
        )),
        _ => error,
    })?;
    Ok(Started::Accepted { id, record })
}

/// Whether a URL is of the host itself, on any port. The server requests it, and reaches other machines that the caller does not.
fn is_of_host(url: &str) -> bool {
    let authority = url.split_once("://").and_then(|(_, rest)| rest.split(['/', '?', '#']).next());
    let port = authority.and_then(|authority| authority.strip_prefix(ADDRESS));
    port.is_some_and(|port| match port.strip_prefix(':') {
        Some(digits) => !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()),
        None => port.is_empty(),
    })
}

/// Whether the caller may have a command of its own run on the hosts of a cluster, or what can do as much.
fn may_run_commands(api: &Api, cluster: &ClusterName, what: &str) -> Result<(), ApiError> {
    match api.context.principal() {
        Some(principal) if !principal.rights.permits_commands_on(cluster) => {
            Err(ApiError::forbidden(format!(
                "{what} needs the permission run-commands on the cluster {cluster}, which administrators have: \
                 choose one of their health checks by its name with `health` (GET /api/v0/healthchecks)"
            )))
        }
        _ => Ok(()),
    }
}

/// The command of a health check.
async fn command_of(api: &Api, name: &str) -> Result<String, ApiError> {
    let unknown = || {
        ApiError::conflict(format!(
            "there is no health check {name:?}: GET /api/v0/healthchecks lists them. Nothing was started."
        ))
    };
    ident::name(name).map_err(|_| unknown())?;
    let found = api.storage.find::<HealthCheck>(name).await?.ok_or_else(unknown)?;
    Ok(found.record.command)
}

/// The answer of the cluster executor to a dry run.
pub(super) fn plan(answer: Value) -> Result<OperationPlan, Error> {
    serde_json::from_value(answer).map_err(|e| {
        let message = "the cluster executor answered with something else than a plan";
        Error::internal(message).with_source(e)
    })
}

/// The header that says where an operation is shown.
pub(in crate::handlers) fn location(id: &str) -> Option<[(HeaderName, HeaderValue); 1]> {
    let value = HeaderValue::from_str(&format!("{OPERATION_PATH}{id}")).ok()?;
    Some([(header::LOCATION, value)])
}

#[cfg(test)]
mod tests {
    use super::is_of_host;

    #[test]
    fn url_of_the_host_has_its_address_as_the_authority() {
        for url in [
            "http://{address}",
            "https://{address}:8443/health?a=1",
            "http://{address}/x",
            "http://{address}?x",
        ] {
            assert!(is_of_host(url), "{url}");
        }
        for url in [
            "http://10.0.0.9/?host={address}",
            "http://{address}.example.com/",
            "http://{address}@10.0.0.9/",
            "http://{address}:80@10.0.0.9/",
            "http://{address}:/",
            "http://{address}80/",
            "http://{address}:8x/",
            "http://a.{address}/",
            "{address}",
        ] {
            assert!(!is_of_host(url), "{url}");
        }
    }
}
