//! Explanations: why an object, or the installation, is in its state.

use std::collections::HashSet;

use axum::Json;
use axum::extract::State;
use bus::topology;
use model::explain::{self, ClusterFacts, Explanation, HostFacts, InstallationFacts, RELATED};
use model::{
    ClusterHead, ClusterName, CordonDebt, Freeze, Host, HostState, Operation, OperationHost,
    OperationStatus, Status,
};
use storage_client::{Revised, queries};
use utoipa_axum::routes;

use crate::api::Api;
use crate::cluster_records;
use crate::endpoint::{Endpoint, Endpoints};
use crate::error::ApiError;
use crate::handlers::hosts;
use crate::handlers::operations::history;
use crate::handlers::operations::known::{self, Known};
use crate::params::{AddressParam, Name, NameOfCluster, Params};
use crate::readiness::Checks;
use crate::state::AppState;

/// The endpoints of explanations.
pub fn endpoints() -> Endpoints<AppState> {
    Endpoints::new("explanations")
        .add(routes!(installation), Endpoint::READER.limited_by_handler())
        .add(routes!(host), Endpoint::READER)
        .add(routes!(cluster), Endpoint::READER)
        .add(routes!(operation), Endpoint::READER)
}

/// Why the installation is in its state: failed parts, missing services, the freeze, and the alarms and operations in process of the
/// clusters that the caller may see.
#[utoipa::path(
    get,
    path = "/api/v0/explain",
    responses((status = 200, body = Explanation)),
)]
async fn installation(
    api: Api,
    State(state): State<AppState>,
) -> Result<Json<Explanation>, ApiError> {
    let ground = state.ground(&api);
    let checks = state.readiness.checks(&ground).await;
    let failed = checks.failed();
    let services = state.readiness.services(&ground, false).await;
    let (freeze, alarms, debts, operations) = records(&api, &state, &checks).await?;
    Ok(Json(explain::installation(&InstallationFacts {
        failed: &failed,
        missing: &services.missing,
        has_user: state.auth.has_users(),
        freeze: freeze.as_ref(),
        alarms: &alarms,
        debts: &debts,
        operations: &operations,
    })))
}

type Records = (Option<Freeze>, Vec<model::Alarm>, Vec<CordonDebt>, Vec<Explanation>);

/// The freeze, the alarms, the cordons of this installation, and explanations of the first operations in process; none while they cannot be read.
async fn records(api: &Api, state: &AppState, checks: &Checks) -> Result<Records, ApiError> {
    if checks.failure.is_some() {
        return Ok((None, Vec::new(), Vec::new(), Vec::new()));
    }
    let freeze = queries::freeze(&api.storage).await?;
    let alarms = state.readiness.alarms(&state.ground(api)).await.unwrap_or_default();
    let managers = visible_managers(api).await?;
    let alarms = alarms.into_iter().filter(|alarm| match alarm.scope.split_once('.') {
        Some(("cluster", cluster)) => api.shows(Some(&cluster.into())),
        Some(("manager", manager)) => {
            managers.as_ref().is_none_or(|managers| managers.contains(manager))
        }
        _ => true,
    });
    let alarms = alarms.map(|alarm| api.visible_alarm(alarm)).collect();
    let debts = api.storage.list::<CordonDebt>().await?.into_iter().map(|found| found.record);
    let debts =
        debts.filter(|debt| api.shows(Some(&debt.cluster).filter(|c| !c.is_empty()))).collect();
    let all = api.storage.list::<Operation>().await?.into_iter().map(|found| found.record);
    let in_process = all.filter(|operation| {
        operation.status == OperationStatus::InProcess && api.shows(Some(&operation.cluster))
    });
    let mut operations = Vec::new();
    for operation in in_process.take(RELATED) {
        operations.push(Known::read(api, state, operation).await?.explain().1);
    }
    Ok((freeze, alarms, debts, operations))
}

/// The container managers of the clusters that the caller may see; `None` for all.
async fn visible_managers(api: &Api) -> Result<Option<HashSet<String>>, ApiError> {
    if api.shows(None) {
        return Ok(None);
    }
    let clusters = api.storage.list::<ClusterHead>().await?.into_iter().map(|found| found.record);
    let visible = clusters.filter(|cluster| api.shows(Some(&cluster.name)));
    Ok(Some(visible.map(|cluster| cluster.container_manager).collect()))
}

