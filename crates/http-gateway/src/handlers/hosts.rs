//! Hosts.

pub(crate) mod create;
mod keys;
mod new_host;
mod node;
pub(crate) mod rotate;
mod ticket;

use std::collections::HashSet;

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bus::{topology, warn_unless_outage};
use model::{
    ClusterMember, FailureReason, Host, HostCreds, HostPlacement, HostState, Lease, LeasePurpose,
    Stamp, Status,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use storage_client::{Revised, Transaction, queries};
use utoipa::ToSchema;
use utoipa_axum::routes;

pub(super) use create::{Registrant, joined};

use crate::api::Api;
use crate::cluster_records::not_under_operation;
use crate::endpoint::{Endpoint, Endpoints};
use crate::error::ApiError;
use crate::nodes;
use crate::params::{AddressParam, Params, SpelledBody, present, same_address};
use crate::state::AppState;

/// What a body may repeat of the URL.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
pub struct Named {
    #[serde(deserialize_with = "present")]
    address: Option<String>,
}

/// The endpoints of hosts. An operator may accept a changed host key, as when a host was installed again: whoever may delete a host
/// and register it again with another key could do the same in two steps. Only an administrator may change its credentials.
pub fn endpoints() -> Endpoints<AppState> {
    Endpoints::new("hosts")
        .add(routes!(list), Endpoint::READER.limited_by_handler())
        .add(routes!(create::create_unnamed), Endpoint::OPERATOR.registers_hosts().idempotent())
        .add(routes!(get), Endpoint::READER)
        .add(routes!(create::create), Endpoint::OPERATOR.registers_hosts().idempotent())
        .add(routes!(delete), Endpoint::OPERATOR)
        .add(routes!(keys::credentials), Endpoint::ADMIN.reads_credentials())
        .add(routes!(rotate::rotate), Endpoint::ADMIN)
        .add(routes!(status), Endpoint::READER)
        .add(routes!(investigate), Endpoint::OPERATOR.idempotent())
        .add(routes!(keys::accept_key), Endpoint::OPERATOR.idempotent())
        .add(routes!(node::cordon, node::uncordon), Endpoint::OPERATOR)
        .add(routes!(node::drain), Endpoint::OPERATOR.idempotent())
        .add(routes!(node::placement), Endpoint::READER)
        .add(routes!(node::place), Endpoint::ADMIN.for_all_clusters())
        .add(routes!(keys::public_key), Endpoint::READER.without_fleet())
}

/// The hosts that the caller may see, sorted by their addresses.
#[utoipa::path(
    get,
    path = "/api/v0/hosts",
    responses((status = 200, body = [Host])),
)]
async fn list(api: Api) -> Result<Response, ApiError> {
    if api.shows(None) {
        return Ok(as_json(api.storage.list_text::<Host>().await?).into_response());
    }
    // A host that joins another cluster in between is left out.
    let hosts = api.storage.list::<Host>().await?;
    let members = api.storage.list::<ClusterMember>().await?.into_iter().map(|found| found.record);
    let members = members.filter(|member| api.shows(Some(&member.cluster)));
    let visible: HashSet<_> = members.map(|member| member.address).collect();
    let hosts = hosts.into_iter().map(|found| found.record);
    let hosts: Vec<_> = hosts.filter(|host| visible.contains(&host.address)).collect();
    Ok(Json(hosts).into_response())
}

/// Records as the storage service has checked and written them: doing that again would only take time.
fn as_json(text: String) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], text)
}

/// A host.
#[utoipa::path(
    get,
    path = "/api/v0/host/{address}",
    responses(
        (status = 200, body = Host),
        (status = 404, description = "there is no such host"),
    ),
)]
async fn get(
    api: Api,
    Params(AddressParam(address)): Params<AddressParam>,
) -> Result<impl IntoResponse, ApiError> {
    match api.storage.get_text::<Host>(&address).await {
        Err(error) if error.is_not_found() => Err(ApiError::no_host(&address)),
        answered => answered.map(as_json).map_err(ApiError::from),
    }
}

/// Removes a host with its credentials, its state and its membership, in one write; also one whose record is
/// damaged.
#[utoipa::path(
    delete,
    path = "/api/v0/host/{address}",
    responses(
        (status = 200),
        (status = 404, description = "there is no such host"),
        (status = 409, description = "an operation is in process on its cluster"),
        (status = 502, description = "the container manager refuses"),
    ),
)]
async fn delete(
    api: Api,
    Params(AddressParam(address)): Params<AddressParam>,
) -> Result<Json<[(); 0]>, ApiError> {
    let plan = || async {
        let host = api.storage.find_damaged::<Host>(&address).await?;
        let host = host.ok_or_else(|| ApiError::no_host(&address))?;
        let mut transaction = node::may_unset_placement(&api, &address).await?;
        if let Some(found) = queries::cluster_of(&api.storage, &address).await? {
            let queries::Membership { mut cluster, member } = found;
            let unchanged = not_under_operation(&api, &cluster.record.name).await?;
            transaction.checks.extend(unchanged.checks);
            transaction = queries::leave(transaction, &mut cluster, [&member])?;
            nodes::remove(&api, &cluster.record, std::slice::from_ref(&address)).await?;
        }
        let transaction = transaction
            .check::<Host>(&address, Some(host.revision()))
            .delete::<Host>(&address)
            .delete::<HostCreds>(&address)
            .delete::<HostState>(&address)
            .delete::<HostPlacement>(&address)
            // Whoever investigates it notices at the next write.
            .delete::<Lease>(&LeasePurpose::Investigation(&address).name());
        Ok((transaction, ()))
    };
    api.commit(plan).await?;
    Ok(Json([]))
}

