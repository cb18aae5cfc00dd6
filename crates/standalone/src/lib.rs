//! Commissaire in one process: the gateway and all services on the in-process bus and one SQLite file.
//! It needs no broker and no etcd.
//!
//! - [`args`][]: the command line
//! - [`authority`][]: what makes TLS work without being given a certificate
//! - [`mod@backup`][]: `commissaire backup`
//! - [`restore`][]: `commissaire restore`
//! - [`transform`][]: `commissaire transform`
//! - `passphrase`: the passphrase of the keys in a backup
//! - [`installation`][]: the installation that these work on
//! - [`config`][]: the configuration file: the gateway's members, and an object for each service
//! - [`data_dir`][]: the directory that holds everything it keeps, for one process at a time
//! - [`doctor`][]: the checks of `commissaire doctor`
//! - [`first_start`][]: what is made there at the first start
//! - [`takeover`][]: taking hosts over from a former installation
//! - `shell`: completions and man pages

pub mod args;
pub mod authority;
pub mod backup;
pub mod config;
pub mod data_dir;
pub mod doctor;
pub mod first_start;
pub mod installation;
mod passphrase;
pub mod restore;
mod shell;
pub mod takeover;
pub mod transform;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use bus::{Bus, Context};
use daemons::Daemon;
use daemons::service::Service;
use host_access::server_keys::confirmed_key;
use host_access::{Ansible, Deps, RunDir, Ssh};
use http_gateway::auth::PluginConfig;
use model::NetworkType;
use runtime::lifecycle::GRACE;
use runtime::{Clock, Lifecycle};
use storage_client::StorageClient;
use storage_svc::Store;
use tokio::net::TcpListener;

pub use args::Args;
use args::Command;
use config::Config;
use data_dir::{AddressFile, DataDir};

/// Threads for everything that does not block: requests are short, and the work is done by `ssh` and
/// Ansible in processes of their own.
const WORKERS: usize = 4;

/// Runs until a signal, or does what it was called for instead, and says how the process ends.
///
/// # Errors
/// When it cannot start, or what it was called for does not work.
pub fn start(args: &Args) -> anyhow::Result<ExitCode> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.min(WORKERS))
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async {
        match &args.command {
            None => run(args, Config::load(args)?).await,
            Some(Command::Rekey) => rekey(args).await,
            Some(Command::CopyDatabase { file }) => copy_database(args, file),
            Some(Command::Backup(command)) => command.carry_out(args).await,
            Some(Command::Restore(command)) => command.carry_out(args).await,
            Some(Command::Transform(command)) => command.carry_out(),
            Some(Command::Doctor(command)) => doctor::run(args, command).await,
            Some(Command::CaFingerprint) => print_fingerprint(args),
            Some(Command::Links { dir }) => link(dir),
            Some(Command::User(command)) => {
                let given = command.file.as_ref().or(args.users.as_ref());
                let file = given.map_or_else(|| users_file(args), |file| Ok(file.clone()))?;
                command.carry_out(&file)?;
                Ok(ExitCode::SUCCESS)
            }
            Some(Command::Completion { shell }) => shell::complete(*shell),
            Some(Command::Man { directory }) => shell::write_man_pages(directory),
            Some(Command::DeadLetters(command)) => {
                command.carry_out(args.config_file.clone()).await?;
                Ok(ExitCode::SUCCESS)
            }
        }
    })
}

