//! Operations over a cluster: started, shown, steered and watched.

pub mod continuation;
pub mod control;
pub mod events;
pub mod history;
mod options;
pub mod start;

use axum::Json;
use service_core::model::{
    ClusterDeploy, ClusterRecord, ClusterRestart, ClusterUpgrade, Work, work,
};

use super::clusters::found;
use crate::error::ApiError;
use crate::params::{Name, Params};
use crate::state::Api;

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
