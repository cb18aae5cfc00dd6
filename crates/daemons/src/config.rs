//! The members that all configuration files share.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use bus::{REQUEST_TIMEOUT, amqp, topology};
use runtime::config;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Map, Value};
use storage_client::lease;

use crate::Daemon;
use crate::args::CommonArgs;

/// See the module.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Common {
    /// The broker: `amqp://` or `amqps://`.
    pub bus_uri: SecretString,
    /// The file that holds it instead, as `conf/rabbitmq/accounts` writes one.
    pub bus_uri_file: Option<PathBuf>,
    /// The topic exchange.
    pub bus_exchange: String,
    /// Whether a broker on another machine may be reached without TLS.
    pub insecure_bus: bool,
    /// The accounts of the broker whose requests and jobs are worked on; all where it is missing.
    pub allowed_accounts: Option<Vec<String>>,
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
    /// The option that `bus_uri` came from, for messages.
    #[serde(skip)]
    pub bus_origin: String,
}

/// A broker on this machine.
const DEFAULT_BUS: &str = "amqp://127.0.0.1";

impl Default for Common {
    fn default() -> Self {
        Self {
            bus_uri: SecretString::from(DEFAULT_BUS),
            bus_uri_file: None,
            bus_exchange: topology::EXCHANGE.to_owned(),
            insecure_bus: false,
            allowed_accounts: None,
            request_timeout: REQUEST_TIMEOUT.as_secs(),
            debug: false,
            lease_ttl: lease::TTL.as_secs(),
            data_dir: PathBuf::from("/var/lib/commissaire"),
            run_dir: PathBuf::from("/run/commissaire"),
            accept_new_key: false,
            path: PathBuf::new(),
            bus_origin: String::new(),
        }
    }
}

