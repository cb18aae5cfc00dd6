//! Plugins as a configuration names them, and what can be wrong with them.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// User names and passwords.
pub(super) const HTTP_BASIC: &str = "httpbasicauth";

/// Client certificates.
pub(super) const CLIENT_CERT: &str = "httpauthclientcert";

/// Bearer tokens of OpenShift and Kubernetes.
pub(super) const OPENSHIFT: &str = "openshiftbearertokenauth";

/// Passwords of Keystone.
pub(super) const KEYSTONE_PASSWORD: &str = "keystonepasswordauth";

/// Tokens of Keystone.
pub(super) const KEYSTONE_TOKEN: &str = "keystonetokenauth";

/// Bearer tokens of an issuer of OpenID Connect.
pub(super) const OIDC: &str = "oidc";

/// All plugins of this version.
pub(super) const ALL: [&str; 6] =
    [HTTP_BASIC, CLIENT_CERT, KEYSTONE_PASSWORD, KEYSTONE_TOKEN, OPENSHIFT, OIDC];

/// The prefix that names of the original have.
const ORIGINAL_PREFIX: &str = "commissaire_http.authentication.";

/// A plugin, as the configuration names it.
#[derive(Debug, Clone, Deserialize)]
pub struct PluginConfig {
    /// Its name, with or without the original's prefix.
    pub name: String,
    /// What it needs to know.
    #[serde(flatten)]
    pub options: Map<String, Value>,
}

impl PluginConfig {
    /// Its name, without that prefix.
    pub(super) fn plugin(&self) -> &str {
        self.name.strip_prefix(ORIGINAL_PREFIX).unwrap_or(&self.name)
    }

    /// The users file that it names.
    pub fn users_file(&self) -> Option<&Path> {
        let path = self.options.get("filepath").filter(|_| self.plugin() == HTTP_BASIC);
        path?.as_str().map(Path::new)
    }
}

/// Why a plugin cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// There is no such plugin.
    #[error("there is no authentication plugin {name:?}: known are {known}", known = ALL.join(", "))]
    Unknown {
        /// The name.
        name: String,
    },
    /// An option is missing or wrong.
    #[error("the authentication plugin {plugin} is told something wrong: {message}")]
    Option {
        /// The plugin.
        plugin: &'static str,
        /// What is wrong, and what to say.
        message: String,
    },
    /// Its identity provider cannot be used.
    #[error("the authentication plugin {plugin} cannot be set up")]
    Provider {
        /// The plugin.
        plugin: &'static str,
        /// Why.
        source: identity_providers::client::ClientError,
    },
    /// Two providers name their users alike.
    #[error(
        "two authentication plugins have names that begin with {prefix:?}: give each issuer another `prefix`, and each \
         other identity provider one plugin"
    )]
    Prefix {
        /// What they begin with.
        prefix: String,
    },
    /// A file cannot be read.
    #[error("cannot read the users file {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// The options of a plugin, whose names have `-` or `_`; an unknown one is an error.
pub(super) fn read_options<T: DeserializeOwned>(
    plugin: &'static str,
    options: &Map<String, Value>,
) -> Result<T, SetupError> {
    let named = |(name, value): (&String, &Value)| (name.replace('-', "_"), value.clone());
    let options = options.iter().map(named).collect();
    serde_path_to_error::deserialize(Value::Object(options))
        .map_err(|e| SetupError::Option { plugin, message: e.to_string() })
}
