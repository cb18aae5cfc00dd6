//! What the gateway is told: the members of `commissaire.conf`.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use serde::Deserialize;
use service_core::Networks;

use crate::auth::PluginConfig;

/// See the module.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The address to listen on.
    pub listen_interface: IpAddr,
    /// The port to listen on; 0 takes a free one.
    pub listen_port: u16,
    /// Who may use the API: tried in order until one accepts. None: everything is refused.
    pub authentication_plugins: Vec<PluginConfig>,
    /// Exact paths that authenticate by themselves.
    pub self_auths: Vec<String>,
    /// Proxies that are believed when they say for whom they ask, in `Forwarded` or `X-Forwarded-For`.
    pub trusted_proxies: Networks,
    /// The file of the audit log; the log where there is none.
    pub audit_log: Option<PathBuf>,
    /// Serve plain HTTP beyond loopback: for use behind a proxy that does TLS.
    pub insecure_http: bool,
    /// The public half of the server's own SSH key, as `GET /api/v0/publickey` shows it.
    pub ssh_public_key_file: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen_interface: Ipv4Addr::LOCALHOST.into(),
            listen_port: 8000,
            authentication_plugins: Vec::new(),
            self_auths: Vec::new(),
            trusted_proxies: Networks::default(),
            audit_log: None,
            insecure_http: false,
            ssh_public_key_file: None,
        }
    }
}

impl Config {
    /// Checks what the types do not say.
    ///
    /// # Errors
    /// A sentence that says what to change.
    pub fn validate(&self) -> Result<(), String> {
        if !self.listen_interface.is_loopback() && !self.insecure_http {
            return Err(format!(
                "listening on {} would send passwords in clear over the network: put a TLS proxy in \
                 front and say --insecure-http, or listen on 127.0.0.1",
                self.listen_interface
            ));
        }
        Ok(())
    }
}