/// Its members, with `_`.
const MEMBERS: [&str; 10] = [
    "bus_uri",
    "bus_uri_file",
    "bus_exchange",
    "insecure_bus",
    "allowed_accounts",
    "request_timeout",
    "debug",
    "lease_ttl",
    "data_dir",
    "run_dir",
];

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
        let (mut common, members) = Self::read(daemon, args).await?;
        common.debug |= args.debug;
        match (&args.bus_uri, &common.bus_uri_file) {
            (Some(uri), _) => {
                common.bus_uri = uri.clone().into();
                "--bus-uri".clone_into(&mut common.bus_origin);
            }
            (None, Some(path)) => {
                let read = std::fs::read_to_string(path);
                let read =
                    read.with_context(|| format!("cannot read {} (bus-uri-file)", path.display()));
                common.bus_uri = read?.trim().into();
                common.bus_origin = format!("the file {} (`bus-uri-file`)", path.display());
            }
            (None, None) => {}
        }
        if let Some(exchange) = &args.bus_exchange {
            common.bus_exchange.clone_from(exchange);
        }
        common.check_bus(daemon)?;
        Ok((common, members))
    }

    /// The same as it is written, without the files that it names: no bus is needed.
    ///
    /// # Errors
    /// When it cannot be read, or says something wrong.
    pub async fn read(
        daemon: Daemon,
        args: &CommonArgs,
    ) -> anyhow::Result<(Self, Map<String, Value>)> {
        let default = PathBuf::from(format!("/etc/commissaire/{}.conf", daemon.config()));
        let named = args.config_file.is_some();
        let path = args.config_file.clone().unwrap_or(default);
        let loaded = etcd_access::config::load(daemon.config(), &path, named).await?;
        Self::split(&loaded.origin, loaded.members)
    }

    /// Refuses what would show messages, or a password, to the network, and what would have no effect.
    fn check_bus(&self, daemon: Daemon) -> anyhow::Result<()> {
        let plaintext = self.amqp(daemon).plaintext_node();
        let plaintext = plaintext.with_context(|| format!("cannot use {}", self.bus_origin))?;
        if let Some(node) = plaintext.filter(|_| !self.insecure_bus) {
            bail!(
                "the bus at {node} ({}) was refused: a broker on another machine needs `amqps://` in `bus-uri`, or \
                 `\"insecure-bus\": true` in {} on a trusted network",
                self.bus_origin,
                self.path.display()
            );
        }
        let serves_nobody = matches!(daemon, Daemon::Server | Daemon::Storage);
        ensure!(
            self.allowed_accounts.is_none() || !serves_nobody,
            "{}: `allowed-accounts` has no effect here: the gateway serves nothing on the bus, and the storage \
             service has `accounts`",
            self.path.display()
        );
        Ok(())
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
        let is_given = ours.keys().any(|name| name.replace('-', "_") == "bus_uri");
        let common: Self = config::parse(path, ours)?;
        let least = lease::TTL_MIN.as_secs();
        ensure!(common.lease_ttl >= least, "{}: lease-ttl is at least {least}", path.display());
        ensure!(
            !is_given || common.bus_uri_file.is_none(),
            "{}: `bus-uri` and `bus-uri-file` exclude each other",
            path.display()
        );
        ensure!(common.request_timeout > 0, "{}: request-timeout is at least 1", path.display());
        let option = if is_given { "`bus-uri`" } else { "the default of `bus-uri`" };
        let bus_origin = format!("{option} in {}", path.display());
        Ok((Self { path: path.to_owned(), bus_origin, ..common }, others))
    }

    /// How to reach the broker.
    pub fn amqp(&self, daemon: Daemon) -> amqp::Options {
        amqp::Options {
            uri: self.bus_uri.clone(),
            origin: self.bus_origin.clone(),
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
    use secrecy::ExposeSecret as _;
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
            let error = format!("{:#}", split(json!({name: {}})).unwrap_err());
            assert!(error.contains("invalid type"), "{name}: {error}");
        }
    }

    #[tokio::test]
    async fn uri_of_the_bus_is_read_from_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let (uri, conf) = (folder.path().join("storage.uri"), folder.path().join("storage.conf"));
        std::fs::write(&uri, "amqp://commissaire-storage:x@127.0.0.1/%2f\n").unwrap();
        std::fs::write(&conf, json!({"bus-uri-file": uri}).to_string()).unwrap();
        let args = CommonArgs { config_file: Some(conf), ..CommonArgs::default() };
        let (common, _) = Common::load(Daemon::Storage, &args).await.unwrap();
        assert_eq!(common.bus_uri.expose_secret(), "amqp://commissaire-storage:x@127.0.0.1/%2f");
        assert_eq!(common.bus_origin, format!("the file {} (`bus-uri-file`)", uri.display()));
        let flag = CommonArgs { bus_uri: Some("amqp://localhost".to_owned()), ..args.clone() };
        let (common, _) = Common::load(Daemon::Storage, &flag).await.unwrap();
        assert_eq!(common.bus_uri.expose_secret(), "amqp://localhost");
        assert_eq!(common.bus_origin, "--bus-uri");
        std::fs::remove_file(&uri).unwrap();
        let error = Common::load(Daemon::Storage, &args).await.unwrap_err().to_string();
        assert!(error.contains("bus-uri-file") && error.contains("storage.uri"), "{error}");
        assert!(split(json!({"bus-uri": "amqp://h", "bus-uri-file": "/x"})).is_err());
    }

    #[test]
    fn the_bus_is_named_with_the_option_that_says_where_it_is() {
        let origin = |fields| split(fields).unwrap().0.bus_origin;
        assert_eq!(origin(json!({"bus_uri": "amqp://h"})), "`bus-uri` in x.conf");
        assert_eq!(origin(json!({"bus-uri": "amqp://127.0.0.1"})), "`bus-uri` in x.conf");
        assert_eq!(origin(json!({})), "the default of `bus-uri` in x.conf");
        for uri in ["redis://u:s3cr3t@h", "u:s3cr3t@h", "amqp://u:s3cr3t@h:port"] {
            let common = split(json!({"bus-uri": uri})).unwrap().0;
            let error = format!("{:#}", common.check_bus(Daemon::Storage).unwrap_err());
            assert!(error.starts_with("cannot use `bus-uri` in x.conf: "), "{error}");
            assert!(error.contains("AMQP") || error.contains("amqp://USER"), "{error}");
            assert!(!error.contains("s3cr3t"), "{error}");
        }
    }

    #[test]
    fn plaintext_to_another_machine_is_refused_unless_it_is_configured() {
        let check = |fields, daemon| split(fields).unwrap().0.check_bus(daemon);
        check(json!({"bus-uri": "amqp://127.0.0.1"}), Daemon::Storage).unwrap();
        let plain = "amqp://u:s3cr3t@broker.example.com";
        let error = check(json!({"bus-uri": plain}), Daemon::Storage).unwrap_err().to_string();
        assert!(error.contains("`amqps://` in `bus-uri`") && !error.contains("s3cr3t"), "{error}");
        check(json!({"bus-uri": plain, "insecure-bus": true}), Daemon::Storage).unwrap();
        let several = "amqps://a;amqp://b";
        assert!(check(json!({"bus-uri": several}), Daemon::Storage).is_err());
    }

    #[test]
    fn allowed_accounts_are_for_services_that_are_sent_jobs_or_requests() {
        let fields = || json!({"allowed-accounts": ["commissaire-http"]});
        let check = |daemon| split(fields()).unwrap().0.check_bus(daemon);
        check(Daemon::Clusterexec).unwrap();
        for daemon in [Daemon::Server, Daemon::Storage] {
            assert!(check(daemon).unwrap_err().to_string().contains("no effect"));
        }
    }

    #[test]
    fn what_cannot_work_is_refused() {
        for wrong in [json!({"lease-ttl": 1}), json!({"request-timeout": 0})] {
            assert!(format!("{:#}", split(wrong).unwrap_err()).contains("at least"));
        }
    }
}
