//! Principals that an identity provider knows.

use axum::http::{HeaderMap, header};
use identity_providers::keystone::{self, KeystonePassword, KeystoneToken};
use identity_providers::oidc::{self, Oidc};
use identity_providers::openshift::{self, OpenShift};
use identity_providers::{Identity, ProviderError};
use runtime::{Clock, Files, Lifecycle, Outage};
use secrecy::SecretString;
use serde_json::{Map, Value};

use super::api_token::is_token;
use super::http_basic::credentials;
use super::plugins::{
    KEYSTONE_PASSWORD, KEYSTONE_TOKEN, OIDC, OPENSHIFT, SetupError, read_options,
};
use super::role_mapping::{RoleMapping, without_role};
use crate::access::Rights;
use crate::access::bindings::Index;
use crate::principal::Principal;

/// The header with a token of Keystone.
const KEYSTONE_HEADER: &str = "x-auth-token";

/// A provider, and the roles of those whom it knows.
#[derive(Debug)]
pub(super) struct Provider {
    service: Service,
    roles: RoleMapping,
    /// An issuer reports that its keys cannot be fetched by itself.
    outage: Option<Outage>,
}

#[derive(Debug)]
enum Service {
    KeystonePassword(Box<KeystonePassword>),
    KeystoneToken(Box<KeystoneToken>),
    OpenShift(Box<OpenShift>),
    Oidc(Box<Oidc>),
}

/// What providers depend on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Needs<'a> {
    pub(super) files: &'a Files,
    pub(super) clock: &'a Clock,
    pub(super) lifecycle: &'a Lifecycle,
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
    /// The provider does not say, or its bindings are unknown.
    Unavailable,
}

impl Provider {
    /// Sets a plugin up; the provider need not answer yet. `plugin` is one of those in [`super::plugins`].
    pub(super) async fn new(
        plugin: &'static str,
        options: &Map<String, Value>,
        Needs { files, clock, lifecycle }: Needs<'_>,
    ) -> Result<Self, SetupError> {
        let mut options = options.clone();
        let roles = RoleMapping::take(plugin, &mut options)?;
        let wrong = |source| SetupError::Provider { plugin, source };
        let clock = clock.clone();
        let service = match plugin {
            KEYSTONE_PASSWORD => {
                let options: keystone::PasswordOptions = read_options(plugin, &options)?;
                let keystone = KeystonePassword::new(options, files, clock).await;
                Service::KeystonePassword(Box::new(keystone.map_err(wrong)?))
            }
            KEYSTONE_TOKEN => {
                let options: keystone::TokenOptions = read_options(plugin, &options)?;
                let keystone = KeystoneToken::new(options, files, clock).await;
                Service::KeystoneToken(Box::new(keystone.map_err(wrong)?))
            }
            OPENSHIFT => {
                let options: openshift::Options = read_options(plugin, &options)?;
                let openshift = OpenShift::new(options, files, clock).await;
                Service::OpenShift(Box::new(openshift.map_err(wrong)?))
            }
            OIDC => {
                let options: oidc::Options = read_options(plugin, &options)?;
                let oidc = Oidc::new(options, files, clock, lifecycle).await;
                Service::Oidc(Box::new(oidc.map_err(wrong)?))
            }
            _ => return Err(SetupError::Unknown { name: plugin.to_owned() }),
        };
        let outage =
            (plugin != OIDC).then(|| Outage::new(format!("the identity provider of {plugin}")));
        Ok(Self { service, roles, outage })
    }

    /// Who it is; `None` if the request shows no credentials for this provider.
    pub(super) async fn identify(&self, headers: &HeaderMap, bindings: &Index) -> Option<Found> {
        let identified = match &self.service {
            Service::KeystonePassword(keystone) => {
                let shown = credentials(headers);
                let (user, password) = shown.filter(|(_, password)| !is_token(password))?;
                keystone.identify(&user, &password).await
            }
            Service::KeystoneToken(keystone) => {
                let token = keystone_token(headers).filter(|token| !is_token(token))?;
                keystone.identify(&token).await
            }
            Service::OpenShift(openshift) => openshift.identify(&bearer(headers)?).await,
            Service::Oidc(oidc) => {
                let token = bearer(headers).filter(|token| oidc.is_for(token))?;
                oidc.identify(&token).await
            }
        };
        Some(match identified {
            Ok(identity) => {
                self.answered();
                self.principal(identity, bindings)
            }
            Err(ProviderError::Rejected(why)) => {
                self.answered();
                tracing::debug!(why, "credentials rejected");
                Found::Rejected
            }
            Err(ProviderError::Unavailable(why)) => {
                if let Some(outage) = &self.outage {
                    outage.failed("unavailable", &why);
                }
                Found::Unavailable
            }
        })
    }

