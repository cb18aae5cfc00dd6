//! What each daemon serves.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use bus::{Bus, Context as BusContext};
use host_access::server_keys::confirmed_key;
use host_access::{Ansible, Deps, RunDir, Ssh};
use http_gateway::auth::PluginConfig;
use runtime::config::parse;
use runtime::lifecycle::GRACE;
use runtime::{Files, Lifecycle};
use serde_json::{Map, Value};
use storage_client::StorageClient;
use tokio::net::TcpListener;

use crate::Daemon;
use crate::args::{Invocation, ServerArgs, StorageCommand};
use crate::config::Common;

/// How long the storage service goes on when it is told to stop: the others may be told at the same
/// moment, and what they hand over must still be saved.
const LAST_WRITES: Duration = Duration::from_secs(3);

/// A service and what it is told.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there are a few, for as long as the process runs")]
pub enum Service {
    /// The REST gateway, and where to write its address.
    Server(Box<http_gateway::Config>, Option<PathBuf>),
    /// The storage service.
    Storage(Box<storage_svc::Config>),
    /// The investigator.
    Investigator(investigator_svc::Config),
    /// The watcher.
    Watcher(watcher_svc::Config),
    /// The cluster executor.
    Clusterexec(clusterexec_svc::Config),
    /// The container manager service.
    Containermgr(containermgr_svc::Config),
}

impl Service {
    /// Reads what is the service's own in a configuration.
    ///
    /// # Errors
    /// Names the member that is wrong.
    pub fn parse(
        daemon: Daemon,
        common: &Common,
        members: Map<String, Value>,
        invocation: &Invocation,
    ) -> anyhow::Result<Self> {
        let path = &common.path;
        Ok(match daemon {
            Daemon::Server => {
                let args = invocation.server.clone().unwrap_or_default();
                let address_file = args.address_file.clone();
                Self::Server(Box::new(gateway(parse(path, members)?, &args, common)?), address_file)
            }
            Daemon::Storage => {
                let config = storage_svc::Config::parse(path, members, &common.data_dir)?;
                Self::Storage(Box::new(config))
            }
            Daemon::Investigator => Self::Investigator(parse(path, members)?),
            Daemon::Watcher => Self::Watcher(parse(path, members)?),
            Daemon::Clusterexec => Self::Clusterexec(parse(path, members)?),
            Daemon::Containermgr => Self::Containermgr(parse(path, members)?),
        })
    }

    /// The users file that the gateway's configuration names; `config` is for errors.
    ///
    /// # Errors
    /// When it names none.
    pub fn users_file(&self, config: &Path) -> anyhow::Result<PathBuf> {
        let Self::Server(gateway, _) = self else { bail!("only the gateway has users") };
        let file = gateway.authentication_plugins.iter().find_map(PluginConfig::users_file);
        file.map(Path::to_owned).with_context(|| {
            format!(
                "{} names no users file (httpbasicauth): give one with --file",
                config.display()
            )
        })
    }

    /// Serves it on the bus until the daemon stops.
    ///
    /// # Errors
    /// When it cannot start.
    pub async fn start(self, bus: Bus, common: &Common, life: &Lifecycle) -> anyhow::Result<()> {
        if matches!(self, Self::Storage(_)) {
            common.data_dir()?;
        }
        let deps = async |name: &str, ansible| ssh_deps(bus.clone(), common, name, ansible).await;
        self.start_with(&bus, life, deps).await
    }

