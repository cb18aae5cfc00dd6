//! A kubeconfig as it is written: what commctl reads of it.

use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::Value;

use super::KubeconfigError;

/// The extension of a cluster that is meant for credential plugins.
const EXEC_EXTENSION: &str = "client.authentication.k8s.io/exec";

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Kubeconfig {
    pub(super) current_context: Option<String>,
    pub(super) contexts: Option<Vec<NamedContext>>,
    pub(super) users: Option<Vec<NamedUser>>,
    pub(super) clusters: Option<Vec<NamedCluster>>,
}

/// One of a list, under its name.
pub(super) trait Entry {
    type Of;
    fn name(&self) -> &str;
    fn into_inner(self) -> Self::Of;
}

macro_rules! entries {
    ($($named:ident { $member:ident: $of:ty }),+ $(,)?) => {$(
        #[derive(Deserialize)]
        pub(super) struct $named {
            name: String,
            $member: $of,
        }

        impl Entry for $named {
            type Of = $of;

            fn name(&self) -> &str {
                &self.name
            }

            fn into_inner(self) -> $of {
                self.$member
            }
        }
    )+};
}

entries! {
    NamedContext { context: Context },
    NamedUser { user: User },
    NamedCluster { cluster: Cluster },
}

#[derive(Deserialize)]
pub(super) struct Context {
    #[serde(default)]
    pub(super) user: String,
    #[serde(default)]
    pub(super) cluster: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct User {
    pub(super) token: Option<SecretString>,
    #[serde(rename = "tokenFile")]
    pub(super) token_file: Option<String>,
    pub(super) username: Option<String>,
    pub(super) password: Option<SecretString>,
    pub(super) client_certificate: Option<String>,
    pub(super) client_certificate_data: Option<SecretString>,
    pub(super) client_key: Option<String>,
    pub(super) client_key_data: Option<SecretString>,
    pub(super) exec: Option<Exec>,
    pub(super) auth_provider: Option<Value>,
    #[serde(rename = "as")]
    as_whom: Option<Value>,
    as_uid: Option<Value>,
    as_groups: Option<Value>,
    as_user_extra: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Exec {
    #[serde(default)]
    pub(super) api_version: String,
    #[serde(default)]
    pub(super) command: String,
    pub(super) args: Option<Vec<String>>,
    pub(super) env: Option<Vec<Variable>>,
    pub(super) install_hint: Option<String>,
    #[serde(default)]
    pub(super) provide_cluster_info: bool,
    pub(super) interactive_mode: Option<Interactive>,
}

#[derive(Deserialize)]
pub(super) struct Variable {
    pub(super) name: String,
    #[serde(default)]
    pub(super) value: String,
}

#[derive(Deserialize)]
pub(super) enum Interactive {
    Never,
    IfAvailable,
    Always,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Cluster {
    #[serde(default)]
    pub(super) server: String,
    pub(super) tls_server_name: Option<String>,
    #[serde(default)]
    pub(super) insecure_skip_tls_verify: bool,
    pub(super) certificate_authority: Option<String>,
    pub(super) certificate_authority_data: Option<String>,
    pub(super) proxy_url: Option<String>,
    #[serde(default)]
    pub(super) disable_compression: bool,
    extensions: Option<Vec<Extension>>,
}

#[derive(Deserialize)]
struct Extension {
    name: String,
    #[serde(default)]
    extension: Value,
}

impl User {
    pub(super) fn impersonates(&self) -> bool {
        [&self.as_whom, &self.as_uid, &self.as_groups, &self.as_user_extra]
            .into_iter()
            .flatten()
            .any(|value| !matches!(value, Value::Null) && *value != Value::String(String::new()))
    }

    /// Whether the file is as good as the credentials.
    pub(super) fn is_secret(&self) -> bool {
        [&self.token, &self.password, &self.client_key_data]
            .into_iter()
            .flatten()
            .any(|secret| !secret.expose_secret().is_empty())
    }
}

impl Cluster {
    /// What it says to credential plugins.
    pub(super) fn exec_config(&self) -> Value {
        let extensions = self.extensions.iter().flatten();
        let mut ours = extensions.filter(|extension| extension.name == EXEC_EXTENSION);
        ours.next().map(|extension| extension.extension.clone()).unwrap_or_default()
    }
}

pub(super) fn parse(text: &str) -> Result<Kubeconfig, KubeconfigError> {
    serde_saphyr::from_str(text).map_err(|error| {
        let location = error.location().map(|location| (location.line(), location.column()));
        KubeconfigError::Syntax(location)
    })
}