/// Links to this program, under the names of the daemons.
fn link(dir: &Path) -> anyhow::Result<ExitCode> {
    let program = std::env::current_exe().context("cannot tell where this program is")?;
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    for daemon in Daemon::ALL {
        let path = dir.join(daemon.program());
        if std::fs::read_link(&path).is_ok_and(|target| target == program) {
            continue;
        }
        let made = std::os::unix::fs::symlink(&program, &path);
        made.with_context(|| format!("cannot make {}", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Needs no lock on the data directory: the server may be running.
fn copy_database(args: &Args, file: &Path) -> anyhow::Result<ExitCode> {
    let database = data_dir::database_in(&args.data_dir());
    let copied = Store::copy_sqlite(&database, file);
    copied.with_context(|| format!("the database {} is not copied", database.display()))?;
    tracing::info!(path = %file.display(), "the database is copied; it needs secret.key to be of use");
    Ok(ExitCode::SUCCESS)
}

/// Needs no lock on the data directory: the server may be running.
#[expect(clippy::print_stdout, reason = "the fingerprint is what the command is for")]
fn print_fingerprint(args: &Args) -> anyhow::Result<ExitCode> {
    let config = Config::load(args)?;
    let fingerprint = match config.gateway.tls_pemfile {
        Some(path) if !config.own_certificate => authority::fingerprint(&path),
        _ => authority::fingerprint(&data_dir::authority_in(&args.data_dir())).context(
            "no authority: the first start beyond loopback (-i ADDRESS) or with --tls makes one; for another \
             data directory: commissaire --data-dir DIR ca-fingerprint",
        ),
    }?;
    println!("{fingerprint}");
    Ok(ExitCode::SUCCESS)
}

/// The users file that the configuration names, or that of the data directory.
fn users_file(args: &Args) -> anyhow::Result<PathBuf> {
    let plugins = Config::load(args)?.gateway.authentication_plugins;
    if plugins.is_empty() {
        return Ok(data_dir::users_in(&args.data_dir()));
    }
    let named = plugins.iter().find_map(PluginConfig::users_file).map(Path::to_owned);
    named.context("the configuration names no users file (httpbasicauth): give one with --file")
}

fn storage_config(data: &DataDir) -> storage_svc::Config {
    storage_svc::Config::sqlite(data.database(), data.secret_key())
}

async fn rekey(args: &Args) -> anyhow::Result<ExitCode> {
    let data = DataDir::open(&args.data_dir())?;
    first_start::check_store(&data, false)?;
    let count =
        storage_svc::rekey::run(&storage_config(&data)).await.context("the key is not changed")?;
    tracing::info!(count, "credentials are encrypted with a new key");
    Ok(ExitCode::SUCCESS)
}

async fn run(args: &Args, config: Config) -> anyhow::Result<ExitCode> {
    // The storage service ends last: what the others finish must still be saved.
    let life = Lifecycle::new();
    let storage_life = life.outliving();
    life.run(Box::pin(begin(args, config, &life, &storage_life))).await?;
    storage_life.shutdown(GRACE).await;
    Ok(life.exit_code())
}

async fn begin(
    args: &Args,
    mut config: Config,
    life: &Lifecycle,
    storage_life: &Lifecycle,
) -> anyhow::Result<(DataDir, AddressFile)> {
    let address = (config.gateway.listen_interface, config.gateway.listen_port);
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {} port {}", address.0, address.1))?;
    let address = listener.local_addr().context("cannot tell the address")?;
    let data = DataDir::open(&args.data_dir())?;
    first_start::check_store(&data, args.new_store)?;
    config.gateway.ssh_public_key_file = Some(data.public_key());
    config.gateway.audit_log.get_or_insert_with(|| data.audit_log());
    let fingerprint = if config.own_certificate {
        authority::certificate(&data, config.gateway.listen_interface, Clock::System.wall())?;
        Some(authority::fingerprint(&data.authority())?)
    } else {
        None
    };
    let url = config.gateway.url(address);
    if config.gateway.authentication_plugins.is_empty() {
        let users = args.users.clone();
        let first = || first_start::admin(&data, &url, fingerprint.as_deref());
        let users = users.map_or_else(first, Ok)?;
        config.gateway.authentication_plugins.push(config::users_file(&users));
    }

    let bus = Bus::memory();
    storage_svc::run(&bus, &storage_config(&data), storage_life)
        .await
        .context("cannot start the storage service")?;
    let client = StorageClient::new(bus.clone(), Context::service("commissaire"));
    let own_key = confirmed_key(&client, data.path(), args.ssh.accept_new_key).await?;
    // Nothing to install: there is no etcd for flannel here.
    http_gateway::make_default_network(&client, NetworkType::None)
        .await
        .context("cannot make the default network")?;
    first_start::complete(&data)?;

    let run_dir =
        RunDir::create(&args.run_dir(), "commissaire").context("cannot use the run directory")?;
    let ansible = Ansible::new(config.investigator.playbook_path.clone());
    let ansible = ansible.with_memory(config.investigator.playbook_memory);
    let ssh = Ssh::new(run_dir, ansible);
    let deps = Deps::over_ssh(bus.clone(), ssh, own_key, config.lease_ttl());
    for service in [
        Service::Investigator(config.investigator),
        Service::Watcher(config.watcher),
        Service::Clusterexec(config.clusterexec),
        Service::Containermgr(config.containermgr),
    ] {
        service.start_with(&bus, life, async |_, _| Ok(deps.clone())).await?;
    }
    http_gateway::run(bus, &config.gateway, listener, life)
        .await
        .context("cannot start the gateway")?;

    let address_file = data.announce(&url)?;
    if let Some(fingerprint) = fingerprint {
        let path = data.authority();
        tracing::info!(path = %path.display(), fingerprint, "clients that pin this authority can trust the server");
    }
    tracing::info!(url, %address, data_dir = %data.path().display(), "ready");
    Ok((data, address_file))
}
