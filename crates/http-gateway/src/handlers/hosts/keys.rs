//! Keys and credentials of hosts, and the server's own public key.

use std::io::ErrorKind;
use std::path::Path;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use model::{Address, Host, HostCreds, HostState, ServerKeys, host_keys};
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use storage_client::Revised;
use utoipa::ToSchema;

use super::{found, look_again, wake_investigator};
use crate::api::Api;
use crate::error::ApiError;
use crate::params::{AddressParam, Params, SpelledBody, present, same_address};
use crate::principal::Role;
use crate::state::AppState;

/// How a host is reached, for those who may know.
#[derive(Serialize, ToSchema)]
pub(crate) struct Credentials {
    #[schema(value_type = String)]
    address: Address,
    /// Base64 of the private key's file; empty for the server's own key, which never leaves it.
    ssh_priv_key: String,
    remote_user: String,
    /// Where it is not 22.
    #[serde(skip_serializing_if = "Option::is_none")]
    ssh_port: Option<u16>,
    /// The pinned public keys, one a line.
    #[serde(skip_serializing_if = "String::is_empty")]
    ssh_host_key: String,
}

/// The key that an operator accepts, by its fingerprint.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct AcceptedKey {
    #[serde(default, deserialize_with = "present")]
    address: Option<String>,
    fingerprint: String,
}

/// The server's own public key.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PublicKey {
    public_key: String,
}

/// How a host is reached.
#[utoipa::path(
    get,
    path = "/api/v0/host/{address}/creds",
    responses(
        (status = 200, body = Credentials),
        (status = 404, description = "there is no such host"),
    ),
)]
pub(super) async fn credentials(
    api: Api,
    Params(AddressParam(address)): Params<AddressParam>,
) -> Result<Json<Credentials>, ApiError> {
    found(&api, &address).await?;
    // Missing: the host was deleted in between.
    let creds = api
        .storage
        .find::<HostCreds>(&address)
        .await?
        .ok_or_else(|| ApiError::no_host(&address))?;
    let creds = creds.record;
    let view = Credentials {
        ssh_priv_key: creds.ssh_priv_key.expose_secret().to_owned(),
        ssh_port: (creds.ssh_port != 22).then_some(creds.ssh_port),
        ssh_host_key: creds.ssh_host_key,
        address: creds.address,
        remote_user: creds.remote_user,
    };
    Ok(Json(view))
}

/// Pins the key that a host was seen with, and has it investigated again: the way out of `host-key-changed`.
#[utoipa::path(
    put,
    path = "/api/v0/host/{address}/hostkey",
    request_body = AcceptedKey,
    responses(
        (status = 202, body = Host),
        (status = 404, description = "there is no such host"),
        (status = 409, description = "it has not been seen with that key, or an operation is in process on its cluster"),
    ),
)]
pub(super) async fn accept_key(
    api: Api,
    Params(AddressParam(address)): Params<AddressParam>,
    SpelledBody(AcceptedKey { address: in_body, fingerprint }): SpelledBody<AcceptedKey>,
) -> Result<(StatusCode, Json<Host>), ApiError> {
    same_address("address", in_body.as_deref(), &address)?;
    let plan = || async {
        let mut host = found(&api, &address).await?;
        let state = api.storage.find::<HostState>(&address).await?;
        let seen = state.map(|state| state.record.seen_host_key).unwrap_or_default();
        if host_keys::fingerprint(&seen).as_deref() != Some(fingerprint.as_str()) {
            return Err(ApiError::conflict(format!(
                "the host {address} has not been seen with a changed key of that fingerprint: see its status"
            )));
        }
        let mut creds = creds_of(&api, &address).await?;
        may_use_key(&api, Role::Operator, &creds.record)?;
        creds.record.ssh_host_key = seen;
        let transaction = look_again(&api, &mut host).await?.update(&creds)?;
        Ok((transaction, host.record))
    };
    let host = api.commit(plan).await?;
    tracing::info!(
        host.address = address.as_str(),
        fingerprint,
        principal = api.context.bus.principal,
        "host key accepted"
    );
    wake_investigator(&api, &address).await;
    Ok((StatusCode::ACCEPTED, Json(host)))
}

/// The public half of the server's own key, for `authorized_keys`.
#[utoipa::path(
    get,
    path = "/api/v0/publickey",
    responses(
        (status = 200, body = PublicKey),
        (status = 404, description = "the server has no key of its own, or none yet"),
    ),
)]
pub(super) async fn public_key(
    api: Api,
    State(state): State<AppState>,
) -> Result<Json<PublicKey>, ApiError> {
    let none = || ApiError::not_found("this server has no SSH key of its own");
    let path = state.public_key_file.as_deref().ok_or_else(none)?;
    // Read each time: a service that reaches hosts makes it at its first start, whenever that is.
    match state.files.read_to_string(path).await {
        Ok(key) => {
            let public_key = key.trim().to_owned();
            is_servers_own(&api, path, &public_key).await?;
            Ok(Json(PublicKey { public_key }))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Err(ApiError::not_found(
            "this server has no SSH key of its own yet: the services that reach hosts make it at their first \
             start, within seconds; if it is still missing after a minute, see which of them run with \
             `GET /readyz?verbose`, and whether the gateway's setting ssh-public-key-file names their key",
        )),
        Err(error) => {
            tracing::error!(path = %path.display(), %error, "cannot read the public SSH key");
            Err(ApiError::unavailable(
                "the server cannot read its public SSH key: its log says why",
            ))
        }
    }
}

/// Refuses a public key that the store does not know: hosts that trusted it would refuse the log-in.
async fn is_servers_own(api: &Api, path: &Path, public_key: &str) -> Result<(), ApiError> {
    let known = api.storage.find::<ServerKeys>(ServerKeys::ALL).await?;
    let fingerprint = host_keys::fingerprint(public_key).unwrap_or_default();
    match known {
        Some(known) if !known.record.fingerprints.contains(&fingerprint) => {
            let path = path.display();
            tracing::error!(%path, fingerprint, "the public SSH key is not one of the server's own");
            Err(ApiError::unavailable(
                "the gateway's public key is not one of the server's own SSH keys, so it is not given out: \
                 restore id_ed25519.pub in the gateway's data directory from a machine that reaches hosts",
            ))
        }
        _ => Ok(()),
    }
}

/// Whether credentials may be taken to a machine that has not been reached with them: the server's own key is accepted by the
/// hosts of all clusters, and an address may be that of any of them.
///
/// # Errors
/// 403 for the server's own key, if the caller does not have the role on all clusters.
pub(super) fn may_use_key(api: &Api, needed: Role, creds: &HostCreds) -> Result<(), ApiError> {
    if !creds.ssh_priv_key.expose_secret().is_empty() {
        return Ok(());
    }
    api.require(needed, None, || {
        ApiError::forbidden(format!(
            "hosts of all clusters accept the server's own SSH key, so this needs the role {needed} on all clusters: use \
             another key for this host"
        ))
    })
}

/// The credentials of a host whose record was read a moment ago.
///
/// # Errors
/// [`ApiError::stale`] when there are none: the host was deleted in between.
pub(super) async fn creds_of(api: &Api, address: &str) -> Result<Revised<HostCreds>, ApiError> {
    let deleted = || {
        ApiError::stale(format!(
            "the host {address} keeps being deleted and registered by other requests: try again"
        ))
    };
    api.storage.find::<HostCreds>(address).await?.ok_or_else(deleted)
}
