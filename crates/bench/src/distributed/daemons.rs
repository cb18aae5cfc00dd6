//! The six daemons, as an administrator would start them.

use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use daemons::Daemon;
use serde_json::{Value, json};
use tokio::net::UnixDatagram;
use tokio::time::timeout;

use super::ground::{EXCHANGE, Ground};
use crate::Setup;
use crate::client::Client;
use crate::process::Process;
use crate::report::Figure;

/// How long a daemon may take to start.
const PATIENCE: Duration = Duration::from_secs(20);

/// Nobody checks hosts while this is measured.
const WATCH_INTERVAL: u32 = 86_400;

/// As they end; started the other way round, so that all find the storage service.
const ENDING: [Daemon; 6] = [
    Daemon::Server,
    Daemon::Investigator,
    Daemon::Watcher,
    Daemon::Clusterexec,
    Daemon::Containermgr,
    Daemon::Storage,
];

/// See the module; told to end, and waited for, when dropped.
#[derive(Debug)]
pub struct Daemons {
    processes: Vec<(Daemon, Process)>,
    /// Where the gateway serves.
    pub address: SocketAddr,
    /// The administrator's.
    pub authorization: String,
}

impl Daemons {
    /// Starts them and waits until each has said that it is ready.
    ///
    /// # Errors
    /// When one does not get there.
    pub async fn start(setup: &Setup, ground: &Ground) -> anyhow::Result<Self> {
        let folder = setup.folder.path().join("distributed");
        std::fs::create_dir_all(folder.join("bin")).context("cannot make a folder")?;
        let password = runtime::random::uuid().to_string();
        let hash = bcrypt::hash(&password, bcrypt::DEFAULT_COST).context("cannot hash")?;
        write(&folder.join("users.json"), &json!({"admin": {"hash": hash}}))?;
        let mut processes = Vec::new();
        for daemon in ENDING.into_iter().rev() {
            let process = start(setup, ground, &folder, daemon).await;
            processes.insert(0, (daemon, process.with_context(|| daemon.program())?));
        }
        let url = std::fs::read_to_string(folder.join("address")).context("no address")?;
        let address = url.trim().strip_prefix("http://").context("no address")?.parse()?;
        let authorization = format!("Basic {}", BASE64.encode(format!("admin:{password}")));
        Ok(Self { processes, address, authorization })
    }

    /// A connection to the API as the administrator.
    ///
    /// # Errors
    /// When the gateway does not answer.
    pub async fn client(&self) -> anyhow::Result<Client> {
        Client::connect(self.address, Some(&self.authorization)).await
    }

    /// All that they have said so far.
    pub fn logs(&self) -> String {
        self.processes.iter().map(|(_, process)| process.log()).collect()
    }

    /// The bytes of memory that each has now: pages of the program, which they share, count once in all.
    ///
    /// # Errors
    /// When one is gone.
    pub fn memory(&self) -> anyhow::Result<Vec<(&'static str, u64)>> {
        let all = self.processes.iter();
        all.map(|(daemon, process)| Ok((daemon.config(), process.share()?))).collect()
    }

    /// The processor time that each has taken so far.
    ///
    /// # Errors
    /// When one is gone.
    pub fn cpu(&self) -> anyhow::Result<Vec<(&'static str, Duration)>> {
        let all = self.processes.iter();
        all.map(|(daemon, process)| Ok((daemon.config(), process.cpu()?))).collect()
    }

    /// For people: the processor time that each has taken since, divided by the requests.
    ///
    /// # Errors
    /// When one is gone.
    pub fn cpu_each(
        &self,
        since: &[(&'static str, Duration)],
        requests: u32,
    ) -> anyhow::Result<String> {
        let spent = since.iter().zip(self.cpu()?).map(|((name, before), (_, after))| {
            format!("{name} {}", Figure::Time(after.saturating_sub(*before) / requests.max(1)))
        });
        Ok(spent.collect::<Vec<_>>().join(", "))
    }
}

async fn start(
    setup: &Setup,
    ground: &Ground,
    folder: &Path,
    daemon: Daemon,
) -> anyhow::Result<Process> {
    let program = folder.join("bin").join(daemon.program());
    symlink(&setup.commissaire, &program).context("cannot make the link")?;
    let config = folder.join(format!("{}.conf", daemon.config()));
    write(&config, &members(ground, folder, daemon))?;
    let socket = folder.join(format!("{}.ready", daemon.config()));
    let ready = UnixDatagram::bind(&socket).context("cannot listen")?;
    let mut command = Command::new(program);
    command.arg("-c").arg(config).env("NOTIFY_SOCKET", socket);
    if daemon == Daemon::Server {
        command.args(["-p", "0", "--address-file"]).arg(folder.join("address"));
    }
    let mut process =
        Process::start(&mut command, folder.join(format!("{}.log", daemon.config())))?;
    let said = async {
        let mut said = [0; 256];
        loop {
            let count = ready.recv(&mut said).await.context("cannot listen")?;
            if said[..count].starts_with(b"READY=1") {
                return anyhow::Ok(());
            }
        }
    };
    let Ok(said) = timeout(PATIENCE, said).await else {
        process.check()?;
        bail!("it is not ready in time");
    };
    said?;
    Ok(process)
}

/// What it is told.
fn members(ground: &Ground, folder: &Path, daemon: Daemon) -> Value {
    let mut members = json!({
        "bus-uri": ground.broker.uri(),
        "bus-exchange": EXCHANGE,
        "data-dir": folder.join("data"),
        "run-dir": folder.join("run"),
    });
    match daemon {
        Daemon::Storage => {
            let etcd = json!({"type": "etcd", "server_url": ground.etcd.endpoints()});
            members["storage_handlers"] = etcd;
        }
        Daemon::Server => {
            let users = json!({"name": "httpbasicauth", "filepath": folder.join("users.json")});
            members["authentication-plugins"] = json!([users]);
        }
        Daemon::Watcher => members["interval"] = json!(WATCH_INTERVAL),
        Daemon::Investigator | Daemon::Clusterexec | Daemon::Containermgr => {}
    }
    members
}

fn write(path: &Path, value: &Value) -> anyhow::Result<()> {
    let written = std::fs::write(path, value.to_string());
    written.with_context(|| format!("cannot write {}", path.display()))
}
