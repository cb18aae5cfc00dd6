//! The variables of the bootstrap playbook. Pure.

use serde_json::{Map, Value, json};

use crate::os::{Family, Os};

/// The etcd key that flannel reads when none is configured: the original's.
pub const FLANNEL_KEY: &str = "/atomic01/network";

/// What a cluster's network asks of its hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkSetup {
    /// Nothing: no flannel, no docker.
    None,
    /// flannel that reads its configuration from etcd.
    FlannelEtcd(FlannelEtcd),
    /// flannel that asks a flannel server.
    FlannelServer {
        /// `host:port` of that server.
        address: String,
    },
}

/// How flannel reaches etcd.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FlannelEtcd {
    /// `http://host:port` or `https://host:port`, at least one.
    pub endpoints: Vec<String>,
    /// Credentials of flannel's own, copied to the host.
    pub tls: FlannelTls,
    /// Where its configuration lies; [`FLANNEL_KEY`] when empty.
    pub key_prefix: String,
}

/// Files on the controller that are copied to a host for flannel; each is optional, but a
/// certificate needs its key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FlannelTls {
    /// The CA that etcd's certificate is checked against.
    pub ca_path: Option<String>,
    /// The client certificate.
    pub certificate_path: Option<String>,
    /// Its private key.
    pub key_path: Option<String>,
}

/// What else is configurable about a bootstrap.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BootstrapOptions {
    /// The host's address, for operators' own templates.
    pub address: String,
    /// A mirror for docker's images.
    pub registry_mirror: Option<RegistryMirror>,
}

/// A mirror for docker's images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryMirror {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// Why a host cannot be set up with what is configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BootstrapError {
    /// The network is of type `flannel_etcd`, and there is no etcd.
    #[error(
        "the network is of type flannel_etcd, which needs etcd endpoints, and none are configured: \
         name them in the investigator's configuration (flannel), or use a network of type \
         flannel_server or none"
    )]
    NoEndpoints,
    /// Half a pair.
    #[error(
        "flannel's etcd certificate and key are needed together: only one of them is configured"
    )]
    HalfAPair,
    /// A value that would end up in a configuration file, and cannot be meant.
    #[error("{what} {value:?} cannot be used: expected {expected}")]
    BadValue {
        /// What it is.
        what: &'static str,
        /// The value.
        value: String,
        /// What it should look like.
        expected: &'static str,
    },
}

/// The variables with which the bootstrap playbook sets up a host; all begin with `commissaire_`.
///
/// # Errors
/// When the network cannot be set up with what is configured.
pub fn bootstrap_vars(
    os: Os,
    version: &str,
    ostree: bool,
    network: &NetworkSetup,
    options: &BootstrapOptions,
) -> Result<Map<String, Value>, BootstrapError> {
    let mut vars = system_vars(os, version, ostree);
    vars.insert("commissaire_bootstrap_ip".into(), json!(options.address));
    let network = match network {
        NetworkSetup::None => json!({ "commissaire_network_type": "none" }),
        NetworkSetup::FlannelServer { address } => {
            check("the flannel server's address", address, "host:port", is_host_port)?;
            json!({ "commissaire_network_type": "flannel_server", "commissaire_flannel_server": address })
        }
        NetworkSetup::FlannelEtcd(etcd) => Value::Object(etcd_vars(etcd)?),
    };
    vars.extend(network.as_object().cloned().unwrap_or_default());
    if let Some(mirror) = &options.registry_mirror {
        check("the registry mirror's host", &mirror.host, "a name or address", is_host)?;
        vars.insert("commissaire_docker_registry_host".into(), json!(mirror.host));
        vars.insert("commissaire_docker_registry_port".into(), json!(mirror.port));
    }
    Ok(vars)
}

/// The commands, paths and service names of a distribution.
fn system_vars(os: Os, version: &str, ostree: bool) -> Map<String, Value> {
    let commands = os.commands(version, ostree);
    let directory = match os.family() {
        Family::Debian => "/etc/default",
        Family::RedHat | Family::Suse => "/etc/sysconfig",
    };
    let vars = json!({
        "commissaire_install_libselinux_python": commands.install_libselinux_python.unwrap_or(""),
        "commissaire_prepare_packages": commands.prepare.unwrap_or(""),
        "commissaire_install_flannel": commands.install_flannel,
        "commissaire_flanneld_config": format!("{directory}/flanneld"),
        "commissaire_flanneld_config_local": "templates/flanneld",
        "commissaire_flannel_service": "flanneld",
        "commissaire_install_docker": commands.install_docker,
        "commissaire_docker_config": format!("{directory}/docker"),
        "commissaire_docker_config_local": "templates/docker",
        "commissaire_docker_service": "docker",
        "commissaire_docker_selinux": os.family() == Family::RedHat,
    });
    vars.as_object().cloned().unwrap_or_default()
}

