//! Other credentials for a host: tried by a log-in before they take the place of those that work.

use axum::Json;
use axum::http::StatusCode;
use bus::{Error, topology};
use model::messages::LogInTried;
use model::{Host, HostCreds, Model as _, Status};
use secrecy::SecretString;
use serde::Deserialize;
use storage_client::{Transaction, queries};
use utoipa::ToSchema;

use super::create::{check_key, host_keys};
use super::keys::{creds_of, may_use_key};
use super::{found, wake_investigator};
use crate::api::Api;
use crate::cluster_records::not_under_operation;
use crate::error::ApiError;
use crate::params::{AddressParam, Params, SpelledBody, present, same_address};
use crate::principal::Role;

/// What is to change; what is left out stays. An empty key stands for the server's own.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
pub(super) struct NewCredentials {
    #[serde(deserialize_with = "present")]
    address: Option<String>,
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<String>, content_encoding = "base64", default = json!(null))]
    ssh_priv_key: Option<SecretString>,
    #[serde(deserialize_with = "present")]
    remote_user: Option<String>,
    #[serde(deserialize_with = "present")]
    ssh_port: Option<u16>,
    #[serde(deserialize_with = "present")]
    ssh_host_key: Option<String>,
}

/// Changes the credentials of a host, once a log-in with them has worked.
#[utoipa::path(
    put,
    path = "/api/v0/host/{address}/creds",
    request_body = NewCredentials,
    responses(
        (status = 200, body = Host),
        (status = 404, description = "there is no such host"),
        (status = 409, description = "the log-in failed, or an operation is in process"),
    ),
)]
pub(super) async fn rotate(
    api: Api,
    Params(AddressParam(address)): Params<AddressParam>,
    SpelledBody(new): SpelledBody<NewCredentials>,
) -> Result<Json<Host>, ApiError> {
    same_address("address", new.address.as_deref(), &address)?;
    let plan = || async {
        let mut host = found(&api, &address).await?;
        let mut transaction = Transaction::default();
        if let Some(found) = queries::cluster_of(&api.storage, &address).await? {
            transaction = not_under_operation(&api, &found.cluster.record.name).await?;
        }
        let mut creds = creds_of(&api, &address).await?;
        new.apply(&mut creds.record)?;
        may_use_key(&api, Role::Admin, &creds.record)?;
        let bus = api.bus.confidential();
        let tried = bus.request(topology::HOSTS_TRY_LOGIN, &creds.record, &api.context.bus).await;
        let seen = tried.map_err(ApiError::from).map_err(|error| match error.status() {
            StatusCode::GATEWAY_TIMEOUT => {
                error.with_detail("the log-in was not tried in time, and nothing was changed")
            }
            _ => error,
        })?;
        if creds.record.ssh_host_key.is_empty() {
            let tried: LogInTried = serde_json::from_value(seen).map_err(|e| {
                let message = "the investigator answered with something else than host keys";
                Error::internal(message).with_source(e)
            })?;
            creds.record.ssh_host_key = tried.ssh_host_key;
        }
        transaction = transaction.update(&creds)?;
        if host.record.status == Status::Failed {
            host.record.status = Status::Investigating;
            transaction = transaction.update(&host)?;
        }
        Ok((transaction, host.record))
    };
    let host = api.commit(plan).await?;
    let principal = &api.context.bus.principal;
    tracing::info!(host.address = address.as_str(), principal, "credentials were changed");
    if host.status == Status::Investigating {
        wake_investigator(&api, &address).await;
    }
    Ok(Json(host))
}

impl NewCredentials {
    fn apply(&self, creds: &mut HostCreds) -> Result<(), ApiError> {
        let Self { ssh_priv_key, remote_user, ssh_port, ssh_host_key, .. } = self;
        if ssh_priv_key.is_none()
            && remote_user.is_none()
            && ssh_port.is_none()
            && ssh_host_key.is_none()
        {
            return Err(ApiError::bad_request(
                "say what is to change: ssh_priv_key, remote_user, ssh_port or ssh_host_key",
            ));
        }
        if let Some(key) = ssh_priv_key {
            check_key(key)?;
            creds.ssh_priv_key = key.clone();
        }
        if let Some(user) = remote_user {
            creds.remote_user.clone_from(user);
        }
        creds.ssh_port = ssh_port.unwrap_or(creds.ssh_port);
        if let Some(keys) = ssh_host_key {
            creds.ssh_host_key = host_keys(keys)?;
        }
        creds.validate().map_err(ApiError::bad_request)
    }
}
