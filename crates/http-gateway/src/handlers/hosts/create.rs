//! Registering a host: all of it, or nothing.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use model::{
    Address, ClusterHead, ClusterMember, ClusterName, Host, HostCreds, HostState, Model as _,
    Status, host_keys, ident,
};
use secrecy::{ExposeSecret as _, SecretString};
use storage_client::{Revised, Transaction, queries};

use super::keys::{creds_of, may_use_key};
use super::new_host::{NewHost, infer};
use super::ticket::Ticket;
use super::{look_again, wake_investigator};
use crate::api::Api;
use crate::error::ApiError;
use crate::params::{AddressParam, Params, SpelledBody, same_address};
use crate::principal::Role;
use crate::state::AppState;

/// Who registers a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::handlers) enum Registrant {
    /// A client, for a host.
    Client,
    /// The host itself, at its first boot.
    Host,
}

/// Registers a host: all of it, or nothing. Again the same is no error.
#[utoipa::path(
    put,
    path = "/api/v0/host/{address}",
    request_body = NewHost,
    responses(
        (status = 201, body = Host),
        (status = 409, description = "no such cluster, the cluster is being changed, or the host exists with another key or in another cluster"),
        (status = 503, description = "the host keeps being deleted, or its cluster is being changed and the host registers itself: try again"),
    ),
)]
pub(super) async fn create(
    api: Api,
    State(state): State<AppState>,
    Params(AddressParam(address)): Params<AddressParam>,
    SpelledBody(new): SpelledBody<NewHost>,
) -> Result<(StatusCode, Json<Host>), ApiError> {
    same_address("address", new.address.as_deref(), &address)?;
    register(api, state, address, new, Registrant::Client).await
}

/// Registers a host whose address is in the body; else it is the one that the request comes from.
#[utoipa::path(
    put,
    path = "/api/v0/host",
    request_body = NewHost,
    responses(
        (status = 201, body = Host),
        (status = 409, description = "no such cluster, the cluster is being changed, or the host exists with another key or in another cluster"),
        (status = 503, description = "the host keeps being deleted, or its cluster is being changed and the host registers itself: try again"),
    ),
)]
pub(super) async fn create_unnamed(
    api: Api,
    State(state): State<AppState>,
    SpelledBody(new): SpelledBody<NewHost>,
) -> Result<(StatusCode, Json<Host>), ApiError> {
    let (address, registrant) = match &new.address {
        Some(given) => {
            let wrong = || ApiError::bad_request("`address` is an IP address or a host name");
            (ident::canonical_address(given).ok_or_else(wrong)?, Registrant::Client)
        }
        None => (infer(&api, &state)?, Registrant::Host),
    };
    register(api, state, address, new, registrant).await
}

async fn register(
    api: Api,
    state: AppState,
    address: Address,
    mut new: NewHost,
    registrant: Registrant,
) -> Result<(StatusCode, Json<Host>), ApiError> {
    let ticket = Ticket::of(&api, &state, &address, &mut new)?;
    let registrant = if ticket.is_some() { Registrant::Host } else { registrant };
    let creds = credentials(&address, &new)?;
    let plan = || async {
        match (api.storage.find::<Host>(&address).await?, &ticket) {
            (None, None) => {
                may_register(&api, &new, &creds)?;
                plan_creation(&api, &address, &new, &creds, registrant).await
            }
            (None, Some(ticket)) => {
                let (enrollment, enrolled) =
                    ticket.redeem(&api, &address, state.clock.stamp()).await?;
                if !enrolled.cluster.is_empty() {
                    joined(&api, &enrolled.cluster, registrant).await?;
                }
                let host_state =
                    HostState { enrolled: Some(enrolled), ..state_of(&api, &address, &new) };
                let (transaction, host) = creation(&address, &new, &creds, &host_state)?;
                Ok((transaction.update(&enrollment)?, host))
            }
            (Some(existing), ticket) => {
                match ticket {
                    Some(ticket) => ticket.must_be_of(&api, &address).await?,
                    None => may_register_again(&api, &address).await?,
                }
                plan_repetition(&api, existing, &new, &creds).await
            }
        }
    };
    let host = api.commit(plan).await?;
    if host.status == Status::Investigating {
        wake_investigator(&api, &address).await;
    }
    Ok((StatusCode::CREATED, Json(host)))
}