fn etcd_vars(etcd: &FlannelEtcd) -> Result<Map<String, Value>, BootstrapError> {
    if etcd.endpoints.is_empty() {
        return Err(BootstrapError::NoEndpoints);
    }
    for endpoint in &etcd.endpoints {
        check("the etcd endpoint", endpoint, "http://host:port or https://host:port", is_endpoint)?;
    }
    if etcd.tls.certificate_path.is_some() != etcd.tls.key_path.is_some() {
        return Err(BootstrapError::HalfAPair);
    }
    let key = if etcd.key_prefix.is_empty() { FLANNEL_KEY } else { &etcd.key_prefix };
    check("flannel's key", key, "a path such as /atomic01/network", is_path)?;
    let mut vars = Map::from_iter([
        ("commissaire_network_type".to_owned(), json!("flannel_etcd")),
        ("commissaire_etcd_server_url".to_owned(), json!(etcd.endpoints.join(","))),
        ("commissaire_flannel_key".to_owned(), json!(key)),
    ]);
    for (name, local, remote) in [
        ("ca", &etcd.tls.ca_path, "/etc/commissaire/etcd/ca.pem"),
        ("client_cert", &etcd.tls.certificate_path, "/etc/commissaire/etcd/client.pem"),
        ("client_key", &etcd.tls.key_path, "/etc/commissaire/etcd/client-key.pem"),
    ] {
        if let Some(local) = local {
            check("the certificate's path", local, "an absolute path", is_path)?;
            vars.insert(format!("commissaire_etcd_{name}_path"), json!(remote));
            vars.insert(format!("commissaire_etcd_{name}_path_local"), json!(local));
        }
    }
    Ok(vars)
}

fn check(
    what: &'static str,
    value: &str,
    expected: &'static str,
    is_good: fn(&str) -> bool,
) -> Result<(), BootstrapError> {
    if is_good(value) {
        return Ok(());
    }
    Err(BootstrapError::BadValue { what, value: value.to_owned(), expected })
}

/// No quote, no space, no `$`, no `{`: fit for a file that both systemd and a shell may read.
fn is_plain(text: &str, also: &str) -> bool {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || also.contains(letter);
    !text.is_empty() && !text.starts_with('-') && text.chars().all(plain)
}

fn is_host(text: &str) -> bool {
    is_plain(text, ".-_:[]")
}

fn is_host_port(text: &str) -> bool {
    text.rsplit_once(':')
        .is_some_and(|(host, port)| is_host(host) && port.parse::<u16>().is_ok_and(|port| port > 0))
}

fn is_endpoint(text: &str) -> bool {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    rest.is_some_and(|rest| is_host(rest.trim_end_matches('/')))
}

fn is_path(text: &str) -> bool {
    text.starts_with('/') && is_plain(text, "/._-+@:")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vars(network: &NetworkSetup) -> Result<Map<String, Value>, BootstrapError> {
        bootstrap_vars(Os::Fedora, "41", false, network, &BootstrapOptions::default())
    }

    fn etcd(endpoint: &str) -> FlannelEtcd {
        FlannelEtcd { endpoints: vec![endpoint.to_owned()], ..FlannelEtcd::default() }
    }

    #[test]
    fn all_names_begin_alike() {
        let tls = FlannelTls {
            ca_path: Some("/etc/ca.pem".into()),
            certificate_path: Some("/etc/c.pem".into()),
            key_path: Some("/etc/k.pem".into()),
        };
        let network =
            NetworkSetup::FlannelEtcd(FlannelEtcd { tls, ..etcd("https://10.0.0.1:2379") });
        let vars = vars(&network).unwrap();
        assert!(vars.keys().all(|name| name.starts_with("commissaire_")), "{vars:?}");
        assert_eq!(vars["commissaire_flannel_key"], "/atomic01/network");
        assert_eq!(vars["commissaire_etcd_client_key_path_local"], "/etc/k.pem");
        assert_eq!(vars["commissaire_install_flannel"], "dnf install -y flannel");
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let none = NetworkSetup::FlannelEtcd(FlannelEtcd::default());
        assert_eq!(vars(&none), Err(BootstrapError::NoEndpoints));
        for endpoint in ["10.0.0.1:2379", "http://", "http://a\"b", "http://a b", "http://{{x}}"] {
            assert!(vars(&NetworkSetup::FlannelEtcd(etcd(endpoint))).is_err(), "{endpoint}");
        }
        for address in ["host", "-x:80", "a:0", "a b:80", ":80"] {
            let network = NetworkSetup::FlannelServer { address: address.to_owned() };
            assert!(vars(&network).is_err(), "{address}");
        }
        let tls = FlannelTls { key_path: Some("/k".into()), ..FlannelTls::default() };
        let half = NetworkSetup::FlannelEtcd(FlannelEtcd { tls, ..etcd("http://a:1") });
        assert_eq!(vars(&half), Err(BootstrapError::HalfAPair));
    }
}
