//! How users can log in, for clients that ask before they have credentials.

use identity_providers::oidc::Kind;
use serde::Serialize;
use utoipa::ToSchema;

use super::{Chain, Plugin};

/// The ways to log in.
#[derive(Debug, Serialize, ToSchema)]
pub struct Logins {
    /// Whether there are user names and passwords.
    password: bool,
    /// The identity providers with a public client.
    providers: Vec<ProviderLogin>,
}

/// An identity provider with a public client for log-ins.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProviderLogin {
    /// Its name: the prefix of its users.
    name: String,
    /// The URL of the issuer, exactly as in its discovery document.
    issuer: String,
    /// The public client.
    client_id: String,
    /// The scopes to request.
    scopes: Vec<String>,
    /// The kind of token that requests carry: `access` or `id`.
    #[schema(examples("access"))]
    token: &'static str,
    /// The resource to request access to (RFC 8707).
    #[serde(skip_serializing_if = "Option::is_none")]
    resource: Option<String>,
    /// The authorities that the issuer's certificate is verified by, in PEM; without it, those of the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate_authority: Option<String>,
}

impl Chain {
    /// The ways to log in.
    pub fn logins(&self) -> Logins {
        let plugins = self.plugins();
        let has_passwords = |plugin: &Plugin| match plugin {
            Plugin::HttpBasic(_) => true,
            Plugin::ClientCert(_) => false,
            Plugin::Provider(provider) => provider.has_passwords(),
        };
        let login = |plugin: &Plugin| {
            let Plugin::Provider(provider) = plugin else { return None };
            let login = provider.login()?.clone();
            Some(ProviderLogin {
                name: provider.prefix().to_owned(),
                issuer: login.issuer,
                client_id: login.client_id,
                scopes: login.scopes,
                token: match login.token {
                    Kind::Access => "access",
                    Kind::Id => "id",
                },
                resource: login.resource,
                certificate_authority: login.certificate_authority,
            })
        };
        Logins {
            password: plugins.iter().any(has_passwords),
            providers: plugins.iter().filter_map(login).collect(),
        }
    }
}
