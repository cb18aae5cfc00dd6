//! The processes of a form of Commissaire: started, killed, told to stop.

use std::fs::File;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use daemons::Daemon;
use etcd_client::{Client, GetOptions, SortOrder, SortTarget};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Map, Value, json};
use testbed::etcd::Etcd;
use tokio::sync::OnceCell;

use crate::server::eventually;

/// How long etcd has for an answer; one that is stopped gives none.
const ANSWER: Duration = Duration::from_secs(5);

/// A shape that Commissaire runs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// `commissaire`.
    OneProcess,
    /// The six daemons, so many of each.
    Distributed(usize),
}

/// What the daemons of the distributed form stand on.
pub(crate) struct Ground {
    pub(crate) amqp: String,
    pub(crate) etcd: Etcd,
    pub(crate) exchange: String,
    client: OnceCell<Client>,
}

impl Ground {
    /// The broker of all tests, an exchange and an etcd of this test's own.
    pub(crate) fn new() -> Self {
        Self::on(testbed::rabbitmq::shared_uri(), Etcd::up())
    }

    pub(crate) fn on(amqp: String, etcd: Etcd) -> Self {
        let exchange = format!("test-{}", runtime::random::uuid());
        Self { amqp, etcd, exchange, client: OnceCell::new() }
    }

    /// The values below a prefix, the newest first and so many at most (0: all); nothing while etcd does not
    /// answer. Not by etcdctl: run every few milliseconds, that takes a core away from what is tested.
    pub(crate) async fn newest(&self, prefix: &str, limit: i64) -> Option<Vec<String>> {
        let endpoints: Vec<_> = self.etcd.endpoints().split(',').collect();
        let connect = || Client::connect(endpoints, None);
        let mut client = self.client.get_or_try_init(connect).await.ok()?.clone();
        let newest = GetOptions::new().with_prefix().with_limit(limit);
        let newest = newest.with_sort(SortTarget::Mod, SortOrder::Descend);
        let answer =
            tokio::time::timeout(ANSWER, client.get(prefix, Some(newest))).await.ok()?.ok()?;
        Some(answer.kvs().iter().map(|entry| entry.value_str().unwrap().to_owned()).collect())
    }
}

/// One process; its log outlives it.
#[derive(Debug)]
struct Process {
    daemon: Option<Daemon>,
    replica: usize,
    child: Option<Child>,
    /// What it sends to systemd once it is ready.
    notifications: Option<UnixDatagram>,
}

/// All processes of a form, in a folder.
pub(crate) struct Processes {
    folder: PathBuf,
    all: Vec<Process>,
    pub(crate) ground: Option<Ground>,
}

impl Processes {
    /// Nothing runs yet. `config` is that of `commissaire`, with a member for each service; `users` a file.
    pub(crate) fn new(folder: &Path, form: Form, ground: Option<Ground>, config: &Value) -> Self {
        let process =
            |daemon, replica| Process { daemon, replica, child: None, notifications: None };
        let ground = match form {
            Form::OneProcess => None,
            Form::Distributed(_) => Some(ground.unwrap_or_else(Ground::new)),
        };
        let processes = match form {
            Form::OneProcess => vec![process(None, 0)],
            Form::Distributed(replicas) => (0..replicas)
                .flat_map(|replica| Daemon::ALL.map(|daemon| process(Some(daemon), replica)))
                .collect(),
        };
        let this = Self { folder: folder.to_owned(), all: processes, ground };
        let mut config = config.clone();
        // Hosts that have to stay up for a while are for the tests of just that.
        let defaults = &mut config["clusterexec"]["defaults"];
        if defaults["settle"].is_null() {
            defaults["settle"] = json!(0);
        }
        this.configure(&config);
        this
    }