    /// The same, in either form: `deps` makes what a service that works on hosts needs, from its name and Ansible as
    /// it is configured.
    ///
    /// # Errors
    /// When it cannot start.
    pub async fn start_with(
        self,
        bus: &Bus,
        life: &Lifecycle,
        deps: impl AsyncFnOnce(&str, Ansible) -> anyhow::Result<Deps>,
    ) -> anyhow::Result<()> {
        match self {
            Self::Server(config, address_file) => {
                serve_api(bus.clone(), &config, address_file.as_deref(), life).await
            }
            Self::Storage(config) => {
                let serving = life.outliving();
                storage_svc::run(bus, &config, &serving).await?;
                let stopping = life.stopping();
                life.spawn("storage", async move {
                    stopping.await;
                    tokio::time::sleep(LAST_WRITES).await;
                    serving.shutdown(GRACE.saturating_sub(LAST_WRITES)).await;
                });
                Ok(())
            }
            Self::Investigator(config) => {
                let ansible = Ansible::new(config.playbook_path.clone());
                let deps =
                    deps("investigator", ansible.with_memory(config.playbook_memory)).await?;
                let started = investigator_svc::run(deps, config, life).await;
                started.context("cannot start the investigator")
            }
            Self::Watcher(config) => {
                let deps = deps("watcher", Ansible::new(None)).await?;
                watcher_svc::run(deps, config, life).await.context("cannot start the watcher")
            }
            Self::Clusterexec(config) => {
                let ansible = Ansible::new(config.playbook_path.clone());
                let deps = deps("clusterexec", ansible.with_memory(config.playbook_memory)).await?;
                let boot_id =
                    host_access::own_boot_id().context("cannot read this machine's boot id")?;
                let started = clusterexec_svc::run(deps, config, boot_id, life).await;
                started.context("cannot start the cluster executor")
            }
            Self::Containermgr(config) => {
                let started = containermgr_svc::run(bus.clone(), config, Files::System, life).await;
                started.context("cannot start the container manager service")
            }
        }
    }

    /// Does what the storage service was called for instead of serving.
    ///
    /// # Errors
    /// When it does not work: nothing is then changed.
    pub async fn carry_out(&self, command: &StorageCommand) -> anyhow::Result<()> {
        let Self::Storage(config) = self else { bail!("only the storage service has commands") };
        match command {
            StorageCommand::Rekey => {
                let count =
                    storage_svc::rekey::run(config).await.context("the key is not changed")?;
                tracing::info!(count, "credentials are encrypted with a new key");
            }
            StorageCommand::Migrate { file } => {
                let report = match file {
                    Some(path) => {
                        let dump = std::fs::File::open(path);
                        let dump =
                            dump.with_context(|| format!("cannot read {}", path.display()))?;
                        storage_svc::migrate::run(config, dump).await
                    }
                    None => storage_svc::migrate::run(config, std::io::stdin()).await,
                };
                eprint!("{}", report.context("nothing is taken over")?);
            }
        }
        Ok(())
    }
}

/// The gateway's configuration, in which the command line has the last word.
fn gateway(
    config: http_gateway::Config,
    args: &ServerArgs,
    common: &Common,
) -> anyhow::Result<http_gateway::Config> {
    let public_key = common.data_dir.join(host_access::own_key::PUBLIC);
    let mut config = http_gateway::Config {
        listen_interface: args.listen_interface.unwrap_or(config.listen_interface),
        listen_port: args.listen_port.unwrap_or(config.listen_port),
        tls_pemfile: args.tls_pemfile.clone().or(config.tls_pemfile),
        tls_clientverifyfile: args.tls_clientverifyfile.clone().or(config.tls_clientverifyfile),
        insecure_http: config.insecure_http || args.insecure_http,
        ssh_public_key_file: config.ssh_public_key_file.or(Some(public_key)),
        ..config
    };
    args.authentication.apply(&mut config);
    config.validate().map_err(|message| anyhow!(message))?;
    Ok(config)
}

async fn serve_api(
    bus: Bus,
    config: &http_gateway::Config,
    address_file: Option<&Path>,
    life: &Lifecycle,
) -> anyhow::Result<()> {
    let address = (config.listen_interface, config.listen_port);
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {} port {}", address.0, address.1))?;
    let address = listener.local_addr().context("cannot tell the address")?;
    http_gateway::keep_default_network(bus.clone(), life);
    http_gateway::run(bus, config, listener, life).await.context("cannot start the gateway")?;
    let url = config.url(address);
    if let Some(path) = address_file {
        let written = std::fs::write(path, format!("{url}\n"));
        written.with_context(|| format!("cannot write {}", path.display()))?;
    }
    tracing::info!(%address, url, "serving the API");
    Ok(())
}

/// What a service that works on hosts is given. Waits until the store has confirmed the server's own SSH
/// key: without that no session is opened.
async fn ssh_deps(bus: Bus, common: &Common, name: &str, ansible: Ansible) -> anyhow::Result<Deps> {
    // First, since the next waits for the storage service.
    let run_dir = RunDir::create(&common.run_dir, name).context("cannot use the run directory")?;
    let storage = StorageClient::new(bus.clone(), BusContext::service(name));
    let own_key = confirmed_key(&storage, common.data_dir()?, common.accept_new_key).await?;
    Ok(Deps::over_ssh(bus, Ssh::new(run_dir, ansible), own_key, common.lease_ttl()))
}