    fn answered(&self) {
        if let Some(outage) = &self.outage {
            outage.succeeded();
        }
    }

    /// Whether the credentials name this provider; nothing of them is verified.
    pub(super) fn is_named_by(&self, headers: &HeaderMap) -> bool {
        match &self.service {
            Service::Oidc(oidc) => bearer(headers).is_some_and(|token| oidc.is_for(&token)),
            _ => false,
        }
    }

    /// The principal that was accepted a short time ago with the same credentials.
    pub(super) fn remembered(&self, headers: &HeaderMap, bindings: &Index) -> Option<Principal> {
        let identity = match &self.service {
            Service::KeystonePassword(keystone) => {
                let (user, password) = credentials(headers)?;
                keystone.remembered(&user, &password)
            }
            Service::KeystoneToken(keystone) => keystone.remembered(&keystone_token(headers)?),
            Service::OpenShift(openshift) => openshift.remembered(&bearer(headers)?),
            Service::Oidc(oidc) => oidc.remembered(&bearer(headers)?),
        };
        match self.principal(identity?, bindings) {
            Found::Accepted(principal) => Some(principal),
            _ => None,
        }
    }

    /// What stands before the names of its principals: no other plugin has the same.
    pub(super) fn prefix(&self) -> &str {
        match &self.service {
            Service::KeystonePassword(_) => "keystone",
            // A name in one domain may be that of a user and a domain to the other plugin.
            Service::KeystoneToken(_) => "keystone-token",
            Service::OpenShift(_) => "openshift",
            Service::Oidc(oidc) => oidc.prefix(),
        }
    }

    /// A user of this provider, who was identified before, with the groups of then; `None` without a role.
    pub(super) fn user(&self, id: &str, groups: &[String], bindings: &Index) -> Option<Principal> {
        let stripped =
            |text: &str| Some(text.strip_prefix(self.prefix())?.strip_prefix(':')?.to_owned());
        let name = stripped(id)?;
        let identity = match &self.service {
            Service::Oidc(_) => Identity::new(id, groups.to_vec(), None),
            _ => Identity::new(
                &name,
                groups.iter().filter_map(|group| stripped(group)).collect(),
                None,
            ),
        };
        match self.principal(identity.ok()?, bindings) {
            Found::Accepted(principal) => Some(principal),
            _ => None,
        }
    }

    /// How users log in at the issuer, if it has a client for that.
    pub(super) fn login(&self) -> Option<&oidc::Login> {
        match &self.service {
            Service::Oidc(oidc) => oidc.login(),
            _ => None,
        }
    }

    /// Whether it checks user names and passwords.
    pub(super) fn has_passwords(&self) -> bool {
        matches!(self.service, Service::KeystonePassword(_))
    }

    /// The principal, by its bindings or else by the roles that are configured.
    fn principal(&self, mut identity: Identity, bindings: &Index) -> Found {
        let rights =
            self.roles.role(self.prefix(), &identity).map(Rights::everywhere).unwrap_or_default();
        // Those of an issuer have the prefix, and so have its groups.
        let id = if let Service::Oidc(_) = &self.service {
            identity.name.clone()
        } else {
            for group in &mut identity.groups {
                *group = format!("{}:{group}", self.prefix());
            }
            format!("{}:{}", self.prefix(), identity.name)
        };
        let principal = bindings.bind(Principal::of_provider(id, identity, rights));
        if principal.rights.is_empty() && bindings.is_unknown() {
            return Found::Unavailable;
        }
        // One whose bindings wait to be accepted learns that from what refuses its request.
        if principal.rights.is_empty() && principal.replaced.is_none() {
            return Found::WithoutRole(without_role(&principal.id, &principal.groups));
        }
        Found::Accepted(principal)
    }
}

/// The token of an `Authorization: Bearer` header.
pub(super) fn bearer(headers: &HeaderMap) -> Option<SecretString> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| token.into())
}

/// A token of Keystone, if the request shows one.
pub(super) fn keystone_token(headers: &HeaderMap) -> Option<SecretString> {
    let token = headers.get(KEYSTONE_HEADER)?.to_str().ok()?.trim();
    (!token.is_empty()).then(|| token.into())
}
