//! `tools/testbed` for Rust tests: real hosts and a real broker, gone with the test.
//!
//! Whatever goes wrong here is the end of the test, so it panics, saying what.

pub mod etcd;
pub mod keystone;
pub mod log;
pub mod oidc;
pub mod proxy;
pub mod rabbitmq;
pub mod sshd;

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The variable that names the file in which skipped tests are noted; `tools/test` shows it at the end.
pub const SKIPS: &str = "COMMISSAIRE_TEST_SKIPS";

/// The exit status of `tools/testbed` for "needs booted hosts".
const BEYOND: i32 = 3;

/// A set of hosts of a test's own; taken down when it is dropped, and when the process dies.
#[derive(Debug)]
pub struct Testbed {
    state: PathBuf,
    hosts: Vec<String>,
    names: Vec<String>,
    light: bool,
    _folder: tempfile::TempDir,
}

/// A host going away or coming back, as the supervisor of the host saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Milliseconds since the epoch.
    pub time: u64,
    /// True when it came back.
    pub up: bool,
    /// Its name.
    pub host: String,
}

impl Testbed {
    /// Boots a host of each flavour (`debian`, `fedora`, …), light ones where nothing can be booted.
    ///
    /// # Panics
    /// When it does not work.
    pub fn up(flavours: &[&str]) -> Self {
        Self::start(flavours, &[])
    }

    /// Light hosts, also where others could be booted.
    ///
    /// # Panics
    /// When it does not work.
    pub fn up_light(count: usize) -> Self {
        Self::start(&vec!["debian"; count], &["--light"])
    }

    /// The same as [`Self::up`] for a test that needs a whole system on each host; where nothing can be
    /// booted it is noted as skipped, with the reason, and `None` ends the test.
    ///
    /// # Panics
    /// When it does not work.
    pub fn up_booted(test: &str, flavours: &[&str]) -> Option<Self> {
        let testbed = Self::up(flavours);
        if !testbed.light {
            return Some(testbed);
        }
        skip(test, "needs booted hosts, and only light ones can be had here");
        None
    }

    fn start(flavours: &[&str], options: &[&str]) -> Self {
        // A short path: control sockets are made below it.
        let folder = tempfile::Builder::new().prefix("tb").tempdir().expect("a temporary folder");
        let state = folder.path().join("s");
        let (count, until) = (flavours.len().to_string(), std::process::id().to_string());
        let up = ["up", &count, "--until", &until];
        let list = flavours.join(",");
        let flavoured = ["--flavours", &list];
        let options = if options.is_empty() { &flavoured } else { options };
        let wanted = [&up, options].concat();
        let mut output = command(&state, &wanted);
        if output.status.code() == Some(BEYOND) {
            // Nothing can be booted here: light hosts have no flavours.
            output = command(&state, &up);
        }
        let text = succeeded(&wanted, &output);
        let light = text.lines().any(|line| line.starts_with("LIGHT HOSTS"));
        let lines = text.lines().filter(|line| !line.starts_with("LIGHT HOSTS"));
        let column = |number| {
            let words = lines.clone().filter_map(|line| line.split_whitespace().nth(number));
            words.map(str::to_owned).collect()
        };
        Self { state, hosts: column(0), names: column(1), light, _folder: folder }
    }

    /// Whether the hosts are light ones: no systemd, no package manager.
    pub fn is_light(&self) -> bool {
        self.light
    }

    /// The hosts, as `tools/testbed` calls them: their addresses, with a port where that is not 22.
    pub fn hosts(&self) -> &[String] {
        &self.hosts
    }

    /// The names of the hosts, as in [`Event`].
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The address and the SSH port of a host.
    ///
    /// # Panics
    /// When there is no such host.
    pub fn address(&self, host: usize) -> (&str, u16) {
        let host = &self.hosts[host];
        match host.split_once(':') {
            Some((address, port)) => (address, port.parse().expect("a port")),
            None => (host, 22),
        }
    }

    /// The user to log in as.
    pub fn user(&self) -> String {
        self.run(&["user"])
    }

    /// The path of the private key that the hosts let in.
    pub fn key(&self) -> PathBuf {
        PathBuf::from(self.run(&["key"]))
    }

    /// Runs a command of `tools/testbed` and returns what it prints.
    ///
    /// # Panics
    /// When it fails.
    pub fn run(&self, arguments: &[&str]) -> String {
        succeeded(arguments, &command(&self.state, arguments))
    }

