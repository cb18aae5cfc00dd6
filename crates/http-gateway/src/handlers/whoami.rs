//! Who a request is accepted from.

use axum::Json;
use model::{ClusterPatterns, Stamp};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::access::Grant;
use crate::api::Api;
use crate::endpoint::{Endpoint, Endpoints};
use crate::error::ApiError;
use crate::principal::{Authenticator, Principal, Role};
use crate::state::AppState;

/// The endpoint of the caller.
pub fn endpoints() -> Endpoints<AppState> {
    Endpoints::new("whoami").add(routes!(whoami), Endpoint::READER.without_fleet())
}

/// The caller.
#[derive(Debug, Serialize, ToSchema)]
struct Whoami {
    /// The name in logs and records.
    name: String,
    /// The highest role on any cluster.
    role: Role,
    /// The roles on clusters.
    rights: Vec<Right>,
    /// What the rights are limited to.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<Right>,
    /// How the caller was authenticated.
    #[schema(examples("password"))]
    authenticator: &'static str,
    /// The user that an API token acts for.
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    /// The groups, as bindings name them.
    groups: Vec<String>,
    /// When the credentials expire, if that is known.
    #[schema(value_type = Option<String>)]
    until: Option<Stamp>,
}

/// A role on some clusters.
#[derive(Debug, Serialize, ToSchema)]
struct Right {
    role: Role,
    /// Names and patterns of clusters; `*` is all of them, and objects without a cluster.
    #[schema(value_type = Vec<String>)]
    clusters: ClusterPatterns,
    /// Whether the caller may have commands of its own run on hosts of these clusters.
    run_commands: bool,
}

impl From<&Grant> for Right {
    fn from(Grant { role, clusters, run_commands }: &Grant) -> Self {
        let run_commands = *run_commands || *role == Role::Admin;
        Self { role: *role, clusters: clusters.clone(), run_commands }
    }
}

/// Who a request is accepted from: its name, its roles and its groups.
#[utoipa::path(get, path = "/api/v0/whoami", responses((status = 200, body = Whoami)))]
async fn whoami(api: Api) -> Result<Json<Whoami>, ApiError> {
    // A path that is configured to authenticate by itself has no caller.
    let without = || ApiError::forbidden("no user is logged in: this path is one of `self-auths`");
    let principal = api.context.principal().ok_or_else(without)?;
    let Principal { id, rights, authenticator, groups, until, .. } = principal;
    Ok(Json(Whoami {
        name: id.clone(),
        role: rights.highest().unwrap_or(Role::Enroll),
        rights: rights.grants().map(Right::from).collect(),
        limit: rights.limit().map(Right::from),
        authenticator: match authenticator {
            Authenticator::Password => "password",
            Authenticator::Certificate { .. } => "certificate",
            Authenticator::Provider => "provider",
            Authenticator::Enrollment => "enrollment",
            Authenticator::ApiToken { .. } => "token",
        },
        owner: principal.api_token_id().map(|_| principal.owner().id.clone()),
        groups: groups.to_vec(),
        until: until.map(Stamp::of),
    }))
}