/// The credentials as they will be stored; the key itself is looked at later, since a wrong one means
/// something else for a host that exists.
fn credentials(address: &str, new: &NewHost) -> Result<HostCreds, ApiError> {
    let mut creds = HostCreds::new(address);
    creds.ssh_priv_key = new.ssh_priv_key.clone();
    creds.ssh_port = new.ssh_port;
    if !new.ssh_host_key.is_empty() {
        creds.ssh_host_key = host_keys(&new.ssh_host_key)?;
    }
    if let Some(user) = &new.remote_user {
        creds.remote_user.clone_from(user);
    }
    creds.validate().map_err(ApiError::bad_request)?;
    Ok(creds)
}

/// Whether the caller may register a host that does not exist yet.
///
/// # Errors
/// 403 where it has to have a cluster, or a key of its own.
fn may_register(api: &Api, new: &NewHost, creds: &HostCreds) -> Result<(), ApiError> {
    if registers_anywhere(api) {
        return Ok(());
    }
    let Some(cluster) = &new.cluster else {
        return api.require(Role::Operator, None, || {
            ApiError::forbidden(
                "a host in no cluster needs the role operator on all clusters: name one of yours in `cluster`",
            )
        });
    };
    api.require(Role::Operator, Some(cluster), || unknown_cluster(cluster))?;
    may_use_key(api, Role::Operator, creds)
}

/// Whether the caller may see a host that exists, and register it again. If not, it learns only that the address is taken.
async fn may_register_again(api: &Api, address: &Address) -> Result<(), ApiError> {
    if registers_anywhere(api) {
        return Ok(());
    }
    let cluster = queries::cluster_of(&api.storage, address).await?;
    let cluster = cluster.map(|found| found.cluster.record.name);
    api.require(Role::Operator, cluster.as_ref(), || taken(address))
}

/// Whether the caller may register hosts in any cluster, and in none.
fn registers_anywhere(api: &Api) -> bool {
    api.context.principal().is_none_or(|principal| {
        principal.role() == Some(Role::Enroll) || principal.rights.on(None) >= Some(Role::Operator)
    })
}

fn taken(address: &str) -> ApiError {
    ApiError::conflict(format!("the host {address} exists, and not in a cluster that you may see"))
}

fn unknown_cluster(name: &ClusterName) -> ApiError {
    ApiError::conflict(format!("there is no cluster {name:?}: create it first"))
}

async fn plan_creation(
    api: &Api,
    address: &str,
    new: &NewHost,
    creds: &HostCreds,
    registrant: Registrant,
) -> Result<(Transaction, Host), ApiError> {
    let (mut transaction, host) = creation(address, new, creds, &state_of(api, address, new))?;
    if let Some(name) = &new.cluster {
        let mut cluster = joined(api, name, registrant).await?;
        // A host of this address may have been a member before, and its own records are gone.
        match api.storage.find::<ClusterMember>(address).await?.map(|found| found.record.cluster) {
            None => transaction = queries::join(transaction, &mut cluster, &[address])?,
            Some(other) if other == *name => {}
            Some(other) if !registers_anywhere(api) && !api.shows(Some(&other)) => {
                return Err(taken(address));
            }
            Some(other) => {
                let detail = format!("the host {address} is a member of {other}");
                return Err(ApiError::conflict(detail));
            }
        }
    }
    Ok((transaction, host))
}

