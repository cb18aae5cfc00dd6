//! Principals that an identity provider knows.

use axum::http::{HeaderMap, header};
use identity_providers::openshift::{self, OpenShift};
use identity_providers::{Identity, ProviderError};
use runtime::{Files, Outage};
use secrecy::SecretString;
use serde_json::{Map, Value};

use super::plugins::{OPENSHIFT, SetupError, read_options};
use super::role_mapping::{RoleMapping, without_role};
use crate::principal::Principal;

/// A provider, and the roles of those whom it knows.
#[derive(Debug)]
pub(super) struct Provider {
    service: Service,
    roles: RoleMapping,
    outage: Outage,
}

#[derive(Debug)]
enum Service {
    OpenShift(OpenShift),
}

/// What a provider says of a request with credentials for it.
#[derive(Debug)]
pub(super) enum Found {
    /// Who it is.
    Accepted(Principal),
    /// Its credentials are valid, and give no role: what to say.
    WithoutRole(String),
    /// Its credentials are not valid.
    Rejected,
    /// The provider does not say.
    Unavailable,
}

impl Provider {
    /// Sets a plugin up; the provider need not answer yet. `plugin` is one of those in [`super::plugins`].
    pub(super) async fn new(
        plugin: &'static str,
        options: &Map<String, Value>,
        files: &Files,
    ) -> Result<Self, SetupError> {
        let mut options = options.clone();
        let roles = RoleMapping::take(plugin, &mut options)?;
        let wrong = |source| SetupError::Provider { plugin, source };
        let service = match plugin {
            OPENSHIFT => {
                let options: openshift::Options = read_options(plugin, &options)?;
                Service::OpenShift(OpenShift::new(options, files).await.map_err(wrong)?)
            }
            _ => return Err(SetupError::Unknown { name: plugin.to_owned() }),
        };
        let outage = Outage::new(format!("the identity provider of {plugin}"));
        Ok(Self { service, roles, outage })
    }

    /// Who it is; `None` if the request shows no credentials for this provider.
    pub(super) async fn identify(&self, headers: &HeaderMap) -> Option<Found> {
        let identified = match &self.service {
            Service::OpenShift(openshift) => openshift.identify(&bearer(headers)?).await,
        };
        Some(match identified {
            Ok(identity) => {
                self.outage.succeeded();
                self.principal(identity)
            }
            Err(ProviderError::Rejected(why)) => {
                self.outage.succeeded();
                tracing::debug!(why, "credentials rejected");
                Found::Rejected
            }
            Err(ProviderError::Unavailable(why)) => {
                self.outage.failed("unavailable", &why);
                Found::Unavailable
            }
        })
    }

    fn principal(&self, identity: Identity) -> Found {
        let provider = match &self.service {
            Service::OpenShift(_) => "openshift",
        };
        match self.roles.role(&identity) {
            Some(role) => Found::Accepted(Principal::of_provider(provider, identity, role)),
            None => {
                let id = format!("{provider}:{}", identity.name);
                Found::WithoutRole(without_role(&id, &identity.groups))
            }
        }
    }
}

/// The token of an `Authorization: Bearer` header.
pub(super) fn bearer(headers: &HeaderMap) -> Option<SecretString> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| token.into())
}
