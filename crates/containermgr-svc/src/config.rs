//! The configuration of the container manager service, in `containermgr.conf`.

use std::path::{Path, PathBuf};
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
    /// The directory below which container managers may name kubeconfigs and files with tokens; none by default. A kubeconfig
    /// may run a program, and a token is sent to the server that the container manager names.
    pub credentials_directory: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self { connect_timeout: 5, timeout: 30, credentials_directory: None }
    }
}

impl Config {
    /// Timeout for connecting to a container manager.
    pub fn connect_timeout(&self) -> Duration {
        Duration::from_secs(self.connect_timeout)
    }

    /// The file of this path below the directory for credentials, for the option with this name.
    ///
    /// # Errors
    /// A sentence that says what has to be configured.
    pub(crate) fn credentials(&self, option: &str, path: &Path) -> Result<PathBuf, String> {
        let directory = self.credentials_directory.as_ref().ok_or_else(|| {
            format!("`{option}` needs `credentials-directory` in the configuration of the service")
        })?;
        Ok(directory.join(path))
    }

    /// Timeout of an operation on a container manager, including retries.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}
