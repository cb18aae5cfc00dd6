//! The node of one host: its cordon, its drain, and what an administrator sets about it.

use axum::Json;
use axum::extract::RawQuery;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use bus::topology;
use model::messages::{CordonHost, CordonedHost, OperationPlan};
use model::{Address, Host, HostPlacement, Model as _, OperationKind};
use serde::{Deserialize, Serialize};
use storage_client::{Transaction, queries};
use utoipa::ToSchema;

use super::found;
use crate::api::Api;
use crate::cluster_records::not_under_operation;
use crate::endpoint::has_flag;
use crate::error::ApiError;
use crate::handlers::operations::start::{NewOperation, Started, ask, location};
use crate::params::{AddressParam, Params, SpelledBody};
use crate::principal::Role;

/// The query by which the cordon of others is removed, too.
const FOREIGN: &str = "foreign";

/// Cordons the node of a host: no pods are scheduled on it, and operations leave the host alone.
#[utoipa::path(
    put,
    path = "/api/v0/host/{address}/cordon",
    responses(
        (status = 200, body = CordonedHost),
        (status = 404, description = "there is no such host"),
        (status = 409, description = "it has no node, others have cordoned it, or an operation is in process on its cluster"),
        (status = 502, description = "the container manager refuses"),
        (status = 503, description = "the container manager does not answer"),
    ),
)]
pub(super) async fn cordon(
    api: Api,
    Params(AddressParam(address)): Params<AddressParam>,
) -> Result<Json<CordonedHost>, ApiError> {
    request(&api, topology::CORDON_HOST, CordonHost { address, foreign: false }).await
}

/// Uncordons the node of a host; with `foreign` also if others have cordoned it.
#[utoipa::path(
    delete,
    path = "/api/v0/host/{address}/cordon",
    params(("foreign" = Option<String>, Query, description = "Also remove the cordon of others.")),
    responses(
        (status = 200, body = CordonedHost),
        (status = 404, description = "there is no such host"),
        (status = 409, description = "it has no node, others have cordoned it, or an operation is in process on its cluster"),
        (status = 502, description = "the container manager refuses"),
        (status = 503, description = "the container manager does not answer"),
    ),
)]
pub(super) async fn uncordon(
    api: Api,
    Params(AddressParam(address)): Params<AddressParam>,
    RawQuery(query): RawQuery,
) -> Result<Json<CordonedHost>, ApiError> {
    let foreign = has_flag(query.as_deref(), FOREIGN);
    request(&api, topology::UNCORDON_HOST, CordonHost { address, foreign }).await
}

async fn request(
    api: &Api,
    key: &str,
    request: CordonHost,
) -> Result<Json<CordonedHost>, ApiError> {
    found(api, &request.address).await?;
    let answer = api.request(key, &request).await?;
    let cordoned = serde_json::from_value(answer).map_err(|e| {
        let message = "the cluster executor answered with something else than a node";
        bus::Error::internal(message).with_source(e)
    })?;
    Ok(Json(cordoned))
}

/// Cordons and drains the node of a host, as an operation of its own; the node stays cordoned.
#[utoipa::path(
    post,
    path = "/api/v0/host/{address}/drain",
    request_body = NewOperation,
    responses(
        (status = 200, body = OperationPlan, description = "what would happen (`dry_run`)"),
        (
            status = 202,
            body = Drained,
            headers(("Location" = String, description = "Where the operation is shown.")),
        ),
        (status = 404, description = "there is no such host"),
        (status = 409, description = "it is in no cluster, an operation is in process there, or pods block the drain"),
    ),
)]
pub(super) async fn drain(
    api: Api,
    Params(AddressParam(address)): Params<AddressParam>,
    SpelledBody(new): SpelledBody<NewOperation>,
) -> Result<Response, ApiError> {
    found(&api, &address).await?;
    let membership = queries::cluster_of(&api.storage, &address).await?;
    let no_member = || {
        ApiError::conflict(format!("{address} is in no cluster, so it has no container manager"))
    };
    let cluster = membership.ok_or_else(no_member)?.cluster.record.name;
    match ask(&api, OperationKind::Drain, &cluster, new.on_host(&address)).await? {
        Started::Planned(plan) => Ok(Json(plan).into_response()),
        Started::Accepted { id, .. } => {
            let location = location(&id);
            Ok((StatusCode::ACCEPTED, location, Json(Drained { operation: id })).into_response())
        }
    }
}

