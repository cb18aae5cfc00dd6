//! What the gateway is told: the members of `commissaire.conf`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use model::Networks;
use serde::Deserialize;

use crate::auth::PluginConfig;
use crate::browser::Origin;
use crate::server::limits::Limits;
use crate::tls::{ClientVerify, Files};

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
    /// The socket of Custodia, to which what is below `/api/v0/secrets` is passed on.
    pub custodia_socket_path: Option<PathBuf>,
    /// Proxies that are believed when they say for whom they ask, in `Forwarded` or `X-Forwarded-For`.
    pub trusted_proxies: Networks,
    /// Other origins, `https://HOST[:PORT]`, whose pages may send requests from a browser.
    pub allowed_origins: Vec<Origin>,
    /// The file of the audit log; the log where there is none.
    pub audit_log: Option<PathBuf>,
    /// The server's key and its chain of certificates, in one file: TLS is then spoken.
    pub tls_pemfile: Option<PathBuf>,
    /// The authorities of clients' certificates.
    pub tls_clientverifyfile: Option<PathBuf>,
    /// Whether clients have to show one.
    pub tls_client_verify: ClientVerify,
    /// Serve plain HTTP beyond loopback: for use behind a proxy that does TLS.
    pub insecure_http: bool,
    /// Where `/healthz` and `/readyz` are served in clear, besides.
    pub health_listen: Option<SocketAddr>,
    /// What one client may take from the others.
    pub limits: Limits,
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
            custodia_socket_path: None,
            trusted_proxies: Networks::default(),
            allowed_origins: Vec::new(),
            audit_log: None,
            tls_pemfile: None,
            tls_clientverifyfile: None,
            tls_client_verify: ClientVerify::default(),
            insecure_http: false,
            health_listen: None,
            limits: Limits::default(),
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
        if self.tls_pemfile.is_none() && self.tls_clientverifyfile.is_some() {
            return Err(
                "tls-clientverifyfile does nothing without tls-pemfile: give both".to_owned()
            );
        }
        let Limits { connections, connections_per_source, head_size, .. } = self.limits;
        if connections == 0
            || connections_per_source == Some(0)
            || head_size < Limits::HEAD_SIZE_MIN
        {
            return Err(format!(
                "limits: connections and connections-per-source are at least 1, head-size at least {}",
                Limits::HEAD_SIZE_MIN
            ));
        }
        if !self.listen_interface.is_loopback() && self.tls_pemfile.is_none() && !self.insecure_http
        {
            return Err(format!(
                "listening on {} would send passwords in clear over the network: give a certificate with \
                 --tls-pemfile; or put a TLS proxy in front and say --insecure-http; or listen on 127.0.0.1",
                self.listen_interface
            ));
        }
        Ok(())
    }

    /// The URL of the API, for who is on this machine.
    pub fn url(&self, listening: SocketAddr) -> String {
        let scheme = if self.tls_pemfile.is_some() { "https" } else { "http" };
        // No certificate is for an address that means all of them.
        let ip = match listening.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        format!("{scheme}://{}", SocketAddr::new(ip, listening.port()))
    }

    /// The files for TLS, where it is spoken.
    pub fn tls_files(&self) -> Option<Files> {
        let clients = self.tls_clientverifyfile.clone().map(|file| (file, self.tls_client_verify));
        self.tls_pemfile.clone().map(|pem| Files { pem, clients })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn validate(members: Value) -> Result<(), String> {
        serde_json::from_value::<Config>(members).map_err(|e| e.to_string())?.validate()
    }

    #[test]
    fn what_cannot_work_is_refused() {
        for (members, says) in [
            (json!({"listen_interface": "0.0.0.0"}), "--tls-pemfile"),
            (json!({"listen_interface": "::"}), "--insecure-http"),
            (json!({"tls_clientverifyfile": "/ca"}), "give both"),
            (json!({"tls_client_verify": "maybe"}), "required"),
            (json!({"limits": {"connections": 0}}), "at least 1"),
            (json!({"limits": {"connections_per_source": 0}}), "at least 1"),
            (
                json!({"allowed_origins": ["example.com"]}),
                "invalid origin \"example.com\": use https://HOST",
            ),
            (json!({"limits": {"head_size": 100}}), "at least 8192"),
            (json!({"limits": {"idle": 0}}), "a number of seconds"),
        ] {
            let error = validate(members).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn the_url_can_be_used_here() {
        let plain = Config::default();
        let tls = Config { tls_pemfile: Some("/x".into()), ..Config::default() };
        assert_eq!(plain.url("127.0.0.1:8000".parse().unwrap()), "http://127.0.0.1:8000");
        assert_eq!(tls.url("0.0.0.0:8000".parse().unwrap()), "https://127.0.0.1:8000");
        assert_eq!(tls.url("[::]:1".parse().unwrap()), "https://[::1]:1");
        assert_eq!(tls.url("10.0.0.1:1".parse().unwrap()), "https://10.0.0.1:1");
    }

    #[test]
    fn what_is_safe_is_taken() {
        for members in [
            json!({"listen_interface": "::1"}),
            json!({"listen_interface": "0.0.0.0", "insecure_http": true}),
            json!({"listen_interface": "0.0.0.0", "tls_pemfile": "/x", "tls_clientverifyfile": "/ca"}),
            json!({"limits": {"idle": 0.5}}),
        ] {
            validate(members).unwrap();
        }
    }
}
