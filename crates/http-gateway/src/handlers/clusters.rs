//! Clusters.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use model::{
    Address, AlarmView, Cluster, ClusterChange, ClusterHead, ClusterName, ContainerManagerConfig,
    Host, Network, Status, abridged,
};
use serde::{Deserialize, Serialize};
use storage_client::{Found, Revised, Transaction};
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::api::Api;
use crate::cluster_records::{found, not_under_operation, unchanging};
use crate::endpoint::{Endpoint, Endpoints};
use crate::error::ApiError;
use crate::params::{NameOfCluster, Params, SpelledBody, same};
use crate::state::AppState;

/// A cluster as it is asked for; what is left out means its default.
#[derive(Debug, Deserialize, ToSchema)]
pub struct NewCluster {
    #[serde(default, deserialize_with = "crate::params::present")]
    name: Option<String>,
    #[serde(default)]
    network: String,
    #[serde(default)]
    container_manager: String,
}

/// A cluster as it is shown after its creation: without its members.
#[derive(Debug, Serialize, ToSchema)]
pub struct CreatedCluster {
    #[schema(value_type = String)]
    name: ClusterName,
    status: String,
    network: String,
    container_manager: String,
}

/// A cluster with the state of its members.
#[derive(Debug, Serialize, ToSchema)]
pub struct ClusterView {
    #[schema(value_type = String)]
    name: ClusterName,
    status: &'static str,
    network: String,
    #[schema(value_type = Vec<String>)]
    hostset: Vec<Address>,
    container_manager: String,
    hosts: Counts,
    /// Only while it lasts: its own alarm, its container manager's, or the fleet's.
    #[serde(skip_serializing_if = "Option::is_none")]
    alarm: Option<AlarmView>,
}

/// How many members there are, and how many of them can be used.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub struct Counts {
    total: usize,
    available: usize,
    unavailable: usize,
}

/// The endpoints of clusters.
pub fn endpoints() -> Endpoints<AppState> {
    Endpoints::new("clusters")
        .add(routes!(list), Endpoint::READER.limited_by_handler())
        .add(routes!(get), Endpoint::READER)
        .add(routes!(create), Endpoint::OPERATOR.makes_cluster())
        .add(routes!(delete), Endpoint::OPERATOR)
}

/// The names of the clusters that the caller may see, sorted.
#[utoipa::path(
    get,
    path = "/api/v0/clusters",
    responses((status = 200, body = [String])),
)]
async fn list(api: Api) -> Result<Json<Vec<ClusterName>>, ApiError> {
    let clusters = api.storage.list::<ClusterHead>().await?;
    let names = clusters.into_iter().map(|cluster| cluster.record.name);
    Ok(Json(names.filter(|name| api.shows(Some(name))).collect()))
}

/// The fields of a host that count for its cluster.
#[derive(Deserialize)]
struct HostHealth {
    status: Status,
}

/// A cluster, and how its members are.
#[utoipa::path(
    get,
    path = "/api/v0/cluster/{name}",
    responses(
        (status = 200, body = ClusterView),
        (status = 404, description = "there is no such cluster"),
    ),
)]
async fn get(
    api: Api,
    Params(NameOfCluster(name)): Params<NameOfCluster>,
) -> Result<Json<ClusterView>, ApiError> {
    let cluster = found(&api, &name).await?;
    let hosts = api.storage.get_many_as::<Host, HostHealth>(&cluster.hostset);
    let hosts = async { hosts.await.map_err(ApiError::from) };
    let (hosts, alarm) = tokio::try_join!(hosts, api.alarm(&name))?;
    let statuses: Vec<_> = hosts.iter().map(|h| h.as_ref().map(|h| h.record.status)).collect();
    let (status, hosts) = state_of(&statuses, cluster.container_manager.is_empty());
    let alarm = alarm.map(AlarmView::from);
    let is_deleting = cluster.change == Some(ClusterChange::Deleting);
    let status = if is_deleting { "deleting" } else { status };
    let Cluster { name, network, hostset, container_manager, .. } = cluster;
    Ok(Json(ClusterView { name, status, network, hostset, container_manager, hosts, alarm }))
}

/// Makes a cluster. An unknown network stands for the default one; again the same is no error.
#[utoipa::path(
    put,
    path = "/api/v0/cluster/{name}",
    request_body = NewCluster,
    responses(
        (status = 201, body = CreatedCluster),
        (status = 409, description = "no such container manager, or a different cluster of that name"),
    ),
)]
async fn create(
    api: Api,
    Params(NameOfCluster(name)): Params<NameOfCluster>,
    SpelledBody(new): SpelledBody<NewCluster>,
) -> Result<(StatusCode, Json<CreatedCluster>), ApiError> {
    same("name", new.name.as_deref(), &name)?;
    let cluster = api.commit(|| plan_creation(&api, &name, &new)).await?;
    let ClusterHead { name, network, container_manager, .. } = cluster;
    let status = String::new();
    Ok((StatusCode::CREATED, Json(CreatedCluster { name, status, network, container_manager })))
}

async fn plan_creation(
    api: &Api,
    name: &ClusterName,
    new: &NewCluster,
) -> Result<(Transaction, ClusterHead), ApiError> {
    let network = network(api, &new.network).await?;
    let manager = container_manager(api, &new.container_manager, name).await?;
    let cluster = ClusterHead {
        name: name.clone(),
        network: network.record.name.clone(),
        container_manager: new.container_manager.clone(),
        ..ClusterHead::default()
    };
    let existing = api.storage.find::<ClusterHead>(name).await?;
    if let Some(deleting) = existing.as_ref().filter(|existing| existing.record.is_deleting()) {
        unchanging(&deleting.record)?;
    }
    match existing {
        // Saving what it uses, too, keeps that from being deleted at the same moment.
        None => {
            let mut transaction = Transaction::default().update(&network)?.create(&cluster)?;
            if let Some(manager) = manager {
                transaction = transaction.update(&manager)?;
            }
            Ok((transaction, cluster))
        }
        Some(Revised { record: existing, .. })
            if existing.network == cluster.network
                && existing.container_manager == cluster.container_manager =>
        {
            Ok((Transaction::default(), existing))
        }
        Some(_) => Err(ApiError::conflict(format!(
            "there is a cluster {name} with another network or container manager"
        ))),
    }
}

