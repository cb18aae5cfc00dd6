//! What the container manager service is told: the members of `containermgr.conf`.

use std::time::Duration;

use serde::Deserialize;

/// See the module.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Seconds that connecting to a container manager may take.
    pub connect_timeout: u64,
    /// Seconds that a container manager may take for a whole call, with everything that is tried again.
    pub timeout: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { connect_timeout: 5, timeout: 30 }
    }
}

impl Config {
    /// How long connecting may take.
    pub fn connect_timeout(&self) -> Duration {
        Duration::from_secs(self.connect_timeout)
    }

    /// How long a whole call may take.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}
