//! The installation that a command works on while its services may run: one process, or six daemons.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use daemons::Daemon;
use daemons::args::CommonArgs;
use daemons::config::Common;
use host_access::own_key;
use http_gateway::auth::PluginConfig;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use storage_svc::Store;

use crate::args::Args;
use crate::config::{self, Config};
use crate::data_dir::{self, authority_in, authority_key_in, database_in, users_in};

/// See the module.
#[derive(Debug)]
pub struct Installation {
    /// Where its records are.
    pub storage: storage_svc::Config,
    /// Where its keys are.
    pub data_dir: PathBuf,
    /// The files of its configuration that exist.
    pub configuration: Vec<PathBuf>,
    /// The users file.
    pub users: PathBuf,
    /// How container managers are reached.
    pub containermgr: containermgr_svc::Config,
    /// How hosts are watched.
    pub watcher: watcher_svc::Config,
    /// Whether it is one process.
    pub is_one_process: bool,
}

/// Chooses the installation.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct InstallationArgs {
    /// Work on the six daemons, whose configuration files are in this directory, usually /etc/commissaire [default: the one process of the data directory]
    #[arg(long, value_name = "DIR")]
    pub config_dir: Option<PathBuf>,
}

impl Installation {
    /// The installation that the command line names.
    ///
    /// # Errors
    /// When its configuration cannot be read.
    pub async fn load(args: &Args, chosen: &InstallationArgs) -> anyhow::Result<Self> {
        match &chosen.config_dir {
            Some(folder) => Self::distributed(folder).await,
            None => Self::one_process(args),
        }
    }

    fn one_process(args: &Args) -> anyhow::Result<Self> {
        let data_dir = args.data_dir();
        let key = storage_svc::config::secret_key_in(&data_dir);
        let file = args.config_file.clone().unwrap_or_else(|| PathBuf::from(config::DEFAULT));
        let Config { gateway, containermgr, watcher, .. } = Config::load(args)?;
        let named = users_file(&gateway);
        let users = args.users.clone().or(named).unwrap_or_else(|| users_in(&data_dir));
        Ok(Self {
            storage: storage_svc::Config::sqlite(database_in(&data_dir), key),
            users,
            configuration: Some(file).filter(|file| file.exists()).into_iter().collect(),
            data_dir,
            containermgr,
            watcher,
            is_one_process: true,
        })
    }

    async fn distributed(folder: &Path) -> anyhow::Result<Self> {
        let file = |daemon: Daemon| folder.join(format!("{}.conf", daemon.config()));
        let (common, fields) = read(Daemon::Storage, &file(Daemon::Storage)).await?;
        let storage = storage_svc::Config::parse(&common.path, fields, &common.data_dir)?;
        let gateway = of_daemon(Daemon::Server, &file(Daemon::Server)).await?;
        Ok(Self {
            storage,
            containermgr: of_daemon(Daemon::Containermgr, &file(Daemon::Containermgr)).await?,
            watcher: of_daemon(Daemon::Watcher, &file(Daemon::Watcher)).await?,
            data_dir: common.data_dir,
            configuration: Daemon::ALL.map(file).into_iter().filter(|file| file.exists()).collect(),
            users: users_file(&gateway).unwrap_or_else(|| folder.join(data_dir::USERS)),
            is_one_process: false,
        })
    }

    /// Refuses to work as another user than the owner of the data directory: a file that is made would be unusable for the
    /// services.
    ///
    /// # Errors
    /// When the data directory is missing, or belongs to another user.
    pub fn require_owner(&self) -> anyhow::Result<()> {
        let dir = self.data_dir.display();
        let owner = match std::fs::metadata(&self.data_dir) {
            Ok(metadata) => metadata.uid(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!(
                "there is no data directory {dir}: name it with --data-dir, or, for the distributed form, its \
                 configuration with --config-dir /etc/commissaire"
            ),
            Err(error) => return Err(error).with_context(|| format!("cannot read {dir}")),
        };
        let own = rustix::process::geteuid().as_raw();
        ensure!(
            own == owner,
            "{dir} belongs to another user (uid {owner}, this is {own}): run the command as that user, for example \
             with `sudo -u commissaire commissaire …`; nothing was done"
        );
        Ok(())
    }

    /// Refuses to work without records: probably another installation is meant.
    ///
    /// # Errors
    /// When the one process has none.
    pub fn require_records(&self) -> anyhow::Result<()> {
        let database = database_in(&self.data_dir);
        ensure!(
            !self.is_one_process || Store::sqlite_holds_records(&database)?,
            "there are no records in {}: for another data directory give --data-dir before the command, for the \
             distributed form --config-dir /etc/commissaire after it",
            database.display()
        );
        Ok(())
    }

    /// The key files, by their names in a backup.
    pub fn key_files(&self) -> Vec<(&'static str, PathBuf)> {
        let dir = &self.data_dir;
        vec![
            (SECRET_KEY, self.storage.key_file()),
            (own_key::PRIVATE, own_key::private_path(dir)),
            (own_key::PUBLIC, dir.join(own_key::PUBLIC)),
            (data_dir::USERS, self.users.clone()),
            (data_dir::AUTHORITY_KEY, authority_key_in(dir)),
            (data_dir::AUTHORITY, authority_in(dir)),
        ]
    }

    /// The existing files that the configuration names, as `FIELD: PATH`.
    pub fn named_files(&self) -> Vec<String> {
        let mut named = Vec::new();
        for file in &self.configuration {
            if let Ok(fields) = runtime::config::read(file, true) {
                collect(&fields, &mut named);
            }
        }
        named.sort();
        named.dedup();
        named
    }
}

/// The users file that the configuration of a gateway names.
fn users_file(gateway: &http_gateway::Config) -> Option<PathBuf> {
    let named = gateway.authentication_plugins.iter().find_map(PluginConfig::users_file);
    named.map(Path::to_owned)
}

async fn read(daemon: Daemon, file: &Path) -> anyhow::Result<(Common, Map<String, Value>)> {
    let args = CommonArgs { config_file: Some(file.to_owned()), ..CommonArgs::default() };
    Common::read(daemon, &args).await
}

/// The configuration of a daemon, or its defaults if it is not configured on this machine.
async fn of_daemon<T: DeserializeOwned + Default>(
    daemon: Daemon,
    file: &Path,
) -> anyhow::Result<T> {
    if !file.exists() {
        return Ok(T::default());
    }
    let (common, fields) = read(daemon, file).await?;
    Ok(runtime::config::parse(&common.path, fields)?)
}

/// The name of the sealing key in a backup.
pub const SECRET_KEY: &str = "secret.key";

fn collect(fields: &Map<String, Value>, named: &mut Vec<String>) {
    for (name, value) in fields {
        let values = match value {
            Value::Array(values) => values.as_slice(),
            value => std::slice::from_ref(value),
        };
        for value in values {
            match value {
                Value::Object(fields) => collect(fields, named),
                Value::String(text) if text.starts_with('/') && Path::new(text).is_file() => {
                    named.push(format!("{name}: {text}"));
                }
                _ => {}
            }
        }
    }
}
