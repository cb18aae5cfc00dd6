//! The six daemons of the distributed form: each serves one part of Commissaire on the AMQP bus.
//!
//! They are one program under six names: it looks at the name it was called by, as a link to it has it.
//!
//! - [`args`][]: the command lines
//! - [`broker`][]: what each daemon does at the message broker
//! - [`config`][]: the members that all configuration files share
//! - [`service`][]: what each daemon serves
//! - [`dead_letters`][]: the command for jobs that nobody could work on
//! - [`users`][]: the command for users who log in with a password

pub mod args;
pub mod broker;
pub mod config;
pub mod dead_letters;
pub mod service;
pub mod users;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use bus::Bus;
use runtime::Lifecycle;
use runtime::telemetry::{self, Level};

use args::{Invocation, ServerCommand};
use config::Common;
use service::Service;

/// The version of the programs, with the commit that they were built from and its date.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("COMMISSAIRE_COMMIT"), ")");

/// Threads for everything that does not block: a machine may run several daemons.
const WORKERS: usize = 2;

/// A daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Daemon {
    /// The REST gateway.
    Server,
    /// The storage service.
    Storage,
    /// The investigator.
    Investigator,
    /// The watcher.
    Watcher,
    /// The cluster executor.
    Clusterexec,
    /// The container manager service.
    Containermgr,
}

impl Daemon {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Server,
        Self::Storage,
        Self::Investigator,
        Self::Watcher,
        Self::Clusterexec,
        Self::Containermgr,
    ];

    /// The name of its program.
    pub fn program(self) -> &'static str {
        match self {
            Self::Server => "commissaire-server",
            Self::Storage => "commissaire-storage-service",
            Self::Investigator => "commissaire-investigator-service",
            Self::Watcher => "commissaire-watcher-service",
            Self::Clusterexec => "commissaire-clusterexec-service",
            Self::Containermgr => "commissaire-containermgr-service",
        }
    }

    /// What its configuration is called: `/etc/commissaire/NAME.conf`, `/commissaire/config/NAME` in etcd.
    pub fn config(self) -> &'static str {
        match self {
            Self::Server => "commissaire",
            Self::Storage => "storage",
            Self::Investigator => "investigator",
            Self::Watcher => "watcher",
            Self::Clusterexec => "clusterexec",
            Self::Containermgr => "containermgr",
        }
    }

    /// Whether it opens SSH sessions.
    fn reaches_hosts(self) -> bool {
        matches!(self, Self::Investigator | Self::Watcher | Self::Clusterexec)
    }

    /// What it does, for its help.
    fn about(self) -> &'static str {
        match self {
            Self::Server => "Serves Commissaire's REST API",
            Self::Storage => "Keeps Commissaire's records, in etcd unless told otherwise",
            Self::Investigator => "Looks at new hosts and sets them up",
            Self::Watcher => "Notices which hosts are gone, and when they are back",
            Self::Clusterexec => "Restarts clusters, host after host",
            Self::Containermgr => "Registers hosts with Kubernetes and OpenShift",
        }
    }

    /// The daemon whose program has the name that this one was called by.
    pub fn called(program: &Path) -> Option<Self> {
        let name = program.file_name()?.to_str()?;
        Self::ALL.into_iter().find(|daemon| daemon.program() == name)
    }

    /// Reads the command line, runs until a signal, and says how the process ends.
    pub fn main(self) -> ExitCode {
        let invocation = Invocation::read(self);
        let level = telemetry::init(invocation.common.debug, invocation.common.log_format);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .enable_all()
            .build()
            .context("cannot start the runtime");
        let ended = runtime.and_then(|runtime| {
            let ended = runtime.block_on(self.run(&invocation, level));
            // The AMQP library has threads in it that look up only now and then.
            runtime.shutdown_background();
            ended
        });
        ended.unwrap_or_else(|error| {
            telemetry::failed(&error);
            ExitCode::FAILURE
        })
    }

    async fn run(self, invocation: &Invocation, level: Level) -> anyhow::Result<ExitCode> {
        if let Some(command) = &invocation.storage {
            let (common, service) = self.service(invocation).await?;
            common.data_dir()?;
            service.carry_out(command).await?;
            return Ok(ExitCode::SUCCESS);
        }
        if let Some(ServerCommand::User(command)) = invocation.server_command() {
            let file = if let Some(file) = &command.file {
                file.clone()
            } else {
                let (common, members) = Common::read(self, &invocation.common).await?;
                Service::parse(self, &common, members, invocation)?.users_file(&common.path)?
            };
            command.carry_out(&file)?;
            return Ok(ExitCode::SUCCESS);
        }
        let life = Lifecycle::new();
        let start = async {
            let (common, service) = self.service(invocation).await?;
            level.set(common.debug);
            life.spawn("log level", follow_level(self, invocation.clone(), level, life.clone()));
            let bus = Bus::amqp(&common.amqp(self), &life).await.context("cannot use the bus")?;
            let bus = bus.with_timeout(common.request_timeout());
            let bus = self.guarded(bus, &common, &service);
            service.start(bus.clone(), &common, &life).await?;
            tracing::info!(daemon = self.program(), "ready");
            anyhow::Ok(bus)
        };
        // The bus ends last: what the service finishes must still be said.
        if let Some(bus) = life.run(Box::pin(start)).await? {
            bus.close().await;
        }
        Ok(life.exit_code())
    }

    /// The bus with the check of senders that the configuration asks for; a warning where it asks for none.
    fn guarded(self, bus: Bus, common: &Common, service: &Service) -> Bus {
        let setting = match service {
            Service::Server(..) => return bus,
            Service::Storage(config) if config.accounts.is_some() => return bus,
            Service::Storage(_) => "accounts",
            _ => "allowed-accounts",
        };
        if let Some(accounts) = &common.allowed_accounts {
            return bus.with_allowed_accounts(accounts.clone());
        }
        tracing::warn!(
            "every account of the message broker is obeyed: the configuration of {} has no `{setting}`",
            self.program()
        );
        bus
    }

    async fn service(self, invocation: &Invocation) -> anyhow::Result<(Common, Service)> {
        let (mut common, members) = Common::load(self, &invocation.common).await?;
        common.accept_new_key = invocation.ssh.accept_new_key;
        let service = Service::parse(self, &common, members, invocation)?;
        Ok((common, service))
    }
}

