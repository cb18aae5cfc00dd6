//! A process for each service, with RabbitMQ, an etcd and hosts that `tools/testbed` has booted, in real time.
//!
//! The hosts are those of all scenarios: they call them 10.0.0.1 to 10.0.0.4. Services and records are a scenario's own.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use daemons::Daemon;
use serde_json::{Value, json};
use testbed::Testbed;
use testbed::etcd::Etcd;
use tokio::time::{Instant, sleep};

use super::{Event, PASSWORD, USERS};
use crate::api::client;

/// How many hosts there are.
const HOSTS: usize = 4;

/// How long services may take to answer.
const START: Duration = Duration::from_mins(5);

/// The hosts of all scenarios.
fn testbed() -> &'static Testbed {
    static TESTBED: OnceLock<Testbed> = OnceLock::new();
    TESTBED.get_or_init(|| Testbed::up(&["debian"; HOSTS]))
}

/// Whether hosts can be booted here.
pub(crate) fn can_boot() -> bool {
    !testbed().is_light()
}

/// What scenarios call each host, and its address.
fn addresses() -> impl Iterator<Item = (String, &'static str)> {
    (0..HOSTS).map(|index| (format!("10.0.0.{}", index + 1), testbed().address(index).0))
}

/// The address of a host that scenarios call so.
fn address(name: &str) -> &'static str {
    let found = addresses().find(|(host, _)| host == name);
    found.unwrap_or_else(|| panic!("real hosts are 10.0.0.1 to 10.0.0.{HOSTS}, not {name}")).1
}

pub(super) fn add_host(name: &str) {
    address(name);
}

pub(super) fn to_hosts(text: &str) -> String {
    addresses().fold(text.to_owned(), |text, (name, address)| replace(&text, &name, address))
}

pub(super) fn to_scenario(text: &str) -> String {
    addresses().fold(text.to_owned(), |text, (name, address)| replace(&text, address, &name))
}

/// Replaces an address that is not the beginning of another one.
fn replace(text: &str, from: &str, to: &str) -> String {
    let mut parts = text.split(from);
    let mut replaced = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        replaced += if part.starts_with(|next: char| next.is_ascii_digit()) { from } else { to };
        replaced += part;
    }
    replaced
}

/// The services, and what has happened to hosts.
#[derive(Debug)]
pub(crate) struct Real {
    pub(super) url: String,
    folder: PathBuf,
    processes: Vec<Child>,
    _etcd: Etcd,
    /// How many events there were before.
    before: usize,
    /// Hosts that scenarios have done something to.
    touched: Mutex<BTreeSet<&'static str>>,
    /// Reboots that a scenario has caused itself.
    own: Mutex<BTreeMap<String, usize>>,
}

impl Real {
    pub(super) async fn start(folder: &Path) -> Self {
        let before = testbed().events().len();
        let etcd = Etcd::up();
        configure(folder, &etcd);
        let processes = Daemon::ALL.map(|daemon| spawn(folder, daemon)).into();
        let url = url(folder).await;
        Self {
            url,
            folder: folder.to_owned(),
            processes,
            _etcd: etcd,
            before,
            touched: Mutex::default(),
            own: Mutex::default(),
        }
    }

    pub(super) fn happens(&self, name: &str, event: Event) {
        let host = address(name);
        self.touched.lock().unwrap().insert(host);
        let verb = match event {
            Event::PowerOff => "kill",
            Event::PowerOn => "start",
            Event::CutOff => "drop",
            Event::Reconnect => "heal",
            Event::Reboot => "reboot",
        };
        if matches!(event, Event::PowerOff | Event::Reboot) {
            *self.own.lock().unwrap().entry(name.to_owned()).or_default() += 1;
        }
        testbed().run(&[verb, host]);
    }

    pub(super) fn reboots(&self) -> BTreeMap<String, usize> {
        let names: BTreeMap<_, _> = testbed().names().iter().zip(addresses()).collect();
        let mut counts = BTreeMap::new();
        for event in testbed().events().into_iter().skip(self.before).filter(|event| !event.up) {
            *counts.entry(names[&event.host].0.clone()).or_default() += 1;
        }
        for (name, own) in &*self.own.lock().unwrap() {
            *counts.get_mut(name).expect("what has happened is an event") -= own;
        }
        counts.retain(|_, count| *count > 0);
        counts
    }

