//! Who a request is accepted from.

use axum::Json;
use model::Stamp;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::api::Api;
use crate::endpoint::{Endpoint, Endpoints};
use crate::error::ApiError;
use crate::principal::{Authenticator, Principal, Role};
use crate::state::AppState;

/// The endpoint of the caller.
pub fn endpoints() -> Endpoints<AppState> {
    Endpoints::new("whoami").add(routes!(whoami), Endpoint::READER)
}

/// The caller.
#[derive(Debug, Serialize, ToSchema)]
struct Whoami {
    /// The name in logs and records.
    name: String,
    /// The role.
    role: Role,
    /// How the caller was authenticated.
    #[schema(examples("password"))]
    authenticator: &'static str,
    /// The groups, as an identity provider names them.
    groups: Vec<String>,
    /// When the credentials expire, if that is known.
    #[schema(value_type = Option<String>)]
    until: Option<Stamp>,
}

/// Who a request is accepted from: its name, its role and its groups.
#[utoipa::path(get, path = "/api/v0/whoami", responses((status = 200, body = Whoami)))]
async fn whoami(api: Api) -> Result<Json<Whoami>, ApiError> {
    // A path that is configured to authenticate by itself has no caller.
    let without = || ApiError::forbidden("no user is logged in: this path is one of `self-auths`");
    let Principal { id, role, authenticator, groups, until, .. } =
        api.context.principal().ok_or_else(without)?;
    Ok(Json(Whoami {
        name: id.clone(),
        role: *role,
        authenticator: match authenticator {
            Authenticator::Password => "password",
            Authenticator::Certificate { .. } => "certificate",
            Authenticator::Provider => "provider",
            Authenticator::Enrollment => "enrollment",
        },
        groups: groups.to_vec(),
        until: until.map(Stamp::of),
    }))
}