/// Reads the log level again at each reload.
async fn follow_level(daemon: Daemon, invocation: Invocation, level: Level, life: Lifecycle) {
    let mut reloads = life.reloads();
    loop {
        let reload = tokio::select! {
            () = life.stopping() => return,
            reload = reloads.next() => reload,
        };
        match Common::load(daemon, &invocation.common).await {
            Ok((common, _)) => level.set(common.debug),
            Err(error) => reload.failed("the log level stays as it was", error.as_ref()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_daemon_is_called_by_its_name() {
        for daemon in Daemon::ALL {
            let program = Path::new("/usr/bin").join(daemon.program());
            assert_eq!(Daemon::called(&program), Some(daemon));
        }
        assert_eq!(Daemon::called(Path::new("/usr/bin/commissaire")), None);
        assert_eq!(Daemon::called(Path::new("")), None);
    }

    #[test]
    fn the_storage_daemon_keeps_its_key_in_its_data_directory() {
        let fields = serde_json::json!({"data-dir": "/srv/second"});
        let serde_json::Value::Object(fields) = fields else { panic!("an object") };
        let (common, fields) = Common::split(Path::new("storage.conf"), fields).unwrap();
        let (common_args, ssh) = (args::CommonArgs::default(), args::SshArgs::default());
        let invocation = Invocation { common: common_args, server: None, storage: None, ssh };
        let service = Service::parse(Daemon::Storage, &common, fields, &invocation).unwrap();
        let Service::Storage(config) = service else { panic!("not the storage service") };
        assert_eq!(config.secret_key_file, Path::new("/srv/second/secret.key"));
    }

    #[test]
    fn the_samples_are_understood() {
        let conf = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../conf"));
        for daemon in Daemon::ALL {
            let path = conf.join(format!("{}.conf", daemon.config()));
            let members = runtime::config::read(&path, true).unwrap();
            let (common, members) = Common::split(&path, members).unwrap();
            let (common_args, ssh) = (args::CommonArgs::default(), args::SshArgs::default());
            let invocation = Invocation { common: common_args, server: None, storage: None, ssh };
            Service::parse(daemon, &common, members, &invocation).unwrap();
        }
    }
}