    fn configure(&self, config: &Value) {
        let write = |name: &str, value: &Value| {
            std::fs::write(self.folder.join(name), value.to_string()).unwrap();
        };
        let Some(ground) = &self.ground else {
            let mut config = config.clone();
            config.as_object_mut().unwrap().entry("listen-port").or_insert(json!(0));
            return write("conf", &config);
        };
        std::fs::create_dir(self.folder.join("bin")).unwrap();
        for daemon in Daemon::ALL {
            let link = self.folder.join("bin").join(daemon.program());
            std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_commissaire"), link).unwrap();
            let mut members = match config.get(daemon.config()) {
                Some(Value::Object(own)) => own.clone(),
                _ => Map::new(),
            };
            members.insert("bus-uri".into(), json!(ground.amqp));
            members.insert("bus-exchange".into(), json!(ground.exchange));
            members.insert("data-dir".into(), json!(self.folder.join("d")));
            members.insert("run-dir".into(), json!(self.folder.join("r")));
            if let Some(ttl) = config.get("lease-ttl") {
                members.insert("lease-ttl".into(), ttl.clone());
            }
            match daemon {
                Daemon::Storage => {
                    let etcd = json!({"type": "etcd", "server_url": ground.etcd.endpoints()});
                    members.insert("storage_handlers".into(), etcd);
                }
                Daemon::Server => {
                    let users = self.folder.join("users.json");
                    let plugin = json!({"name": "httpbasicauth", "filepath": users});
                    members.insert("authentication-plugins".into(), json!([plugin]));
                    if let Some(proxies) = config.get("trusted-proxies") {
                        members.insert("trusted-proxies".into(), proxies.clone());
                    }
                }
                _ => {}
            }
            write(&format!("{}.conf", daemon.config()), &Value::Object(members));
        }
    }

