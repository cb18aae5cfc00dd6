//! `tools/testbed/etcd` for Rust tests: an etcd of a test's own, gone with the test.
//!
//! Whatever goes wrong here is the end of the test, so it panics, saying what.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// All members, where a member is asked for.
pub const ALL: &str = "all";

/// The member that leads now, where a member is asked for.
pub const LEADER: &str = "leader";

/// A private etcd; taken down when it is dropped, and when the process dies. Where a `member` is asked
/// for it is a number from 1, [`ALL`] or [`LEADER`].
#[derive(Debug)]
pub struct Etcd {
    state: PathBuf,
    endpoints: String,
    _folder: tempfile::TempDir,
}

impl Etcd {
    /// Starts a single member and waits until it answers.
    ///
    /// # Panics
    /// When it does not work.
    pub fn up() -> Self {
        Self::start_up(&["1"])
    }

    /// Starts a cluster of one, three or five members and waits until each answers.
    ///
    /// # Panics
    /// When it does not work.
    pub fn cluster(members: usize) -> Self {
        Self::start_up(&[&members.to_string()])
    }

    /// Starts a single member that speaks TLS only, with clients that have a certificate of its CA only.
    ///
    /// # Panics
    /// When it does not work.
    pub fn with_tls() -> Self {
        Self::start_up(&["1", "--tls"])
    }

    /// Starts a single member whose database may have so many bytes.
    ///
    /// # Panics
    /// When it does not work.
    pub fn with_quota(bytes: u64) -> Self {
        Self::start_up(&["1", "--quota", &bytes.to_string()])
    }

    /// Starts a single member that compacts its history by itself, to so many seconds ago.
    ///
    /// # Panics
    /// When it does not work.
    pub fn with_auto_compaction(seconds: u64) -> Self {
        Self::start_up(&["1", "--auto-compaction", &format!("{seconds}s")])
    }

    /// Starts a single member again, without its auto-compaction.
    ///
    /// # Panics
    /// When it has none, or does not start.
    pub fn end_auto_compaction(&self) {
        let file = self.state.join("auto-compaction");
        std::fs::remove_file(file).expect("an etcd with auto-compaction");
        self.stop("1");
        self.start("1");
    }

    fn start_up(options: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("etcd").tempdir().expect("a temporary folder");
        let state = folder.path().join("s");
        let until = std::process::id().to_string();
        let wanted = [&["up"], options, &["--until", &until]].concat();
        let endpoints = succeeded(&wanted, &command(&state, &wanted));
        Self { state, endpoints, _folder: folder }
    }

    /// The URLs of all members, separated by commas.
    pub fn endpoints(&self) -> &str {
        &self.endpoints
    }

    /// The folder that all of its files are in.
    pub fn folder(&self) -> &Path {
        &self.state
    }

    /// The CA that signed the members' certificates.
    pub fn ca_path(&self) -> PathBuf {
        self.state.join("tls/ca.pem")
    }

    /// The certificate of a client.
    pub fn certificate_path(&self) -> PathBuf {
        self.state.join("tls/client.pem")
    }

    /// The private key of a client.
    pub fn key_path(&self) -> PathBuf {
        self.state.join("tls/client.key")
    }

    /// Ends a member in an orderly way.
    pub fn stop(&self, member: &str) {
        self.run(&["stop", member]);
    }

    /// Starts a member again, with its data, and waits until it answers.
    pub fn start(&self, member: &str) {
        self.run(&["start", member]);
    }

    /// Ends a member by `kill -9`.
    pub fn kill(&self, member: &str) {
        self.run(&["kill", member]);
    }

    /// Stops a member as it is: connections to it stay open and nothing answers.
    pub fn pause(&self, member: &str) {
        self.run(&["pause", member]);
    }

    /// Lets a paused member go on.
    pub fn resume(&self, member: &str) {
        self.run(&["resume", member]);
    }

    /// The number of the member that leads now.
    pub fn leader(&self) -> String {
        self.run(&["leader"])
    }

    /// Runs etcdctl on it and returns what it prints.
    ///
    /// # Panics
    /// When it fails.
    pub fn ctl(&self, arguments: &[&str]) -> String {
        self.run(&[&["ctl"], arguments].concat())
    }

    /// Runs a command of `tools/testbed/etcd` and returns what it prints.
    ///
    /// # Panics
    /// When it fails.
    pub fn run(&self, arguments: &[&str]) -> String {
        succeeded(arguments, &command(&self.state, arguments))
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let output = command(&self.state, &["down"]);
        if !output.status.success() && !std::thread::panicking() {
            succeeded(&["down"], &output);
        }
    }
}

fn command(state: &Path, arguments: &[&str]) -> Output {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tools/testbed/etcd");
    let mut command = Command::new(program);
    command.arg("--state").arg(state).args(arguments);
    command.output().expect("tools/testbed/etcd can be started")
}

fn succeeded(arguments: &[&str], output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "etcd {} failed: {error}", arguments.join(" "));
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}
