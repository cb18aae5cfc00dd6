//! The configuration file: the gateway's members, and an object for each service.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use http_gateway::auth::PluginConfig;
use runtime::config;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use storage_client::lease;

use crate::args::Args;
use crate::data_dir;

/// Read when it exists and no other is named. The gateway of the six daemons reads `commissaire.conf`, as in the
/// original: it has other fields.
pub(crate) const DEFAULT: &str = "/etc/commissaire/one-process.conf";

/// What the services are told.
#[derive(Debug, Clone)]
pub struct Config {
    /// The gateway.
    pub gateway: http_gateway::Config,
    /// The member `investigator`.
    pub investigator: investigator_svc::Config,
    /// The member `clusterexec`.
    pub clusterexec: clusterexec_svc::Config,
    /// The member `containermgr`.
    pub containermgr: containermgr_svc::Config,
    /// The member `watcher`.
    pub watcher: watcher_svc::Config,
    /// Whether the gateway's certificate is to be made.
    pub own_certificate: bool,
    /// The member `lease-ttl`, in seconds.
    lease_ttl: u64,
}

impl Config {
    /// Reads the file and lets the command line have the last word.
    ///
    /// # Errors
    /// When the file cannot be read, or says something wrong.
    pub fn load(args: &Args) -> anyhow::Result<Self> {
        let path = path(args);
        let members = config::read(path, args.config_file.is_some())?;
        let mut config = Self::parse(path, members)?;
        let gateway = &mut config.gateway;
        gateway.listen_interface = args.listen_interface.unwrap_or(gateway.listen_interface);
        gateway.listen_port = args.listen_port.unwrap_or(gateway.listen_port);
        gateway.insecure_http |= args.insecure_http;
        args.authentication.apply(gateway);
        let given = |flag: &Option<PathBuf>, member: Option<PathBuf>| flag.clone().or(member);
        gateway.tls_pemfile = given(&args.tls_pemfile, gateway.tls_pemfile.take());
        gateway.tls_clientverifyfile =
            given(&args.tls_clientverifyfile, gateway.tls_clientverifyfile.take());
        let in_clear = gateway.listen_interface.is_loopback() || gateway.insecure_http;
        if gateway.tls_pemfile.is_none() && (args.tls || !in_clear) {
            gateway.tls_pemfile = Some(args.data_dir().join(data_dir::CERTIFICATE));
            config.own_certificate = true;
        }
        let gateway = &config.gateway;
        gateway.validate().map_err(|message| anyhow!(message))?;
        Ok(config)
    }

    /// A configuration of its members; `path` is for errors.
    ///
    /// # Errors
    /// Names the member that is wrong.
    pub fn parse(path: &Path, mut members: Map<String, Value>) -> anyhow::Result<Self> {
        let investigator = section(path, &mut members, "investigator")?;
        let clusterexec = section(path, &mut members, "clusterexec")?;
        let containermgr = section(path, &mut members, "containermgr")?;
        let watcher = section(path, &mut members, "watcher")?;
        let lease_ttl = ["lease-ttl", "lease_ttl"].iter().find_map(|name| members.remove(*name));
        let lease_ttl = match lease_ttl {
            None => lease::TTL.as_secs(),
            Some(value) => {
                let least = lease::TTL_MIN.as_secs();
                value.as_u64().filter(|seconds| *seconds >= least).with_context(|| {
                    format!(
                        "{}: lease-ttl is a number of seconds, at least {least}",
                        path.display()
                    )
                })?
            }
        };
        let gateway = config::parse(path, members)?;
        let own_certificate = false;
        Ok(Self {
            gateway,
            investigator,
            clusterexec,
            containermgr,
            watcher,
            own_certificate,
            lease_ttl,
        })
    }

    /// How long a lease lasts without a sign of life.
    pub fn lease_ttl(&self) -> Duration {
        Duration::from_secs(self.lease_ttl)
    }
}

/// The file that the configuration is read from.
pub fn path(args: &Args) -> &Path {
    args.config_file.as_deref().unwrap_or(Path::new(DEFAULT))
}

/// The object `name`, taken out of `members`; left out it is all defaults.
fn section<T: DeserializeOwned>(
    path: &Path,
    members: &mut Map<String, Value>,
    name: &str,
) -> anyhow::Result<T> {
    match members.remove(name).unwrap_or_else(|| Value::Object(Map::new())) {
        Value::Object(section) => {
            config::parse(path, section).with_context(|| format!("in the member {name}"))
        }
        _ => Err(anyhow!("{}: the member {name} is an object", path.display())),
    }
}

/// The plugin that reads a users file.
pub fn users_file(path: &Path) -> PluginConfig {
    let filepath = Value::String(path.to_string_lossy().into_owned());
    PluginConfig {
        name: "httpbasicauth".to_owned(),
        options: Map::from_iter([("filepath".to_owned(), filepath)]),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parsed(members: Value) -> anyhow::Result<Config> {
        let Value::Object(members) = members else { panic!("an object") };
        Config::parse(Path::new("x.conf"), members)
    }

    #[test]
    fn each_service_has_its_member() {
        let config = parsed(json!({
            "listen-port": 8001,
            "lease-ttl": 20,
            "clusterexec": {"verify-timeout": 60},
            "watcher": {"retry-pauses": [1, 2.5]},
        }));
        let config = config.unwrap();
        assert_eq!(config.gateway.listen_port, 8001);
        assert_eq!(config.clusterexec.verify_timeout().as_secs(), 60);
        assert_eq!(config.watcher.retry_pauses[1].0.as_millis(), 2500);
        assert_eq!(config.lease_ttl().as_secs(), 20);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (members, says) in [
            (json!({"listen-prot": 1}), "did you mean `listen_port`?"),
            (json!({"clusterexec": {"verify-timeuot": 1}}), "did you mean `verify_timeout`?"),
            (json!({"watcher": {"interval": 0}}), "a number of seconds"),
            (json!({"investigator": 7}), "the member investigator is an object"),
            (json!({"lease-ttl": 1}), "at least 8"),
        ] {
            let error = format!("{:#}", parsed(members).unwrap_err());
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn the_sample_is_understood() {
        let sample = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../conf/one-process.conf"));
        Config::parse(sample, config::read(sample, true).unwrap()).unwrap();
    }
}