    fn command(&self, process: &Process) -> Command {
        let path = |name: &str| self.folder.join(name);
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]);
        match process.daemon {
            None => {
                command.arg(env!("CARGO_BIN_EXE_commissaire"));
                command.arg("--data-dir").arg(path("d")).arg("--run-dir").arg(path("r"));
                command.arg("--users").arg(path("users.json")).arg("-c").arg(path("conf"));
            }
            Some(daemon) => {
                command.arg(path("bin").join(daemon.program()));
                command.arg("-c").arg(path(&format!("{}.conf", daemon.config())));
            }
        }
        if process.daemon == Some(Daemon::Server) {
            command.args(["-p", "0", "--address-file"]).arg(self.address_file(process.replica));
        }
        command.arg("--debug").stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// The command line of the one-process form, for a shell.
    pub(crate) fn command_line(&self) -> String {
        let command = self.command(&self.all[0]);
        let words = command.get_args().map(|word| word.to_str().unwrap().to_owned());
        let words: Vec<_> = words.skip_while(|word| word != "--").skip(1).collect();
        words.join(" ")
    }

    fn address_file(&self, replica: usize) -> PathBuf {
        match self.ground {
            None => self.folder.join("d/address"),
            Some(_) => self.folder.join(format!("address-{replica}")),
        }
    }

    /// The URLs of the gateways that have said where they serve.
    pub(crate) fn urls(&self) -> Vec<String> {
        let servers = self.all.iter();
        let servers = servers.filter(|p| matches!(p.daemon, None | Some(Daemon::Server)));
        let read = |p: &Process| std::fs::read_to_string(self.address_file(p.replica)).ok();
        servers.filter_map(read).map(|url| url.trim().to_owned()).collect()
    }

    /// Starts whatever does not run, and waits until all of it has said that it is ready.
    pub(crate) async fn start(&mut self) {
        let mut starting = Vec::new();
        for index in 0..self.all.len() {
            if self.all[index].child.is_none() {
                starting.push((index, self.spawn(index)));
            }
        }
        for (index, ready) in starting {
            self.wait_ready(index, &ready).await;
            self.all[index].notifications = Some(ready);
        }
    }

    /// What the first replica of a daemon has sent to systemd since the last call, or since it was ready.
    pub(crate) fn notifications(&self, daemon: Option<Daemon>) -> Vec<String> {
        let socket = self.all[self.index(daemon, 0)].notifications.as_ref().unwrap();
        let mut message = [0; 1024];
        let next = || socket.recv(&mut message).ok().map(|count| message[..count].to_vec());
        let messages = std::iter::from_fn(next).map(|bytes| String::from_utf8(bytes).unwrap());
        messages.collect()
    }

    /// Starts a process without waiting for it; the socket hears what systemd would.
    fn spawn(&mut self, index: usize) -> UnixDatagram {
        let socket = self.folder.join(format!("notify-{index}"));
        let _ = std::fs::remove_file(&socket);
        let ready = UnixDatagram::bind(&socket).unwrap();
        ready.set_nonblocking(true).unwrap();
        let process = &self.all[index];
        if matches!(process.daemon, None | Some(Daemon::Server)) {
            let _ = std::fs::remove_file(self.address_file(process.replica));
        }
        let log = File::options().append(true).create(true).open(self.log_file(index)).unwrap();
        let mut command = self.command(process);
        let child = command.env("NOTIFY_SOCKET", socket).stderr(log).spawn().unwrap();
        self.all[index].child = Some(child);
        ready
    }

    async fn wait_ready(&mut self, index: usize, ready: &UnixDatagram) {
        let log = self.log_file(index);
        let child = self.all[index].child.as_mut().unwrap();
        eventually("the process is ready", || {
            let ended = child.try_wait().unwrap();
            let log = || std::fs::read_to_string(&log).unwrap();
            assert!(ended.is_none(), "it ended with {ended:?}: {}", log());
            let mut said = [0; 256];
            let count = ready.recv(&mut said).unwrap_or(0);
            let ready = String::from_utf8_lossy(&said[..count]).contains("READY=1");
            async move { ready.then_some(()) }
        })
        .await;
    }

    fn log_file(&self, index: usize) -> PathBuf {
        let Process { daemon, replica, .. } = &self.all[index];
        let name = daemon.map_or("commissaire", Daemon::program);
        self.folder.join(format!("{name}-{replica}.log"))
    }

    /// What all of them logged.
    pub(crate) fn log(&self) -> String {
        let read = |index| std::fs::read_to_string(self.log_file(index)).unwrap_or_default();
        (0..self.all.len()).map(read).collect()
    }

    /// What a replica of a daemon logged.
    pub(crate) fn log_of(&self, daemon: Daemon, replica: usize) -> String {
        let index = self.index(Some(daemon), replica);
        std::fs::read_to_string(self.log_file(index)).unwrap_or_default()
    }

    /// Starts these replicas without waiting for them.
    pub(crate) fn start_blindly(&mut self) {
        for index in 0..self.all.len() {
            if self.all[index].child.is_none() {
                drop(self.spawn(index));
            }
        }
    }

    fn index(&self, daemon: Option<Daemon>, replica: usize) -> usize {
        let wanted = |p: &Process| p.daemon == daemon && p.replica == replica;
        self.all.iter().position(wanted).unwrap()
    }

    pub(crate) fn pid(&self, daemon: Daemon, replica: usize) -> Pid {
        let index = self.index(Some(daemon), replica);
        Pid::from_child(self.all[index].child.as_ref().unwrap())
    }

    /// kill -9.
    pub(crate) fn kill(&mut self, daemon: Option<Daemon>, replica: usize) {
        let index = self.index(daemon, replica);
        if let Some(mut child) = self.all[index].child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// kill -9 of everything.
    pub(crate) fn kill_all(&mut self) {
        for index in 0..self.all.len() {
            let Process { daemon, replica, .. } = self.all[index];
            self.kill(daemon, replica);
        }
    }

    pub(crate) fn pids(&self) -> Vec<u32> {
        self.all.iter().filter_map(|p| p.child.as_ref().map(Child::id)).collect()
    }

    pub(crate) fn signal_all(&self, signal: Signal) {
        for child in self.all.iter().filter_map(|p| p.child.as_ref()) {
            kill_process(Pid::from_child(child), signal).unwrap();
        }
    }

    /// SIGTERM to all, and how each ended.
    pub(crate) async fn terminate_all(&mut self) -> Vec<ExitStatus> {
        self.signal_all(Signal::TERM);
        let mut children: Vec<_> = self.all.iter_mut().filter_map(|p| p.child.take()).collect();
        let mut ends = Vec::new();
        for child in &mut children {
            let ended = eventually("the process ends", || {
                let ended = child.try_wait().unwrap();
                async move { ended }
            });
            ends.push(ended.await);
        }
        ends
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for index in 0..self.all.len() {
                let path = self.log_file(index);
                let log = std::fs::read_to_string(&path).unwrap_or_default();
                eprintln!("---- {} ----\n{log}", path.file_name().unwrap().display());
            }
        }
        self.kill_all();
    }
}
