//! Setting up the plugins that a configuration names.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Plugin;
use super::client_cert::ClientCert;
use super::http_basic::HttpBasic;
use super::passwords::Passwords;
use super::plugins::{ALL, CLIENT_CERT, HTTP_BASIC, PluginConfig, SetupError};
use super::provider::{Needs, Provider};

/// Sets up the plugins of a configuration; the providers among those that are `known` by it stay.
pub(super) async fn set_up(
    configs: &[PluginConfig],
    passwords: Passwords,
    needs: Needs<'_>,
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
                let basic = HttpBasic::new(options, passwords, needs.files).await?;
                Plugin::HttpBasic(Box::new(basic))
            }
            CLIENT_CERT => Plugin::ClientCert(ClientCert::new(options)?),
            other => match ALL.into_iter().find(|known| *known == other) {
                Some(plugin) => {
                    Plugin::Provider(Arc::new(Provider::new(plugin, options, needs).await?))
                }
                None => return Err(SetupError::Unknown { name: name.clone() }),
            },
        });
    }
    check_prefixes(&plugins)?;
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

/// Two providers with the same prefix would make the same principal of two users.
fn check_prefixes(plugins: &[Plugin]) -> Result<(), SetupError> {
    let mut prefixes = BTreeSet::new();
    for plugin in plugins {
        if let Plugin::Provider(provider) = plugin
            && !prefixes.insert(provider.prefix())
        {
            return Err(SetupError::Prefix { prefix: provider.prefix().to_owned() });
        }
    }
    Ok(())
}
