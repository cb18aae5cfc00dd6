//! Setting up the plugins that a configuration names.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use service_core::Files;

use super::Plugin;
use super::client_cert::{self, ClientCert};
use super::http_basic::{self, HttpBasic};
use super::passwords::Passwords;

/// The prefix that names of the original have.
const ORIGINAL_PREFIX: &str = "commissaire_http.authentication.";

/// Plugins of the original, and one of ours, that this version does not have yet.
const LATER: [&str; 4] =
    ["keystonepasswordauth", "keystonetokenauth", "openshiftbearertokenauth", "oidc"];

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
    fn plugin(&self) -> &str {
        self.name.strip_prefix(ORIGINAL_PREFIX).unwrap_or(&self.name)
    }

    /// The users file that it names.
    pub fn users_file(&self) -> Option<&Path> {
        let path = self.options.get("filepath").filter(|_| self.plugin() == http_basic::PLUGIN);
        path?.as_str().map(Path::new)
    }
}

/// Why a plugin cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// There is no such plugin.
    #[error(
        "there is no authentication plugin {0:?}: known are {basic} and {cert}",
        basic = http_basic::PLUGIN,
        cert = client_cert::PLUGIN
    )]
    Unknown(String),
    /// There will be such a plugin.
    #[error(
        "the authentication plugin {0:?} is not part of this version yet: use {basic} or {cert}",
        basic = http_basic::PLUGIN,
        cert = client_cert::PLUGIN
    )]
    Later(String),
    /// An option is missing or wrong.
    #[error("the authentication plugin {plugin} is told something wrong: {message}")]
    Option {
        /// The plugin.
        plugin: &'static str,
        /// What is wrong, and what to say.
        message: String,
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

/// Sets up the plugins of a configuration.
pub(super) async fn set_up(
    configs: &[PluginConfig],
    passwords: Passwords,
    files: &Files,
) -> Result<Arc<[Plugin]>, SetupError> {
    let mut plugins = Vec::with_capacity(configs.len());
    for config in configs {
        let PluginConfig { name, options } = config;
        plugins.push(match config.plugin() {
            http_basic::PLUGIN => {
                let basic = HttpBasic::new(options, passwords, files).await?;
                Plugin::HttpBasic(Box::new(basic))
            }
            client_cert::PLUGIN => Plugin::ClientCert(ClientCert::new(options)?),
            later if LATER.contains(&later) => return Err(SetupError::Later(later.to_owned())),
            _ => return Err(SetupError::Unknown(name.clone())),
        });
    }
    if plugins.is_empty() {
        tracing::warn!("no authentication plugin is configured: every request will be refused");
    } else if !plugins.iter().any(Plugin::has_users) {
        tracing::warn!(
            "there is no user who could log in: add one with `commissaire-server user add NAME`, or, where \
             everything runs in one process, with `commissaire user add NAME`"
        );
    }
    Ok(plugins.into())
}

/// The options of a plugin; an unknown one is an error.
pub(super) fn options<T: DeserializeOwned>(
    plugin: &'static str,
    options: &Map<String, Value>,
) -> Result<T, SetupError> {
    serde_path_to_error::deserialize(Value::Object(options.clone()))
        .map_err(|e| SetupError::Option { plugin, message: e.to_string() })
}
