//! Operations, running and past: in short, and host by host.

use axum::Json;
use axum::extract::State;
use model::explain::{Explanation, OperationState};
use model::{
    ClusterName, CordonDebt, Operation, OperationControl, OperationHost, OperationKind,
    OperationStatus, Options, Stamp, Step, Wanted,
};
use serde::Serialize;
use serde_json::Value;
use storage_client::Revised;
use utoipa::ToSchema;

use super::known::Known;
use crate::api::Api;
use crate::cluster_records;
use crate::error::ApiError;
use crate::params::{Name, NameOfCluster, Params};
use crate::state::AppState;

/// Why a host was left out.
const LEFT_OUT: &str = "unreachable at the start";

/// An operation in short.
#[derive(Debug, Serialize, ToSchema)]
pub struct OperationSummary {
    id: String,
    kind: OperationKind,
    /// The version that is deployed; for a deployment only.
    #[serde(skip_serializing_if = "String::is_empty")]
    version: String,
    status: OperationStatus,
    state: OperationState,
    /// Why it ended before every host had its turn; empty otherwise.
    reason: String,
    started_by: String,
    #[schema(value_type = String)]
    started_at: Stamp,
    #[schema(required, value_type = Option<String>)]
    finished_at: Option<Stamp>,
}

/// An operation, host by host.
#[derive(Debug, Serialize, ToSchema)]
pub struct OperationView {
    id: String,
    #[schema(value_type = String)]
    cluster: ClusterName,
    kind: OperationKind,
    /// The version that is deployed; for a deployment only.
    #[serde(skip_serializing_if = "String::is_empty")]
    version: String,
    /// What was asked for, with the configured defaults.
    options: Options,
    status: OperationStatus,
    state: OperationState,
    /// Why it ended before every host had its turn; empty otherwise.
    reason: String,
    started_by: String,
    /// The request that started it.
    request_id: String,
    #[schema(value_type = String)]
    started_at: Stamp,
    #[schema(required, value_type = Option<String>)]
    finished_at: Option<Stamp>,
    /// The operation whose unfinished hosts this one works on.
    #[serde(skip_serializing_if = "Option::is_none")]
    continues: Option<String>,
    /// The operation that works on the unfinished hosts of this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    continued_by: Option<String>,
    /// What it was told, where that is something else than to go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    control: Option<Control>,
    /// Why it is in its state.
    explanation: Explanation,
    counts: HostCounts,
    /// So many hosts, the first ones, were sick but reachable at the start.
    sick: usize,
    /// The nodes that it has cordoned and that are not uncordoned yet.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    debts: Vec<CordonDebt>,
    /// The hosts in their turns, then those that were left out.
    #[schema(value_type = Vec<OperationHost>)]
    hosts: Vec<Value>,
}

/// What an operation was told.
#[derive(Debug, Serialize, ToSchema)]
pub struct Control {
    wanted: Wanted,
    by: String,
    #[schema(value_type = String)]
    at: Stamp,
    reason: String,
}

/// How many hosts are where.
#[derive(Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct HostCounts {
    total: usize,
    done: usize,
    skipped: usize,
    failed: usize,
    under_way: usize,
    pending: usize,
}

impl HostCounts {
    fn of(hosts: &[OperationHost]) -> Self {
        let mut counts = Self { total: hosts.len(), ..Self::default() };
        for host in hosts {
            *match host.step {
                Step::Done => &mut counts.done,
                Step::Skipped => &mut counts.skipped,
                Step::Failed => &mut counts.failed,
                step if step.is_under_way() => &mut counts.under_way,
                _ => &mut counts.pending,
            } += 1;
        }
        counts
    }
}

/// The operations of a cluster, the newest first.
#[utoipa::path(
    get,
    path = "/api/v0/cluster/{name}/operations",
    responses(
        (status = 200, body = [OperationSummary]),
        (status = 404, description = "there is no such cluster"),
    ),
)]
pub(super) async fn list(
    api: Api,
    State(state): State<AppState>,
    Params(NameOfCluster(name)): Params<NameOfCluster>,
) -> Result<Json<Vec<OperationSummary>>, ApiError> {
    cluster_records::head(&api, &name).await?;
    let all = api.storage.list::<Operation>().await?.into_iter().map(|found| found.record);
    let mut operations: Vec<_> = all.filter(|operation| operation.cluster == name).collect();
    operations.sort_by(|a, b| (&b.started_at, &b.id).cmp(&(&a.started_at, &a.id)));
    let mut summaries = Vec::with_capacity(operations.len());
    for operation in operations {
        summaries.push(summary(&api, &state, operation).await?);
    }
    Ok(Json(summaries))
}