/// How a host is, and what its container manager says about it.
#[utoipa::path(
    get,
    path = "/api/v0/host/{address}/status",
    responses(
        (status = 200, body = HostStatus),
        (status = 404, description = "there is no such host"),
    ),
)]
async fn status(
    api: Api,
    Params(AddressParam(address)): Params<AddressParam>,
) -> Result<Json<HostStatus>, ApiError> {
    let Host { status, last_check, .. } = found(&api, &address).await?.record;
    let state = api.storage.find::<HostState>(&address).await?;
    let HostState { reason, detail, failed_at, .. } =
        state.map(|state| state.record).unwrap_or_default();
    let has_failed = status == Status::Failed;
    let known = FailureReason::from_word(&reason).filter(|_| has_failed);
    let remedy = known.map(|reason| reason.words().remedy);
    let since = Some(failed_at).filter(|since| has_failed && !since.is_empty());
    let reason = has_failed.then_some(reason);
    let host = HostSummary { last_check, status, since, reason, detail, remedy };
    let container_manager = nodes::status(&api, &address).await?;
    Ok(Json(HostStatus { kind: "host_only", host, container_manager }))
}

/// Has a host investigated again: the way out of `failed`.
#[utoipa::path(
    post,
    path = "/api/v0/host/{address}/investigate",
    request_body = Named,
    responses(
        (status = 202, body = Host),
        (status = 404, description = "there is no such host"),
        (status = 409, description = "an operation is in process on its cluster"),
    ),
)]
async fn investigate(
    api: Api,
    Params(AddressParam(address)): Params<AddressParam>,
    SpelledBody(named): SpelledBody<Named>,
) -> Result<(StatusCode, Json<Host>), ApiError> {
    same_address("address", named.address.as_deref(), &address)?;
    let plan = || async {
        let mut host = found(&api, &address).await?;
        if host.record.status.is_under_investigation() {
            return Ok((Transaction::default(), host.record));
        }
        let transaction = look_again(&api, &mut host).await?;
        Ok((transaction, host.record))
    };
    let host = api.commit(plan).await?;
    wake_investigator(&api, &address).await;
    Ok((StatusCode::ACCEPTED, Json(host)))
}

/// How a host is.
#[derive(Debug, Serialize, ToSchema)]
pub struct HostStatus {
    #[serde(rename = "type")]
    kind: &'static str,
    host: HostSummary,
    /// What its container manager says; empty when there is none, or it cannot say.
    #[schema(value_type = Object)]
    container_manager: Value,
}

/// A host's own part of its status.
#[derive(Debug, Serialize, ToSchema)]
pub struct HostSummary {
    #[schema(value_type = String)]
    last_check: Stamp,
    status: Status,
    /// When it failed for this reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    since: Option<Stamp>,
    /// In one stable word, why it is `failed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// The same as a sentence; for a healthy host what was, or was not, set up.
    #[serde(skip_serializing_if = "String::is_empty")]
    detail: String,
    /// What to do about the reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<&'static str>,
}

/// A transaction that hands a host to the investigator; not while an operation works on its cluster.
async fn look_again(api: &Api, host: &mut Revised<Host>) -> Result<Transaction, ApiError> {
    let mut transaction = Transaction::default();
    if let Some(found) = queries::cluster_of(&api.storage, &host.record.address).await? {
        transaction = not_under_operation(api, &found.cluster.record.name).await?;
    }
    host.record.status = Status::Investigating;
    Ok(transaction.update(host)?)
}

/// The host with this address.
///
/// # Errors
/// 404 when there is none.
pub(super) async fn found(api: &Api, address: &str) -> Result<Revised<Host>, ApiError> {
    api.storage.find::<Host>(address).await?.ok_or_else(|| ApiError::no_host(address))
}

/// The record is the job; the message only makes it sooner.
async fn wake_investigator(api: &Api, address: &str) {
    let params = json!({"address": address, "cluster_data": {}});
    if let Err(error) = api.bus.notify(topology::INVESTIGATE, &params, &api.context.bus).await {
        warn_unless_outage!(error, "the investigator was not woken");
    }
}