/// What is written for every new host, whatever cluster it joins and when.
fn creation(
    address: &str,
    new: &NewHost,
    creds: &HostCreds,
    state: &HostState,
) -> Result<(Transaction, Host), ApiError> {
    check_key(&creds.ssh_priv_key)?;
    let host = Host {
        address: address.into(),
        status: Status::Investigating,
        source: new.source.clone(),
        ..Host::default()
    };
    // What an earlier host of that address may have left behind is replaced.
    let transaction = Transaction::default().create(&host)?.save(creds)?.save(state)?;
    Ok((transaction, host))
}

fn state_of(api: &Api, address: &str, new: &NewHost) -> HostState {
    HostState {
        address: address.into(),
        bootstrap: new.bootstrap,
        registered_at: api.clock.stamp(),
        addresses: new.addresses.iter().map(|AddressParam(address)| address.clone()).collect(),
        ..HostState::default()
    }
}

/// Registering again is no error: first boots retry. It changes nothing, except that a host that
/// failed gets another chance.
async fn plan_repetition(
    api: &Api,
    mut existing: Revised<Host>,
    new: &NewHost,
    creds: &HostCreds,
) -> Result<(Transaction, Host), ApiError> {
    let address = &existing.record.address;
    let stored = creds_of(api, address).await?.record;
    let given_key = decoded(&creds.ssh_priv_key);
    if given_key.is_none() || given_key != decoded(&stored.ssh_priv_key) {
        return Err(ApiError::conflict(format!("the host {address} exists with another key")));
    }
    if let Some(wanted) = &new.cluster {
        let current = queries::cluster_of(&api.storage, address)
            .await?
            .map(|found| found.cluster.record.name);
        if current.as_ref() != Some(wanted) {
            let current = current.map_or("in no cluster".to_owned(), |name| format!("in {name}"));
            return Err(ApiError::conflict(format!("the host {address} exists, {current}")));
        }
    }
    let unchanged = existing.record.clone();
    if unchanged.status != Status::Failed {
        return Ok((Transaction::default(), unchanged));
    }
    match look_again(api, &mut existing).await {
        Ok(transaction) => Ok((transaction, existing.record)),
        // An operation is at work: it has the host for itself.
        Err(error) if error.status() == StatusCode::CONFLICT => {
            Ok((Transaction::default(), unchanged))
        }
        Err(error) => Err(error),
    }
}

/// The cluster that a host is to join.
///
/// # Errors
/// 409 when no cluster has that name. While it is being changed: 409 for a client; 503 with
/// `Retry-After` for a host that registers itself, since it retries at its first boot.
pub(in crate::handlers) async fn joined(
    api: &Api,
    name: &ClusterName,
    registrant: Registrant,
) -> Result<Revised<ClusterHead>, ApiError> {
    let unknown = || unknown_cluster(name);
    ident::name(name).map_err(|_| unknown())?;
    let cluster = api.storage.find::<ClusterHead>(name).await?.ok_or_else(unknown)?;
    match (cluster.record.refusal(), registrant) {
        (None, _) => Ok(cluster),
        (Some(refusal), Registrant::Client) => Err(ApiError::conflict(refusal)),
        (Some(refusal), Registrant::Host) => Err(ApiError::unavailable(refusal)),
    }
}

/// Host keys as they are stored: one a line, without comments.
pub(super) fn host_keys(text: &str) -> Result<String, ApiError> {
    let keys = host_keys::parse_host_keys(text)
        .map_err(|e| ApiError::bad_request(format!("ssh_host_key: {e}")))?;
    Ok(keys.join("\n"))
}

/// Refuses a key that does not decode.
pub(super) fn check_key(key: &SecretString) -> Result<(), ApiError> {
    let wrong = || ApiError::bad_request("ssh_priv_key is the private key's file in base64");
    decoded(key).map(drop).ok_or_else(wrong)
}

/// The private key behind its base64, which may be wrapped; `None` when it does not decode.
fn decoded(key: &SecretString) -> Option<Vec<u8>> {
    let compact: String = key.expose_secret().split_ascii_whitespace().collect();
    BASE64.decode(compact).ok()
}