    pub(super) fn most_down(&self) -> usize {
        let (mut down, mut most) = (0_usize, 0);
        for event in testbed().events().into_iter().skip(self.before) {
            down = if event.up { down.saturating_sub(1) } else { down + 1 };
            most = most.max(down);
        }
        most
    }

    pub(super) fn log(&self) -> String {
        let logs =
            Daemon::ALL.map(|daemon| self.folder.join(daemon.program()).with_extension("log"));
        logs.map(|log| std::fs::read_to_string(log).unwrap_or_default()).concat()
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        for process in &mut self.processes {
            // One that has ended by itself is no more.
            drop(process.kill());
            drop(process.wait());
        }
        for host in self.touched.get_mut().unwrap().iter() {
            testbed().run(&["heal", host]);
            let is_down = testbed().try_run(&["boot-id", host]).is_err();
            if is_down {
                testbed().run(&["start", host]);
            }
        }
    }
}

/// Writes the configuration of each daemon; they reach hosts with the key of the testbed.
fn configure(folder: &Path, etcd: &Etcd) {
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    let users = USERS.map(|name| {
        let hash = bcrypt::hash(PASSWORD, 4).unwrap();
        (name.to_owned(), json!({"hash": hash, "role": name}))
    });
    write("users.json", &Value::Object(users.into_iter().collect()).to_string());
    let data = folder.join("d");
    std::fs::create_dir(&data).unwrap();
    std::fs::set_permissions(&data, Permissions::from_mode(0o700)).unwrap();
    std::fs::copy(testbed().key(), data.join("id_ed25519")).unwrap();
    std::fs::copy(testbed().key().with_extension("pub"), data.join("id_ed25519.pub")).unwrap();
    let exchange = format!("features-{}", folder.file_name().unwrap().to_str().unwrap());
    for daemon in Daemon::ALL {
        symlink(crate::command::program("commissaire"), folder.join(daemon.program())).unwrap();
        let mut config = json!({
            "bus-uri": testbed::rabbitmq::shared_uri(), "bus-exchange": exchange,
            "data-dir": data, "run-dir": folder.join("r"),
        });
        match daemon {
            Daemon::Storage => {
                config["storage_handlers"] =
                    json!({"type": "etcd", "server_url": etcd.endpoints()});
            }
            Daemon::Server => {
                let users = folder.join("users.json");
                config["authentication-plugins"] =
                    json!([{"name": "httpbasicauth", "filepath": users}]);
            }
            // A lost host is noticed soon.
            Daemon::Watcher => {
                for (name, value) in [("interval", json!(5)), ("retry_pauses", json!([2]))] {
                    config[name] = value;
                }
            }
            // Hosts that have to stay up for a while are shown in simulated time.
            Daemon::Clusterexec => config["defaults"] = json!({"settle": 0}),
            _ => {}
        }
        write(&format!("{}.conf", daemon.config()), &config.to_string());
    }
}

fn spawn(folder: &Path, daemon: Daemon) -> Child {
    let log = File::create(folder.join(daemon.program()).with_extension("log")).unwrap();
    // None outlives this program.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(folder.join(daemon.program()));
    command.arg("-c").arg(folder.join(format!("{}.conf", daemon.config())));
    if daemon == Daemon::Server {
        command.args(["-p", "0", "--address-file"]).arg(folder.join("address"));
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap()
}

/// The URL of the gateway, once all services answer.
async fn url(folder: &Path) -> String {
    let begun = Instant::now();
    loop {
        if let Ok(url) = std::fs::read_to_string(folder.join("address")) {
            let url = url.trim().to_owned();
            let explain = client().get(format!("{url}/api/v0/explain"));
            if let Ok(answer) = explain.basic_auth(USERS[0], Some(PASSWORD)).send().await
                && answer.json::<Value>().await.is_ok_and(|answer| answer["state"] == "ok")
            {
                return url;
            }
        }
        assert!(begun.elapsed() < START, "the services are not ready");
        sleep(Duration::from_millis(50)).await;
    }
}
