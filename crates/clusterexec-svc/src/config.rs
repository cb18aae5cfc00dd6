//! What the cluster executor is told: the members of `clusterexec.conf`.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

/// See the module.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Seconds that a log-in may take.
    pub connect_timeout: u64,
    /// Seconds from the reboot until a host must be proven back.
    pub verify_timeout: u64,
    /// Seconds that an upgrade or a deployment may take on a host, before its reboot.
    pub apply_timeout: u64,
    /// Playbooks that replace the bundled ones.
    pub playbook_path: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            connect_timeout: 10,
            verify_timeout: 15 * 60,
            apply_timeout: 60 * 60,
            playbook_path: None,
        }
    }
}

impl Config {
    /// How long a log-in may take.
    pub fn connect_timeout(&self) -> Duration {
        Duration::from_secs(self.connect_timeout)
    }

    /// How long after its reboot a host must be proven back.
    pub fn verify_timeout(&self) -> Duration {
        Duration::from_secs(self.verify_timeout)
    }

    /// How long an upgrade or a deployment may take on a host.
    pub fn apply_timeout(&self) -> Duration {
        Duration::from_secs(self.apply_timeout)
    }
}
