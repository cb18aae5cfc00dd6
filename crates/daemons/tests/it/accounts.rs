//! Each daemon with its own account on a real broker, as `conf/rabbitmq/accounts` and the samples in `conf` have them: they
//! do their work, and a stolen account has no rights of the others.

mod main_job;
mod permissions;
mod thief;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use bus::{Bus, amqp};
use daemons::Daemon;
use daemons::args::{CommonArgs, Invocation, SshArgs};
use daemons::config::Common;
use daemons::service::Service;
use runtime::{Lifecycle, random};
use tempfile::TempDir;
use testbed::rabbitmq::RabbitMq;

use thief::Thief;

const CONF: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../conf");

/// The name of a daemon in those of its account and its file.
fn short(daemon: Daemon) -> &'static str {
    if daemon == Daemon::Server { "http" } else { daemon.config() }
}

/// A broker with the six accounts, and the storage service's folder.
struct Installation {
    exchange: String,
    folder: TempDir,
    broker: RabbitMq,
}

impl Installation {
    fn new() -> Self {
        let exchange = format!("lab.{}", random::uuid());
        let folder = tempfile::tempdir().unwrap();
        Self { exchange, folder, broker: RabbitMq::up() }
    }

    /// Runs the script that creates the accounts.
    fn accounts(&self, arguments: &[&str]) {
        let mut command = Command::new(Path::new(CONF).join("rabbitmq/accounts"));
        command.env("RABBITMQCTL", self.broker.ctl_program());
        command.args(["--scheme", "amqp", "--broker", &self.broker.address().to_string()]);
        command.args(["--exchange", &self.exchange, "--output"]).arg(self.folder.path());
        let output = command.args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn uri_file(&self, daemon: Daemon) -> PathBuf {
        self.folder.path().join(format!("{}.uri", short(daemon)))
    }

    fn uri(&self, daemon: Daemon) -> String {
        std::fs::read_to_string(self.uri_file(daemon)).unwrap().trim().to_owned()
    }

    /// The bus of a daemon, with the accounts of its sample that may send to it; and its service.
    async fn daemon(&self, daemon: Daemon) -> (Bus, Service) {
        let path = Path::new(CONF).join(format!("{}.conf", daemon.config()));
        let members = runtime::config::read(&path, true).unwrap();
        let (common, members) = Common::split(&path, members).unwrap();
        let (common_args, ssh) = (CommonArgs::default(), SshArgs::default());
        let invocation = Invocation { common: common_args, server: None, storage: None, ssh };
        let service = Service::parse(daemon, &common, members, &invocation).unwrap();
        let options = amqp::Options {
            uri: self.uri(daemon).into(),
            origin: "the test".to_owned(),
            exchange: self.exchange.clone(),
            name: daemon.config().to_owned(),
        };
        let bus = Bus::amqp(&options, &Lifecycle::new()).await.unwrap();
        let bus = match common.allowed_accounts {
            Some(accounts) => bus.with_allowed_accounts(accounts),
            None => bus,
        };
        (bus, service)
    }
}

/// One broker for all of it: it takes seconds to start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_account_can_do_what_it_need_not() {
    let (installation, uris) = tokio::task::spawn_blocking(|| {
        let installation = Installation::new();
        installation.accounts(&[]);
        let uris = Daemon::ALL.map(|daemon| installation.uri(daemon));
        (installation, uris)
    })
    .await
    .unwrap();
    for daemon in Daemon::ALL {
        let file = std::fs::metadata(installation.uri_file(daemon)).unwrap();
        assert_eq!(file.permissions().mode() & 0o777, 0o600);
    }
    let life = Lifecycle::new();
    permissions::are_checked(&installation).await;
    main_job::runs(&installation, &life).await;
    for daemon in Daemon::ALL {
        Thief::with(&installation, daemon).await.tries_everything().await;
    }
    life.shutdown(std::time::Duration::from_secs(10)).await;
    let done = tokio::task::spawn_blocking(move || {
        // Again: the passwords stay.
        installation.accounts(&[]);
        assert_eq!(Daemon::ALL.map(|daemon| installation.uri(daemon)), uris);
        installation.accounts(&["--delete"]);
        assert!(!installation.uri_file(Daemon::Storage).exists());
        let left = installation.broker.ctl(&["list_users"]);
        assert!(!left.contains("commissaire"), "{left}");
    });
    done.await.unwrap();
}
