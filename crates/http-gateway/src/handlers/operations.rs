//! Operations over a cluster: started, shown, steered and watched.

pub mod continuation;
pub mod control;
pub mod events;
pub mod history;
pub mod known;
mod options;
pub mod start;

use axum::Json;
use service_core::model::{
    ClusterDeploy, ClusterRecord, ClusterRestart, ClusterUpgrade, Work, work,
};
use utoipa_axum::routes;

use crate::api::Api;
use crate::cluster_records::found;
use crate::endpoint::{Endpoint, Endpoints};
use crate::error::ApiError;
use crate::params::{Name, Params};
use crate::state::AppState;

/// The endpoints of operations.
pub fn endpoints() -> Endpoints<AppState> {
    Endpoints::new("operations")
        .add(routes!(restart_status), Endpoint::READER)
        .add(routes!(start::restart), Endpoint::OPERATOR.idempotent())
        .add(routes!(upgrade_status), Endpoint::READER)
        .add(routes!(start::upgrade), Endpoint::OPERATOR.idempotent())
        .add(routes!(deploy_status), Endpoint::READER)
        .add(routes!(start::deploy), Endpoint::OPERATOR.idempotent())
        .add(routes!(history::list), Endpoint::READER)
        .add(routes!(history::get), Endpoint::READER)
        .add(routes!(events::stream), Endpoint::READER)
        .add(routes!(control::pause), Endpoint::OPERATOR)
        .add(routes!(control::resume), Endpoint::OPERATOR)
        .add(routes!(control::abort), Endpoint::OPERATOR)
        .add(routes!(continuation::proceed), Endpoint::OPERATOR.idempotent())
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
async fn restart_status(api: Api, name: Params<Name>) -> Newest<work::Restart> {
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
async fn upgrade_status(api: Api, name: Params<Name>) -> Newest<work::Upgrade> {
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
async fn deploy_status(api: Api, name: Params<Name>) -> Newest<work::Deploy> {
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
