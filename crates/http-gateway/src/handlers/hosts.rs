//! Hosts.

mod create;
mod ticket;

use std::io::ErrorKind;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use service_core::bus::topology;
use service_core::model::{Host, HostCreds, HostState, Lease, Status};
use service_core::storage::{Revised, Transaction};

pub(super) use create::joined;
pub use create::{create, create_unnamed};

use super::clusters::not_under_operation;
use super::members::cluster_of;
use crate::error::ApiError;
use crate::nodes;
use crate::params::{Address, Body, Params, present, same_address};
use crate::state::{Api, AppState};

/// What a body may repeat of the URL.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Named {
    #[serde(deserialize_with = "present")]
    address: Option<String>,
}

/// `GET /hosts`
pub async fn list(api: Api) -> Result<impl IntoResponse, ApiError> {
    // The storage service has checked them: reading and writing thousands again would only take time.
    let hosts = api.storage.list_text::<Host>().await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], hosts))
}

/// `GET /host/{address}`
pub async fn get(
    api: Api,
    Params(Address(address)): Params<Address>,
) -> Result<Json<Host>, ApiError> {
    Ok(Json(found(&api, &address).await?.record))
}

/// `DELETE /host/{address}`: the record, credentials, state and membership in one write.
pub async fn delete(
    api: Api,
    Params(Address(address)): Params<Address>,
) -> Result<Json<[(); 0]>, ApiError> {
    let plan = || async {
        let host = found(&api, &address).await?;
        let mut transaction = Transaction::default();
        if let Some(mut cluster) = cluster_of(&api, &address).await? {
            cluster.record.remove(&address);
            transaction =
                not_under_operation(&api, &cluster.record.name).await?.update(&cluster)?;
            nodes::remove(&api, &cluster.record, std::slice::from_ref(&address)).await?;
        }
        let transaction = transaction
            .check::<Host>(&address, Some(host.revision))
            .delete::<Host>(&address)
            .delete::<HostCreds>(&address)
            .delete::<HostState>(&address)
            // Whoever investigates it notices at the next write.
            .delete::<Lease>(&format!("investigation.{address}"));
        Ok((transaction, ()))
    };
    api.commit(plan).await?;
    Ok(Json([]))
}

/// `GET /host/{address}/creds`
pub async fn credentials(
    api: Api,
    Params(Address(address)): Params<Address>,
) -> Result<Json<Value>, ApiError> {
    found(&api, &address).await?;
    let creds = api.storage.get::<HostCreds>(&address).await?.record;
    let mut view = json!({
        "address": creds.address,
        "ssh_priv_key": creds.ssh_priv_key.expose_secret(),
        "remote_user": creds.remote_user,
    });
    if creds.ssh_port != 22 {
        view["ssh_port"] = creds.ssh_port.into();
    }
    if !creds.ssh_host_key.is_empty() {
        view["ssh_host_key"] = creds.ssh_host_key.into();
    }
    Ok(Json(view))
}

/// `GET /host/{address}/status`
pub async fn status(
    api: Api,
    Params(Address(address)): Params<Address>,
) -> Result<Json<Value>, ApiError> {
    let Host { status, last_check, .. } = found(&api, &address).await?.record;
    let state = api.storage.find::<HostState>(&address).await?;
    let HostState { reason, detail, .. } = state.map(|state| state.record).unwrap_or_default();
    let mut host = Map::from_iter([
        ("last_check".to_owned(), last_check.into()),
        ("status".to_owned(), status.to_string().into()),
    ]);
    if status == Status::Failed {
        host.insert("reason".to_owned(), reason.into());
    }
    if !detail.is_empty() {
        host.insert("detail".to_owned(), detail.into());
    }
    let container_manager = nodes::status(&api, &address).await?;
    Ok(Json(json!({"type": "host_only", "host": host, "container_manager": container_manager})))
}

/// `POST /host/{address}/investigate`
pub async fn investigate(
    api: Api,
    Params(Address(address)): Params<Address>,
    Body(named): Body<Named>,
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

/// The key that an operator accepts, by its fingerprint.
#[derive(Debug, Deserialize)]
pub struct AcceptedKey {
    #[serde(default, deserialize_with = "present")]
    address: Option<String>,
    fingerprint: String,
}

/// `PUT /host/{address}/hostkey`: the way out of `host-key-changed`. Pins the key that the host was seen
/// with, if it is the one that the operator means, and has the host investigated again.
pub async fn accept_key(
    api: Api,
    Params(Address(address)): Params<Address>,
    Body(AcceptedKey { address: in_body, fingerprint }): Body<AcceptedKey>,
) -> Result<(StatusCode, Json<Host>), ApiError> {
    same_address("address", in_body.as_deref(), &address)?;
    let plan = || async {
        let mut host = found(&api, &address).await?;
        let state = api.storage.find::<HostState>(&address).await?;
        let seen = state.map(|state| state.record.seen_host_key).unwrap_or_default();
        if host_access::fingerprint(&seen).as_deref() != Some(fingerprint.as_str()) {
            return Err(ApiError::conflict(format!(
                "the host {address} has not been seen with a changed key of that fingerprint: see its status"
            )));
        }
        let mut creds = api.storage.get::<HostCreds>(&address).await?;
        creds.record.ssh_host_key = seen;
        let transaction = look_again(&api, &mut host).await?.update(&creds)?;
        Ok((transaction, host.record))
    };
    let host = api.commit(plan).await?;
    tracing::info!(
        host.address = address,
        fingerprint,
        principal = api.context.principal,
        "host key accepted"
    );
    wake_investigator(&api, &address).await;
    Ok((StatusCode::ACCEPTED, Json(host)))
}

/// `GET /publickey`: what goes into `authorized_keys` on hosts that are reached with the server's key.
pub async fn public_key(State(state): State<AppState>) -> Result<Json<Value>, ApiError> {
    let none = || ApiError::not_found("this server has no SSH key of its own");
    let path = state.public_key_file.as_deref().ok_or_else(none)?;
    // Read each time: a service that reaches hosts makes it at its first start, whenever that is.
    match tokio::fs::read_to_string(path).await {
        Ok(key) => Ok(Json(json!({"public_key": key.trim()}))),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(none()),
        Err(error) => {
            tracing::error!(path = %path.display(), %error, "cannot read the public SSH key");
            Err(ApiError::unavailable(
                "the server cannot read its public SSH key: its log says why",
            ))
        }
    }
}

/// A transaction that hands a host to the investigator; not while an operation works on its cluster.
async fn look_again(api: &Api, host: &mut Revised<Host>) -> Result<Transaction, ApiError> {
    let mut transaction = Transaction::default();
    if let Some(cluster) = cluster_of(api, &host.record.address).await? {
        transaction = not_under_operation(api, &cluster.record.name).await?;
    }
    host.record.status = Status::Investigating;
    Ok(transaction.update(host)?)
}

async fn found(api: &Api, address: &str) -> Result<Revised<Host>, ApiError> {
    let missing = || ApiError::not_found(format!("there is no host {address}"));
    api.storage.find::<Host>(address).await?.ok_or_else(missing)
}

/// The record is the job; the message only makes it sooner.
async fn wake_investigator(api: &Api, address: &str) {
    let params = json!({"address": address, "cluster_data": {}});
    if let Err(error) = api.bus.notify(topology::INVESTIGATE, &params, &api.context).await {
        tracing::warn!(
            error = service_core::error::chain(&error),
            "the investigator was not woken"
        );
    }
}
