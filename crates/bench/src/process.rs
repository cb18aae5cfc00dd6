//! What is measured, as processes.

use std::fs::File;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::Setup;
use crate::client::Client;

/// How long a server may take to start, and to stop.
const PATIENCE: Duration = Duration::from_secs(20);

/// The pause between looks at a server that is starting.
const LOOK_AGAIN: Duration = Duration::from_micros(500);

/// What the kernel counts processor time in: 100 a second on Linux, wherever one looks.
const TICK_MS: u64 = 10;

/// The path whose 200 says that commissaire can work.
pub const READY: &str = "/readyz";

/// A process that runs; told to end, and waited for, when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

/// The bytes of memory that a process has now.
fn resident(id: u32) -> anyhow::Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{id}/status"));
    let text = text.context("the process is gone")?;
    kibibytes(&text, "VmRSS:").context("no resident size")
}

/// The same with its share alone of the pages that several processes hold, such as those of one program.
fn share(id: u32) -> anyhow::Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{id}/smaps_rollup"));
    // The memory of a server is protected from other processes of the same user.
    let text = text.context("the process is gone, or this is not run by root")?;
    kibibytes(&text, "Pss:").context("no proportional size")
}

/// The bytes that a line of `/proc` names in kB.
fn kibibytes(text: &str, field: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

/// The bytes of memory of each child of a process that is called `name`.
///
/// # Errors
/// When the kernel does not tell.
pub fn resident_of_children(parent: u32, name: &str) -> anyhow::Result<Vec<u64>> {
    let mut found = Vec::new();
    for thread in std::fs::read_dir(format!("/proc/{parent}/task")).context("it is gone")? {
        let children = std::fs::read_to_string(thread?.path().join("children"));
        for child in children.unwrap_or_default().split_whitespace() {
            let called = std::fs::read_to_string(format!("/proc/{child}/comm"));
            if called.is_ok_and(|called| called.trim() == name) {
                // One that has just ended has none.
                found.extend(resident(child.parse().context("no process")?));
            }
        }
    }
    Ok(found)
}

/// A server that runs.
#[derive(Debug)]
pub struct Server {
    process: Process,
    /// Where it serves.
    pub address: SocketAddr,
    /// When it was started.
    pub begun: Instant,
}

/// A commissaire that runs.
#[derive(Debug)]
pub struct Commissaire {
    /// The process.
    pub server: Server,
    data: PathBuf,
}

impl Process {
    /// Starts one; what it says goes into the file `log`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(command: &mut Command, log: PathBuf) -> anyhow::Result<Self> {
        let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(file);
        let child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        Ok(Self { child, log })
    }

    /// Writes to its standard input, which stays open.
    ///
    /// # Errors
    /// When it does not read.
    pub fn tell(&mut self, text: &str) -> anyhow::Result<()> {
        let stdin = self.child.stdin.as_mut().context("it has no standard input")?;
        stdin.write_all(text.as_bytes()).context("it does not read")
    }

    /// That it still runs.
    ///
    /// # Errors
    /// When it has ended: says what it logged.
    pub fn check(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait().context("cannot wait")? {
            bail!("it ended, {status}: {}", self.log());
        }
        Ok(())
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The processor time that it has taken so far, of threads that have ended too.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        cpu(&format!("/proc/{}/stat", self.child.id()))
    }

    /// The bytes of memory that it has now.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn resident(&self) -> anyhow::Result<u64> {
        resident(self.child.id())
    }

    /// The same with its share alone of the pages that several processes hold.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn share(&self) -> anyhow::Result<u64> {
        share(self.child.id())
    }
}

/// The processor time that this process has taken so far.
///
/// # Errors
/// When the kernel does not tell.
pub fn own_cpu() -> anyhow::Result<Duration> {
    cpu("/proc/self/stat")
}

fn cpu(path: &str) -> anyhow::Result<Duration> {
    let text = std::fs::read_to_string(path).context("the process is gone")?;
    // The second field is a name in brackets, which may hold anything.
    let (_, fields) = text.rsplit_once(')').context("no processor time")?;
    let times = fields.split_whitespace().skip(11).take(2);
    let ticks = times.map(str::parse::<u64>).sum::<Result<u64, _>>();
    Ok(Duration::from_millis(ticks.context("no processor time")? * TICK_MS))
}

impl Server {
    fn start(command: &mut Command, address: SocketAddr, log: PathBuf) -> anyhow::Result<Self> {
        let begun = Instant::now();
        Ok(Self { process: Process::start(command, log)?, address, begun })
    }

