//! The members that all configuration files share.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Map, Value};
use service_core::bus::{REQUEST_TIMEOUT, amqp, topology};
use service_core::{config, lease};

use crate::Daemon;
use crate::args::CommonArgs;

/// See the module.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Common {
    /// The broker: `amqp://` or `amqps://`.
    pub bus_uri: SecretString,
    /// The topic exchange.
    pub bus_exchange: String,
    /// Seconds that an answer may take.
    pub request_timeout: u64,
    /// Log debug messages.
    pub debug: bool,
    /// Seconds that a lease lasts without a sign of life.
    pub lease_ttl: u64,
    /// The data directory. It holds `id_ed25519`, which has to be the same on all machines that reach
    /// hosts, and `secret.key` of the storage service, unless `secret-key-file` names another file.
    pub data_dir: PathBuf,
    /// Where keys in use and SSH sockets are kept: a short path, best in memory.
    pub run_dir: PathBuf,
    /// Whether an SSH key that the store does not know is added to the server's own ones.
    #[serde(skip)]
    pub accept_new_key: bool,
    /// Where the configuration came from, for errors.
    #[serde(skip)]
    pub path: PathBuf,
}

impl Default for Common {
    fn default() -> Self {
        Self {
            bus_uri: SecretString::from("amqp://127.0.0.1"),
            bus_exchange: topology::EXCHANGE.to_owned(),
            request_timeout: REQUEST_TIMEOUT.as_secs(),
            debug: false,
            lease_ttl: lease::TTL.as_secs(),
            data_dir: PathBuf::from("/var/lib/commissaire"),
            run_dir: PathBuf::from("/run/commissaire"),
            accept_new_key: false,
            path: PathBuf::new(),
        }
    }
}

/// Its members, with `_`.
const MEMBERS: [&str; 7] =
    ["bus_uri", "bus_exchange", "request_timeout", "debug", "lease_ttl", "data_dir", "run_dir"];

impl Common {
    /// Reads a daemon's configuration, and lets the command line have the last word; the members that
    /// are the service's own are returned beside it.
    ///
    /// # Errors
    /// When it cannot be read, or says something wrong.
    pub async fn load(
        daemon: Daemon,
        args: &CommonArgs,
    ) -> anyhow::Result<(Self, Map<String, Value>)> {
        let default = PathBuf::from(format!("/etc/commissaire/{}.conf", daemon.config()));
        let named = args.config_file.is_some();
        let path = args.config_file.clone().unwrap_or(default);
        let loaded = config::load(daemon.config(), &path, named).await?;
        let (mut common, members) = Self::split(&loaded.origin, loaded.members)?;
        common.debug |= args.debug;
        if let Some(uri) = &args.bus_uri {
            common.bus_uri = uri.clone().into();
        }
        if let Some(exchange) = &args.bus_exchange {
            common.bus_exchange.clone_from(exchange);
        }
        Ok((common, members))
    }

    /// Takes the shared members out of a configuration; `path` is for errors.
    ///
    /// # Errors
    /// Names the member that is wrong.
    pub fn split(
        path: &Path,
        members: Map<String, Value>,
    ) -> anyhow::Result<(Self, Map<String, Value>)> {
        let shared = |name: &str| MEMBERS.contains(&name.replace('-', "_").as_str());
        let (ours, others): (Map<_, _>, Map<_, _>) =
            members.into_iter().partition(|(name, _)| shared(name));
        let common: Self = config::parse(path, ours)?;
        let least = lease::TTL_MIN.as_secs();
        ensure!(common.lease_ttl >= least, "{}: lease-ttl is at least {least}", path.display());
        ensure!(common.request_timeout > 0, "{}: request-timeout is at least 1", path.display());
        Ok((Self { path: path.to_owned(), ..common }, others))
    }

    /// How to reach the broker.
    pub fn amqp(&self, daemon: Daemon) -> amqp::Options {
        amqp::Options {
            uri: self.bus_uri.clone(),
            exchange: self.bus_exchange.clone(),
            name: daemon.config().to_owned(),
        }
    }

    /// How long a request waits for its answer.
    pub fn request_timeout(&self) -> Duration {
        Duration::from_secs(self.request_timeout)
    }

    /// How long a lease lasts without a sign of life.
    pub fn lease_ttl(&self) -> Duration {
        Duration::from_secs(self.lease_ttl)
    }

    /// The data directory, made where it is missing.
    ///
    /// # Errors
    /// When it cannot be used.
    pub fn data_dir(&self) -> anyhow::Result<&Path> {
        use std::os::unix::fs::DirBuilderExt as _;
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.data_dir);
        made.with_context(|| format!("cannot use the data directory {}", self.data_dir.display()))?;
        Ok(&self.data_dir)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn split(members: Value) -> anyhow::Result<(Common, Map<String, Value>)> {
        let Value::Object(members) = members else { panic!("an object") };
        Common::split(Path::new("x.conf"), members)
    }

    #[test]
    fn shared_members_are_taken_out() {
        let given = json!({"bus-exchange": "x", "lease_ttl": 9, "verify-timeout": 60});
        let (common, rest) = split(given).unwrap();
        assert_eq!((common.bus_exchange.as_str(), common.lease_ttl), ("x", 9));
        assert_eq!(Value::Object(rest), json!({"verify-timeout": 60}));
    }

    #[test]
    fn all_shared_members_are_known() {
        // Each is refused for its type and not for its name.
        for name in MEMBERS {
            let error = format!("{:#}", split(json!({name: []})).unwrap_err());
            assert!(error.contains("invalid type"), "{name}: {error}");
        }
    }

    #[test]
    fn what_cannot_work_is_refused() {
        for wrong in [json!({"lease-ttl": 1}), json!({"request-timeout": 0})] {
            assert!(format!("{:#}", split(wrong).unwrap_err()).contains("at least"));
        }
    }
}