/// The network of that name; an unknown one, or one that may not be seen, falls back to the default.
async fn network(api: &Api, name: &str) -> Result<Revised<Network>, ApiError> {
    if model::ident::name(name).is_ok()
        && (name == Network::DEFAULT || api.shows(None))
        && let Some(network) = api.storage.find::<Network>(name).await?
    {
        return Ok(network);
    }
    // Made at the first start, as soon as the storage service answers.
    let early = || ApiError::unavailable("the default network is being made: try again");
    api.storage.find::<Network>(Network::DEFAULT).await?.ok_or_else(early)
}

/// The container manager of that name, which serves the cluster; `None` for an empty name. A caller who does not see
/// all clusters may use only managers that name the cluster.
async fn container_manager(
    api: &Api,
    name: &str,
    cluster: &ClusterName,
) -> Result<Option<Revised<ContainerManagerConfig>>, ApiError> {
    if name.is_empty() {
        return Ok(None);
    }
    let unknown = || ApiError::conflict(format!("there is no container manager {name:?}"));
    model::ident::name(name).map_err(|_| unknown())?;
    let found = api.storage.find::<ContainerManagerConfig>(name).await?.ok_or_else(unknown)?;
    match &found.record.clusters {
        Some(clusters) if clusters.includes(cluster) => Ok(Some(found)),
        _ if !api.shows(None) && !is_managed(api, cluster, name).await? => Err(unknown()),
        None => Ok(Some(found)),
        Some(clusters) => {
            let served = abridged(Vec::from(clusters.clone()), ", ");
            let detail = format!("the container manager {name} serves the clusters {served}");
            Err(ApiError::conflict(detail))
        }
    }
}

/// Whether a cluster has this container manager.
async fn is_managed(api: &Api, cluster: &ClusterName, manager: &str) -> Result<bool, ApiError> {
    let found = api.storage.find::<ClusterHead>(cluster).await?;
    Ok(found.is_some_and(|found| found.record.container_manager == manager))
}

/// Removes a cluster; its hosts stay, in none. It is marked first, and has the status `deleting` until a
/// job has removed its nodes and its members. Of a damaged record the container manager is unknown: then the nodes
/// there stay as they are.
#[utoipa::path(
    delete,
    path = "/api/v0/cluster/{name}",
    responses(
        (status = 200),
        (status = 404, description = "there is no such cluster"),
        (status = 409, description = "an operation is in process on it, or its members are being changed"),
        (status = 502, description = "its container manager refuses; it stays marked, and can be deleted again"),
        (status = 504, description = "the deletion takes longer than a request may, and goes on"),
    ),
)]
async fn delete(
    api: Api,
    State(state): State<AppState>,
    Params(NameOfCluster(name)): Params<NameOfCluster>,
) -> Result<Json<[(); 0]>, ApiError> {
    let plan = || async {
        let mut cluster = match api.storage.find_damaged::<ClusterHead>(&name).await? {
            None => return Err(ApiError::no_cluster(&name)),
            Some(Found::Whole(cluster)) => cluster,
            Some(damaged) => {
                let network = Network::DEFAULT.to_owned();
                let record = ClusterHead { name: name.clone(), network, ..ClusterHead::default() };
                Revised { record, revision: damaged.revision() }
            }
        };
        if cluster.record.is_deleting() {
            return Ok((Transaction::default(), ()));
        }
        unchanging(&cluster.record)?;
        let transaction = not_under_operation(&api, &name).await?;
        cluster.record.change = Some(ClusterChange::Deleting);
        Ok((transaction.update(&cluster)?, ()))
    };
    api.commit(plan).await?;
    state.changes.finish(&name).await?;
    Ok(Json([]))
}

/// The state of a cluster by the statuses of its members; `None` is a member whose record is gone.
fn state_of(members: &[Option<Status>], unmanaged: bool) -> (&'static str, Counts) {
    let is_available = |status: &Option<Status>| match status {
        Some(Status::Active) => true,
        Some(Status::Disassociated) => unmanaged,
        _ => false,
    };
    let total = members.len();
    let available = members.iter().filter(|status| is_available(status)).count();
    let status = match available {
        all if all == total => "ok",
        0 => "failed",
        _ => "degraded",
    };
    (status, Counts { total, available, unavailable: total - available })
}

#[cfg(test)]
mod tests {
    use Status::{Active, Disassociated, Failed, Investigating};

    use super::*;

    #[test]
    fn a_cluster_is_as_well_as_its_members() {
        for (members, unmanaged, status, available) in [
            (vec![], true, "ok", 0),
            (vec![Some(Disassociated)], true, "ok", 1),
            (vec![Some(Disassociated)], false, "failed", 0),
            (vec![Some(Active)], false, "ok", 1),
            (vec![Some(Active), Some(Failed)], false, "degraded", 1),
            (vec![Some(Disassociated), None], true, "degraded", 1),
            (vec![Some(Investigating)], true, "failed", 0),
        ] {
            let total = members.len();
            let counts = Counts { total, available, unavailable: total - available };
            assert_eq!(state_of(&members, unmanaged), (status, counts), "{members:?}");
        }
    }
}
