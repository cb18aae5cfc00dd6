//! Setting up the plugins that a configuration names.

use std::sync::Arc;

use runtime::Files;

use super::Plugin;
use super::client_cert::ClientCert;
use super::http_basic::HttpBasic;
use super::passwords::Passwords;
use super::plugins::{CLIENT_CERT, HTTP_BASIC, LATER, OPENSHIFT, PluginConfig, SetupError};
use super::provider::Provider;

/// Sets up the plugins of a configuration; the providers among those that are `known` by it stay.
pub(super) async fn set_up(
    configs: &[PluginConfig],
    passwords: Passwords,
    files: &Files,
    known: &[Plugin],
) -> Result<Arc<[Plugin]>, SetupError> {
    let mut plugins = Vec::with_capacity(configs.len());
    for (index, config) in configs.iter().enumerate() {
        if let Some(Plugin::Provider(provider)) = known.get(index) {
            plugins.push(Plugin::Provider(Arc::clone(provider)));
            continue;
        }
        let PluginConfig { name, options } = config;
        plugins.push(match config.plugin() {
            HTTP_BASIC => {
                let basic = HttpBasic::new(options, passwords, files).await?;
                Plugin::HttpBasic(Box::new(basic))
            }
            CLIENT_CERT => Plugin::ClientCert(ClientCert::new(options)?),
            OPENSHIFT => {
                Plugin::Provider(Arc::new(Provider::new(OPENSHIFT, options, files).await?))
            }
            later if LATER.contains(&later) => {
                return Err(SetupError::Later { name: later.to_owned() });
            }
            _ => return Err(SetupError::Unknown { name: name.clone() }),
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