/// The drain of a host.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Drained {
    /// The id of the operation.
    operation: String,
}

/// Whether the caller may delete a host with what an administrator of all clusters has set about it: a transaction that goes
/// through only while that is so.
///
/// # Errors
/// 403 if something is set, and the caller is no operator of all clusters.
pub(super) async fn may_unset_placement(
    api: &Api,
    address: &Address,
) -> Result<Transaction, ApiError> {
    let refused = || {
        ApiError::forbidden(format!(
            "{address} has a node name or a quorum group, so deleting it needs the role operator on all clusters"
        ))
    };
    let Err(refusal) = api.require(Role::Operator, None, refused) else {
        return Ok(Transaction::default());
    };
    match api.storage.find::<HostPlacement>(address).await? {
        Some(_) => Err(refusal),
        None => Ok(Transaction::default().check::<HostPlacement>(address, None)),
    }
}

/// What an administrator sets about a host in Kubernetes and in quorum groups.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub(super) struct Placement {
    /// The name of its node; without it, its address decides.
    node_name: Option<String>,
    /// The quorum group that it is a member of: operations keep a majority of it available, over all clusters.
    quorum_group: Option<String>,
}

impl Placement {
    fn of(placement: &HostPlacement) -> Self {
        let given = |text: &String| (!text.is_empty()).then(|| text.clone());
        Self {
            node_name: given(&placement.node_name),
            quorum_group: given(&placement.quorum_group),
        }
    }
}

/// The node of a host and its quorum group, as an administrator has set them.
#[utoipa::path(
    get,
    path = "/api/v0/host/{address}/placement",
    responses(
        (status = 200, body = Placement),
        (status = 404, description = "there is no such host"),
    ),
)]
pub(super) async fn placement(
    api: Api,
    Params(AddressParam(address)): Params<AddressParam>,
) -> Result<Json<Placement>, ApiError> {
    found(&api, &address).await?;
    let found = api.storage.find::<HostPlacement>(&address).await?;
    Ok(Json(found.map(|found| Placement::of(&found.record)).unwrap_or_default()))
}

/// Sets the node of a host and its quorum group; what is missing in the body is unset.
#[utoipa::path(
    put,
    path = "/api/v0/host/{address}/placement",
    request_body = Placement,
    responses(
        (status = 200, body = Placement),
        (status = 404, description = "there is no such host"),
        (status = 409, description = "an operation is in process on its cluster"),
    ),
)]
pub(super) async fn place(
    api: Api,
    Params(AddressParam(address)): Params<AddressParam>,
    SpelledBody(new): SpelledBody<Placement>,
) -> Result<Json<Placement>, ApiError> {
    let record = HostPlacement {
        address: address.clone(),
        node_name: new.node_name.unwrap_or_default(),
        quorum_group: new.quorum_group.unwrap_or_default(),
    };
    record.validate().map_err(ApiError::bad_request)?;
    let plan = || async {
        let host = found(&api, &address).await?;
        let mut transaction = Transaction::default();
        if let Some(membership) = queries::cluster_of(&api.storage, &address).await? {
            transaction = not_under_operation(&api, &membership.cluster.record.name).await?;
        }
        let transaction = transaction.check::<Host>(&address, Some(host.revision));
        let transaction = if record.node_name.is_empty() && record.quorum_group.is_empty() {
            transaction.delete::<HostPlacement>(&address)
        } else {
            transaction.save(&record)?
        };
        Ok((transaction, Placement::of(&record)))
    };
    api.commit(plan).await.map(Json)
}