/// Why a host is in its state.
#[utoipa::path(
    get,
    path = "/api/v0/explain/host/{address}",
    responses(
        (status = 200, body = Explanation),
        (status = 404, description = "there is no such host"),
    ),
)]
async fn host(
    api: Api,
    State(state): State<AppState>,
    Params(AddressParam(address)): Params<AddressParam>,
) -> Result<Json<Explanation>, ApiError> {
    let host = hosts::found(&api, &address).await?.record;
    let known = api.storage.find::<HostState>(&address).await?.map(|found| found.record);
    let cluster =
        queries::cluster_of(&api.storage, &address).await?.map(|found| found.cluster.record.name);
    let (mut part, mut alarm) = (None, None);
    if let Some(cluster) = &cluster {
        part = part_of(&api, cluster, &address).await?;
        alarm = api.alarm(cluster).await?;
    }
    let services = state.readiness.services(&state.ground(&api), false).await;
    Ok(Json(explain::host(&HostFacts {
        host: &host,
        state: known.as_ref(),
        part: part.as_ref().map(|(operation, part)| (operation, part)),
        alarm: alarm.as_ref(),
        has_investigator: !services.lacks(topology::INVESTIGATOR.name),
        has_watcher: !services.lacks(topology::WATCHER.name),
    })))
}

/// The part of a host in the operation of its cluster that is in process.
async fn part_of(
    api: &Api,
    cluster: &ClusterName,
    address: &str,
) -> Result<Option<(Operation, OperationHost)>, ApiError> {
    let operation = known::in_process(api, cluster).await?;
    let operation = operation.filter(|o| o.hosts.iter().any(|host| host == address));
    let Some(operation) = operation else { return Ok(None) };
    let id = OperationHost::id_of(&operation.id, address);
    let part = api.storage.find::<OperationHost>(&id).await?;
    let part = part.map_or_else(
        || OperationHost::pending(&operation.id, address),
        |Revised { record, .. }| record,
    );
    Ok(Some((operation, part)))
}

/// Why a cluster is in its state. While an operation is in process on it, the sentence is the operation's.
#[utoipa::path(
    get,
    path = "/api/v0/explain/cluster/{name}",
    responses(
        (status = 200, body = Explanation),
        (status = 404, description = "there is no such cluster"),
    ),
)]
async fn cluster(
    api: Api,
    State(state): State<AppState>,
    Params(NameOfCluster(name)): Params<NameOfCluster>,
) -> Result<Json<Explanation>, ApiError> {
    let cluster = cluster_records::found(&api, &name).await?;
    let operation = match known::in_process(&api, &name).await? {
        Some(operation) => Some(Known::read(&api, &state, operation).await?.explain().1),
        None => None,
    };
    let alarm = api.alarm(&name).await?;
    let members = api.storage.get_many::<Host>(&cluster.hostset).await?;
    let failed = members.into_iter().flatten().map(|host| host.record);
    let failed: Vec<_> = failed.filter(|host| host.status == Status::Failed).collect();
    let first: Vec<_> = failed.iter().take(RELATED).map(|host| host.address.clone()).collect();
    let states = api.storage.get_many::<HostState>(&first).await?;
    let explained = failed.iter().zip(states).map(|(host, state)| {
        let state = state.as_ref().map(|state| &state.record);
        let (part, alarm) = (None, None);
        let (has_investigator, has_watcher) = (true, true);
        explain::host(&HostFacts { host, state, part, alarm, has_investigator, has_watcher })
    });
    let explained: Vec<_> = explained.collect();
    Ok(Json(explain::cluster(&ClusterFacts {
        cluster: &cluster,
        failed: failed.len(),
        explained: &explained,
        operation: operation.as_ref(),
        alarm: alarm.as_ref(),
    })))
}

/// Why an operation is in its state.
#[utoipa::path(
    get,
    path = "/api/v0/explain/operation/{id}",
    responses(
        (status = 200, body = Explanation),
        (status = 404, description = "there is no such operation"),
    ),
)]
async fn operation(
    api: Api,
    State(state): State<AppState>,
    Params(Name(id)): Params<Name>,
) -> Result<Json<Explanation>, ApiError> {
    let operation = history::found(&api, &id).await?.record;
    Ok(Json(Known::read(&api, &state, operation).await?.explain().1))
}