    /// The server that answers the content of a file, whatever it is asked.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn bare(setup: &Setup, body: &Path) -> anyhow::Result<Self> {
        let address = free_address()?;
        let mut command = Command::new(&setup.own);
        command.arg("--serve-bare").arg(body).arg("--port").arg(address.port().to_string());
        Self::start(&mut command, address, setup.folder.path().join("bare.log"))
    }

    /// The processor time that it has taken so far.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        self.process.cpu()
    }

    /// The bytes of memory that it has now.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn resident(&self) -> anyhow::Result<u64> {
        self.process.resident()
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.process.child.id()
    }

    /// Asks for `path` until it is answered with 200, and says how long after the start that was.
    ///
    /// # Errors
    /// When the server ends, or takes too long.
    pub async fn first_200(
        &mut self,
        path: &str,
        authorization: Option<&str>,
    ) -> anyhow::Result<Duration> {
        loop {
            let asked = timeout(PATIENCE, ask(self.address, path, authorization)).await;
            let last = asked.unwrap_or_else(|_| bail!("it takes too long"));
            let took = self.begun.elapsed();
            let Err(error) = last else { return Ok(took) };
            self.process.check()?;
            if took > PATIENCE {
                return Err(error.context("the server does not answer"));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It fails only when the process is gone, which is what is wanted.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let begun = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) {
            if begun.elapsed() > PATIENCE {
                eprintln!("a process does not end: it is killed");
                drop(self.child.kill());
                drop(self.child.wait());
            }
            #[expect(clippy::disallowed_methods, reason = "a destructor cannot await")]
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Commissaire {
    /// Starts it with this data directory, which need not exist yet, and does not wait.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(setup: &Setup, data: &str) -> anyhow::Result<Self> {
        Self::start_with(setup, data, &json!({}), &[])
    }

    /// The same with a configuration, and more arguments.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_with(
        setup: &Setup,
        name: &str,
        config: &Value,
        arguments: &[&str],
    ) -> anyhow::Result<Self> {
        let (folder, address) = (setup.folder.path(), free_address()?);
        let file = |end: &str| folder.join(format!("{name}{end}"));
        let data = folder.join(name);
        let mut command = Command::new(&setup.commissaire);
        command.arg("--data-dir").arg(&data).arg("--run-dir").arg(file(".run"));
        // What this machine's own one is told is no concern of ours.
        let conf = file(".conf");
        std::fs::write(&conf, config.to_string())
            .with_context(|| format!("cannot write {}", conf.display()))?;
        command.arg("--config-file").arg(conf).args(arguments);
        command.arg("--listen-port").arg(address.port().to_string());
        let server = Server::start(&mut command, address, file(".log"))?;
        Ok(Self { server, data })
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// When it does not get there.
    pub async fn ready(setup: &Setup, data: &str) -> anyhow::Result<Self> {
        Self::ready_with(setup, data, &json!({}), &[]).await
    }

    /// The same with a configuration, and more arguments.
    ///
    /// # Errors
    /// When it does not get there.
    pub async fn ready_with(
        setup: &Setup,
        name: &str,
        config: &Value,
        arguments: &[&str],
    ) -> anyhow::Result<Self> {
        let mut commissaire = Self::start_with(setup, name, config, arguments)?;
        commissaire.server.first_200(READY, None).await?;
        Ok(commissaire)
    }

    /// The administrator's `Authorization`.
    ///
    /// # Errors
    /// Before the first start has made it.
    pub fn authorization(&self) -> anyhow::Result<String> {
        let file = self.data.join("admin-password");
        let password = std::fs::read_to_string(&file)
            .with_context(|| format!("cannot read {}", file.display()))?;
        Ok(format!("Basic {}", BASE64.encode(format!("admin:{}", password.trim()))))
    }

    /// Stops it, and copies its data directory for another one with this name: the path of the copy.
    ///
    /// # Errors
    /// When it cannot be copied.
    pub fn stop_and_copy(self, name: &str) -> anyhow::Result<PathBuf> {
        drop(self.server);
        let copy = self.data.with_file_name(name);
        let done = Command::new("cp").arg("-a").arg(&self.data).arg(&copy).status();
        ensure!(done.context("cannot run cp")?.success(), "{} is not copied", copy.display());
        Ok(copy)
    }

    /// The users file that the first start has made.
    ///
    /// # Errors
    /// Before that.
    pub fn users(&self) -> anyhow::Result<String> {
        std::fs::read_to_string(self.data.join("users.json")).context("there are no users")
    }

    /// A connection as its administrator, over TLS; waits until it serves.
    ///
    /// # Errors
    /// When it ends, or takes too long.
    pub async fn tls_client(&mut self) -> anyhow::Result<Client> {
        let ca = self.data.join("ca.pem");
        loop {
            let begun = async {
                let authorization = self.authorization()?;
                let address = self.server.address;
                let mut client = Client::connect_tls(address, Some(&authorization), &ca).await?;
                client.get(READY).await.map(|_| client)
            };
            let last = timeout(PATIENCE, begun).await;
            let last = last.unwrap_or_else(|_| bail!("it takes too long"));
            let Err(error) = last else { return last };
            self.server.process.check()?;
            if self.server.begun.elapsed() > PATIENCE {
                return Err(error.context("the server does not answer"));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// A connection as its administrator.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn client(&self) -> anyhow::Result<Client> {
        Client::connect(self.server.address, Some(&self.authorization()?)).await
    }
}

async fn ask(address: SocketAddr, path: &str, authorization: Option<&str>) -> anyhow::Result<()> {
    Client::connect(address, authorization).await?.get(path).await.map(drop)
}

/// An address that nobody listens on.
fn free_address() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen")?;
    listener.local_addr().context("no address")
}
