//! What the investigator is told: the members of `investigator.conf`.

use std::path::PathBuf;
use std::time::Duration;

use host_access::bootstrap::{FlannelEtcd, FlannelTls, RegistryMirror};
use serde::Deserialize;

/// See the module.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Hosts that are looked at at a time.
    pub concurrency: usize,
    /// `ansible-playbook` processes at a time: each takes a core and 60 MB for seconds.
    pub ansible_processes: usize,
    /// Seconds that a log-in may take.
    pub connect_timeout: u64,
    /// Seconds that the set-up of a host may take.
    pub bootstrap_timeout: u64,
    /// Playbooks that replace the bundled ones.
    pub playbook_path: Option<PathBuf>,
    /// The memory that each process of `ansible-playbook` may use, in MiB.
    pub playbook_memory: u64,
    /// How flannel reaches etcd, with credentials of its own: for networks of type `flannel_etcd`.
    pub flannel: Option<Flannel>,
    /// A mirror for docker's images.
    pub registry_mirror: Option<Mirror>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            concurrency: 16,
            ansible_processes: 4,
            connect_timeout: 10,
            bootstrap_timeout: 1800,
            playbook_path: None,
            playbook_memory: host_access::playbook::MEMORY,
            flannel: None,
            registry_mirror: None,
        }
    }
}

/// How flannel reaches etcd.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Flannel {
    /// `http://host:port` or `https://host:port`, at least one.
    pub endpoints: Vec<String>,
    /// The key its configuration lies at; the original's `/atomic01/network` where left out.
    pub key_prefix: String,
    /// The CA of etcd's certificate, a file on this machine.
    pub certificate_ca_path: Option<String>,
    /// flannel's client certificate, a file on this machine.
    pub certificate_path: Option<String>,
    /// Its key.
    pub certificate_key_path: Option<String>,
}

/// A mirror for docker's images.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mirror {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl Config {
    /// How long a log-in may take.
    pub fn connect_timeout(&self) -> Duration {
        Duration::from_secs(self.connect_timeout)
    }

    /// How long the set-up of a host may take.
    pub fn bootstrap_timeout(&self) -> Duration {
        Duration::from_secs(self.bootstrap_timeout)
    }

    /// How flannel reaches etcd, as the playbook wants it.
    pub fn flannel_etcd(&self) -> FlannelEtcd {
        let flannel = self.flannel.clone().unwrap_or_default();
        FlannelEtcd {
            endpoints: flannel.endpoints,
            key_prefix: flannel.key_prefix,
            tls: FlannelTls {
                ca_path: flannel.certificate_ca_path,
                certificate_path: flannel.certificate_path,
                key_path: flannel.certificate_key_path,
            },
        }
    }

    /// The mirror, as the playbook wants it.
    pub fn mirror(&self) -> Option<RegistryMirror> {
        self.registry_mirror.as_ref().map(|m| RegistryMirror { host: m.host.clone(), port: m.port })
    }
}
