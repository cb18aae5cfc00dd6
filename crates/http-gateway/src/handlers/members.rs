//! The members of a cluster.
//!
//! Joining writes the host's record as well: so a host cannot be deleted while it joins. The membership is a record
//! under the host's address: two clusters cannot take the same host at the same moment.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use model::{Address, Cluster, ClusterChange, ClusterMember, ClusterName, Host, ident};
use serde::Deserialize;
use storage_client::{Revised, Transaction};
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::api::Api;
use crate::changes::CHUNK;
use crate::cluster_records::{found, head, leave, unchanging};
use crate::endpoint::{Endpoint, Endpoints};
use crate::error::ApiError;
use crate::nodes::{self, Registered, join};
use crate::params::{
    AddressParam, NameOfCluster, Params, SpelledBody, present, same, same_address,
};
use crate::principal::Role;
use crate::state::AppState;

/// The members as somebody saw them, and as they shall be.
#[derive(Debug, Deserialize, ToSchema)]
pub struct Replacement {
    #[serde(default, deserialize_with = "present")]
    name: Option<String>,
    #[schema(value_type = Vec<String>)]
    old: Vec<Address>,
    #[schema(value_type = Vec<String>)]
    new: Vec<Address>,
}

/// What a body may repeat of the URL.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
pub struct Membership {
    #[serde(deserialize_with = "present")]
    name: Option<String>,
    #[serde(deserialize_with = "present")]
    host: Option<String>,
}

/// The endpoints of members.
pub fn endpoints() -> Endpoints<AppState> {
    Endpoints::new("members")
        .add(routes!(list), Endpoint::READER)
        .add(routes!(replace), Endpoint::OPERATOR)
        .add(routes!(get), Endpoint::READER)
        .add(routes!(add, remove), Endpoint::OPERATOR)
}

/// The addresses of the members, sorted.
#[utoipa::path(
    get,
    path = "/api/v0/cluster/{name}/hosts",
    responses(
        (status = 200, body = [String]),
        (status = 404, description = "there is no such cluster"),
    ),
)]
async fn list(
    api: Api,
    Params(NameOfCluster(name)): Params<NameOfCluster>,
) -> Result<Json<Vec<Address>>, ApiError> {
    Ok(Json(found(&api, &name).await?.hostset))
}

/// Replaces the members, if they are still those that the caller saw. A change of more than 50 hosts is
/// carried out in steps.
#[utoipa::path(
    put,
    path = "/api/v0/cluster/{name}/hosts",
    request_body = Replacement,
    responses(
        (status = 200, body = Cluster),
        (status = 404, description = "there is no such cluster, or no such host"),
        (status = 405, description = "a host is not ready"),
        (status = 409, description = "`old` is not what the members are, a host is in another cluster, or another change of the cluster is in progress"),
        (status = 502, description = "the container manager refuses"),
        (status = 504, description = "the change takes longer than a request may, and goes on"),
    ),
)]
async fn replace(
    api: Api,
    State(state): State<AppState>,
    Params(NameOfCluster(name)): Params<NameOfCluster>,
    SpelledBody(replacement): SpelledBody<Replacement>,
) -> Result<Json<Cluster>, ApiError> {
    same("name", replacement.name.as_deref(), &name)?;
    let old = canonical(replacement.old);
    let new = canonical(replacement.new);
    let registered = Registered::default();
    let plan = || async {
        let mut cluster = head(&api, &name).await?;
        let wanted = ClusterChange::Changing { hostset: new.iter().cloned().collect() };
        if cluster.record.change.as_ref() == Some(&wanted) {
            return Ok((Transaction::default(), cluster.record));
        }
        unchanging(&cluster.record)?;
        // After the cluster: a member that leaves now raises its revision.
        let current: BTreeSet<_> = found(&api, &name).await?.hostset.into_iter().collect();
        if old != current {
            return Err(ApiError::conflict(
                "`old` is not what the members are now: read them and decide again",
            ));
        }
        let joining: Vec<_> = new.difference(&old).cloned().collect();
        let joining = fit_to_join(&api, &name, &joining, "GET, HEAD").await?;
        if joining.len() + old.difference(&new).count() > CHUNK {
            cluster.record.change = Some(wanted);
            return Ok((Transaction::default().update(&cluster)?, cluster.record));
        }
        let mut transaction = join(&api, &mut cluster, joining, &registered).await?;
        let dropped: Vec<_> = old.difference(&new).cloned().collect();
        if !dropped.is_empty() {
            nodes::remove(&api, &cluster.record, &dropped).await?;
            transaction = leave(&api, transaction, &mut cluster, &dropped).await?;
        }
        Ok((transaction, cluster.record))
    };
    let replaced = api.commit(plan).await;
    if replaced.is_err() {
        registered.take_back(&api).await;
    }
    let replaced = replaced?;
    if replaced.change.is_none() {
        return Ok(Json(Cluster::new(replaced, new.into_iter().collect())));
    }
    state.changes.finish(&name).await?;
    found(&api, &name).await.map(Json)
}

