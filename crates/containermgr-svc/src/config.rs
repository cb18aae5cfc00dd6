//! The configuration of the container manager service, in `containermgr.conf`.

use std::time::Duration;

use serde::Deserialize;

/// The configuration of the container manager service.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Timeout for connecting to a container manager, in seconds; default 5.
    pub connect_timeout: u64,
    /// Timeout of an operation on a container manager, including retries, in seconds; default 30.
    pub timeout: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { connect_timeout: 5, timeout: 30 }
    }
}

impl Config {
    /// Timeout for connecting to a container manager.
    pub fn connect_timeout(&self) -> Duration {
        Duration::from_secs(self.connect_timeout)
    }

    /// Timeout of an operation on a container manager, including retries.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}
