//! A host that is to be registered, as a body has it.

use model::{Address, Bootstrap, ClusterName, ident};
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::api::Api;
use crate::error::ApiError;
use crate::params::{AddressParam, present, word};
use crate::state::AppState;

/// A host as it is asked for. Status, facts and `last_check` are nobody's to say and are ignored.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(default)]
pub(super) struct NewHost {
    #[serde(deserialize_with = "present")]
    pub(super) address: Option<String>,
    /// Base64 of the private key's file; empty for the server's own key.
    #[schema(value_type = String, content_encoding = "base64", default = "")]
    pub(super) ssh_priv_key: SecretString,
    #[serde(deserialize_with = "present")]
    #[schema(pattern = "^[A-Za-z_][A-Za-z0-9_.-]{0,31}$")]
    pub(super) remote_user: Option<String>,
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    pub(super) cluster: Option<ClusterName>,
    pub(super) source: String,
    #[schema(minimum = 1)]
    pub(super) ssh_port: u16,
    /// Public keys, one a line.
    pub(super) ssh_host_key: String,
    #[serde(deserialize_with = "word")]
    pub(super) bootstrap: Bootstrap,
    #[schema(default = json!([]))]
    pub(super) addresses: Vec<AddressParam>,
}

impl Default for NewHost {
    fn default() -> Self {
        Self {
            address: None,
            ssh_priv_key: SecretString::default(),
            remote_user: None,
            cluster: None,
            source: String::new(),
            ssh_port: 22,
            ssh_host_key: String::new(),
            bootstrap: Bootstrap::Auto,
            addresses: Vec::new(),
        }
    }
}

/// The address that a request comes from, where that can be a host's.
pub(super) fn infer(api: &Api, state: &AppState) -> Result<Address, ApiError> {
    let source = api.context.caller.as_ref().map(|caller| caller.source);
    let source = source.filter(|source| !state.trusted_proxies.contains(*source));
    let address = source.map(|source| Address::from(source.to_string()));
    address.filter(|address| !ident::is_loopback(address)).ok_or_else(|| {
        ApiError::bad_request(
            "the request comes from the server itself, or from a proxy that does not say for whom: say \
             which host it is about in `address`",
        )
    })
}