/// An operation, host by host.
#[utoipa::path(
    get,
    path = "/api/v0/operation/{id}",
    responses(
        (status = 200, body = OperationView),
        (status = 404, description = "there is no such operation"),
    ),
)]
pub(super) async fn get(
    api: Api,
    State(state): State<AppState>,
    Params(Name(id)): Params<Name>,
) -> Result<Json<OperationView>, ApiError> {
    let operation = found(&api, &id).await?.record;
    let known = Known::read(&api, &state, operation).await?;
    let (state, explanation) = known.explain();
    let Known { operation, mut hosts, control, .. } = known;
    hosts.extend(operation.left_out.iter().map(|address| OperationHost {
        step: Step::Skipped,
        skipped: Some(LEFT_OUT.to_owned()),
        ..OperationHost::pending(&operation.id, address)
    }));
    let debts = debts(&api, &operation.id, &hosts).await?;
    for node in hosts.iter_mut().filter_map(|host| host.node.as_mut()) {
        node.is_cordoned = debts.iter().any(|debt| debt.node == node.name);
    }
    let Operation { id, cluster, kind, version, options, status, reason, .. } = operation;
    let Operation { started_by, request_id, started_at, finished_at, sick, .. } = operation;
    let Operation { continues, continued_by, .. } = operation;
    Ok(Json(OperationView {
        id,
        cluster,
        kind,
        version,
        options,
        status,
        state,
        reason,
        started_by,
        request_id,
        started_at,
        finished_at,
        continues,
        continued_by,
        control: control.and_then(Control::of),
        explanation,
        counts: HostCounts::of(&hosts),
        sick,
        debts,
        hosts: hosts.iter().map(without_id).collect::<Result<_, _>>()?,
    }))
}

/// The cordons by an operation of the nodes of its hosts, as far as they are still there.
async fn debts(
    api: &Api,
    operation: &str,
    hosts: &[OperationHost],
) -> Result<Vec<CordonDebt>, ApiError> {
    let nodes = hosts.iter().filter_map(|host| host.node.as_ref());
    let cordoned = nodes.filter(|node| node.is_cordoned);
    let cordoned: Vec<_> =
        cordoned.map(|node| CordonDebt::id_of(&node.kubernetes, &node.name)).collect();
    if cordoned.is_empty() {
        return Ok(Vec::new());
    }
    let found = api.storage.get_many::<CordonDebt>(&cordoned).await?;
    let found = found.into_iter().flatten().map(|found| found.record);
    Ok(found.filter(|debt| debt.operation == operation).collect())
}

impl Control {
    fn of(control: OperationControl) -> Option<Self> {
        let OperationControl { wanted, by, at, reason, .. } = control;
        (wanted != Wanted::Run).then_some(Self { wanted, by, at, reason })
    }
}

/// The operation of that id.
///
/// # Errors
/// 404 when there is none.
pub async fn found(api: &Api, id: &str) -> Result<Revised<Operation>, ApiError> {
    api.storage.find::<Operation>(id).await?.ok_or_else(|| ApiError::no_operation(id))
}

/// An operation in short, as it is now.
///
/// # Errors
/// When the storage service fails.
pub async fn summary(
    api: &Api,
    state: &AppState,
    operation: Operation,
) -> Result<OperationSummary, ApiError> {
    let known = Known::in_short(api, state, operation).await?;
    let (state, _) = known.explain();
    let Operation { id, kind, version, status, reason, .. } = known.operation;
    let Operation { started_by, started_at, finished_at, .. } = known.operation;
    Ok(OperationSummary {
        id,
        kind,
        version,
        status,
        state,
        reason,
        started_by,
        started_at,
        finished_at,
    })
}

/// A part of an operation as it is shown: without the id, which says only where it is kept.
///
/// # Errors
/// When it cannot be written as JSON.
pub(super) fn without_id(part: &impl Serialize) -> bus::Result<Value> {
    let mut value = serde_json::to_value(part)
        .map_err(|e| bus::Error::internal("cannot write the record as JSON").with_source(e))?;
    if let Some(members) = value.as_object_mut() {
        members.remove("id");
    }
    Ok(value)
}