    /// As [`Self::run`], for a command that may be refused.
    ///
    /// # Errors
    /// What it printed as its error.
    pub fn try_run(&self, arguments: &[&str]) -> Result<String, String> {
        let output = command(&self.state, arguments);
        let stream = if output.status.success() { &output.stdout } else { &output.stderr };
        let text = String::from_utf8_lossy(stream).trim_end().to_owned();
        if output.status.success() { Ok(text) } else { Err(text) }
    }

    /// The commands to reboot or power off that have reached light hosts: when, in milliseconds since the epoch, and the
    /// address of the host; oldest first.
    ///
    /// # Panics
    /// When their logs cannot be read.
    pub fn commands(&self) -> Vec<(u64, String)> {
        let mut commands = Vec::new();
        for folder in std::fs::read_dir(self.state.join("hosts")).expect("the folder of the hosts")
        {
            let folder = folder.expect("an entry of it").path();
            let address = std::fs::read_to_string(folder.join("address")).expect("its address");
            // There is none before the first command.
            let log = std::fs::read_to_string(folder.join("commands")).unwrap_or_default();
            let times = log.lines().filter_map(|line| line.split_once(' ')?.0.parse().ok());
            commands.extend(times.map(|time: u64| (time, address.trim_end().to_owned())));
        }
        commands.sort_unstable();
        commands
    }

    /// A command on a host, by its number.
    ///
    /// # Panics
    /// When it fails.
    pub fn exec(&self, host: usize, script: &str) -> String {
        self.run(&["exec", &self.hosts[host], script])
    }

    /// Boots a host of the flavour `cloud-init` as a new instance, with this user data.
    ///
    /// # Panics
    /// When it fails.
    pub fn seed(&self, host: usize, user_data: &Path) {
        self.run(&["seed", &self.hosts[host], user_data.to_str().expect("a path in UTF-8")]);
    }

    /// The boot id of a host, by its number.
    pub fn boot_id(&self, host: usize) -> String {
        self.run(&["boot-id", &self.hosts[host]])
    }

    /// What the supervisors of the hosts saw, oldest first.
    ///
    /// # Panics
    /// When their logs cannot be read.
    pub fn events(&self) -> Vec<Event> {
        // As `tools/testbed events` does: tests ask often enough that a process for each time would be felt.
        let mut events = Vec::new();
        for folder in std::fs::read_dir(self.state.join("hosts")).expect("the folder of the hosts")
        {
            let folder = folder.expect("an entry of it");
            let host = folder.file_name().into_string().expect("a name in UTF-8");
            let log = std::fs::read_to_string(folder.path().join("events")).expect("a host's log");
            events.extend(log.lines().filter_map(|line| {
                let (time, what) = line.split_once(' ')?;
                Some(Event { time: time.parse().ok()?, up: what == "up", host: host.clone() })
            }));
        }
        events.sort_by_key(|event| event.time);
        events
    }

    /// The most hosts that were away at the same moment, since all of them had come up.
    pub fn most_away(&self) -> usize {
        let (mut away, mut most) = (0_usize, 0);
        for event in self.events().into_iter().skip(self.hosts.len()) {
            away = if event.up { away.saturating_sub(1) } else { away + 1 };
            most = most.max(away);
        }
        most
    }
}

impl Drop for Testbed {
    fn drop(&mut self) {
        let output = command(&self.state, &["down"]);
        if !output.status.success() && !std::thread::panicking() {
            succeeded(&["down"], &output);
        }
    }
}

/// Notes that a test was skipped, and why.
///
/// # Panics
/// When the note cannot be written.
#[expect(clippy::disallowed_methods, reason = "tests have no configuration but the environment")]
pub fn skip(test: &str, reason: &str) {
    eprintln!("SKIPPED {test}: {reason}");
    if let Ok(path) = std::env::var(SKIPS) {
        let file = OpenOptions::new().append(true).create(true).open(path);
        writeln!(file.expect("the file of skipped tests"), "{test}: {reason}")
            .expect("a line more");
    }
}

fn command(state: &Path, arguments: &[&str]) -> Output {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tools/testbed/testbed");
    let mut command = Command::new(program);
    command.env("TESTBED_STATE", state).args(arguments);
    command.output().expect("tools/testbed/testbed can be started")
}

fn succeeded(arguments: &[&str], output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "testbed {} failed: {error}", arguments.join(" "));
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}