/// Whether a host is a member: its address, in a list.
#[utoipa::path(
    get,
    path = "/api/v0/cluster/{name}/hosts/{host}",
    responses(
        (status = 200, body = [String]),
        (status = 404, description = "there is no such cluster, or the host is no member"),
    ),
)]
async fn get(
    api: Api,
    Params((NameOfCluster(name), AddressParam(host))): Params<(NameOfCluster, AddressParam)>,
) -> Result<Json<[Address; 1]>, ApiError> {
    head(&api, &name).await?;
    if is_member(&api, &name, &host).await? {
        Ok(Json([host]))
    } else {
        Err(ApiError::not_found(format!("{host} is no member of the cluster {name}")))
    }
}

/// Adds a member; again is no error.
#[utoipa::path(
    put,
    path = "/api/v0/cluster/{name}/hosts/{host}",
    request_body = Membership,
    responses(
        (status = 200, body = [String]),
        (status = 404, description = "there is no such cluster, or no such host"),
        (status = 405, description = "a host is not ready"),
        (status = 409, description = "the host is in another cluster, or a change of the cluster is in progress"),
        (status = 502, description = "the container manager refuses"),
    ),
)]
async fn add(
    api: Api,
    Params((NameOfCluster(name), AddressParam(host))): Params<(NameOfCluster, AddressParam)>,
    SpelledBody(membership): SpelledBody<Membership>,
) -> Result<Json<[Address; 1]>, ApiError> {
    same("name", membership.name.as_deref(), &name)?;
    same_address("host", membership.host.as_deref(), &host)?;
    let registered = Registered::default();
    let plan = || async {
        let mut cluster = head(&api, &name).await?;
        unchanging(&cluster.record)?;
        if is_member(&api, &name, &host).await? {
            return Ok((Transaction::default(), ()));
        }
        let joining = std::slice::from_ref(&host);
        let joining = fit_to_join(&api, &name, joining, "GET, HEAD, DELETE").await?;
        Ok((join(&api, &mut cluster, joining, &registered).await?, ()))
    };
    let added = api.commit(plan).await;
    if added.is_err() {
        registered.take_back(&api).await;
    }
    added.map(|()| Json([host]))
}

/// Removes a member; again is no error.
#[utoipa::path(
    delete,
    path = "/api/v0/cluster/{name}/hosts/{host}",
    responses(
        (status = 200),
        (status = 404, description = "there is no such cluster"),
        (status = 409, description = "a change of the cluster is in progress"),
        (status = 502, description = "the container manager refuses"),
    ),
)]
async fn remove(
    api: Api,
    Params((NameOfCluster(name), AddressParam(host))): Params<(NameOfCluster, AddressParam)>,
) -> Result<Json<[(); 0]>, ApiError> {
    let plan = || async {
        let mut cluster = head(&api, &name).await?;
        unchanging(&cluster.record)?;
        if !is_member(&api, &name, &host).await? {
            return Ok((Transaction::default(), ()));
        }
        let leaving = std::slice::from_ref(&host);
        nodes::remove(&api, &cluster.record, leaving).await?;
        Ok((leave(&api, Transaction::default(), &mut cluster, leaving).await?, ()))
    };
    api.commit(plan).await?;
    Ok(Json([]))
}

async fn is_member(api: &Api, cluster: &ClusterName, address: &str) -> Result<bool, ApiError> {
    let member = api.storage.find::<ClusterMember>(address).await?;
    Ok(member.is_some_and(|member| member.record.cluster == *cluster))
}

/// The hosts of these addresses, if all may become members. `allow` lists the methods that work on the path
/// while one is not ready.
async fn fit_to_join(
    api: &Api,
    cluster: &ClusterName,
    addresses: &[Address],
    allow: &'static str,
) -> Result<Vec<Revised<Host>>, ApiError> {
    type Found = (Option<Revised<Host>>, Option<Revised<ClusterMember>>);

    if addresses.is_empty() {
        return Ok(Vec::new());
    }
    let missing = |address: &Address| ApiError::no_host(address);
    if let Some(invalid) = addresses.iter().find(|address| ident::address(address).is_err()) {
        return Err(missing(invalid));
    }
    let hosts = api.storage.get_many::<Host>(addresses).await?;
    let members = api.storage.get_many::<ClusterMember>(addresses).await?;
    let fit = |((host, member), address): (Found, &Address)| {
        let host = host.ok_or_else(|| missing(address))?;
        let current = member.as_ref().map(|member| &member.record.cluster);
        // A host that the caller may not see does not exist for it.
        api.require(Role::Operator, current, || missing(address))?;
        let status = host.record.status;
        if !status.is_ready() {
            let detail = format!("the host {address} is not ready, but {status}: see its status");
            return Err(ApiError::not_allowed(detail, allow));
        }
        match member.filter(|member| member.record.cluster != *cluster) {
            None => Ok(host),
            Some(Revised { record: ClusterMember { cluster: other, .. }, .. }) => {
                let detail = format!("the host {address} is a member of {other}");
                Err(ApiError::conflict(detail))
            }
        }
    };
    hosts.into_iter().zip(members).zip(addresses).map(fit).collect()
}

/// Addresses in their canonical form, duplicates folded; what is no address stays as it is, and will
/// be found missing.
fn canonical(addresses: Vec<Address>) -> BTreeSet<Address> {
    addresses.into_iter().map(|text| ident::canonical_address(&text).unwrap_or(text)).collect()
}
