//! `tools/testbed/rabbitmq` for Rust tests: a real broker, gone with the test.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

const TOOL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tools/testbed/rabbitmq");

/// The variable that names a broker which tests share; `tools/test` starts one and sets it.
pub const SHARED: &str = "COMMISSAIRE_TEST_AMQP";

/// A broker of a test's own; taken down when it is dropped, and when the process dies.
#[derive(Debug)]
pub struct RabbitMq {
    uri: String,
    folder: tempfile::TempDir,
}

impl RabbitMq {
    /// Starts one, which takes a few seconds.
    ///
    /// # Panics
    /// When it does not work.
    pub fn up() -> Self {
        Self::cluster(1)
    }

    /// Starts one of so many nodes; each takes a few seconds.
    ///
    /// # Panics
    /// When it does not work.
    pub fn cluster(nodes: usize) -> Self {
        let folder = tempfile::Builder::new().prefix("rq").tempdir().expect("a temporary folder");
        let (nodes, until) = (nodes.to_string(), std::process::id().to_string());
        let uri = run(folder.path(), &["up", "--nodes", &nodes, "--until", &until]);
        Self { uri, folder }
    }

    /// Where it listens, with the user and the password: the same after a restart. Those of a cluster are separated by
    /// `;`.
    pub fn uri(&self) -> String {
        self.uri.clone()
    }

    /// Where it listens, for a proxy in front of it.
    ///
    /// # Panics
    /// When its URI is not as expected.
    pub fn address(&self) -> SocketAddr {
        address(&self.uri)
    }

    /// Stops it in an orderly way; clients are told.
    ///
    /// # Panics
    /// When it does not work.
    pub fn stop(&self) {
        self.run(&["stop"]);
    }

    /// Starts it after [`Self::stop`] or [`Self::kill`], with the data it had; returns when it serves.
    ///
    /// # Panics
    /// When it does not work.
    pub fn start(&self) {
        self.run(&["start"]);
    }

    /// Kills it with everything it has started.
    ///
    /// # Panics
    /// When it does not work.
    pub fn kill(&self) {
        self.run(&["kill"]);
    }

    /// Kills one node of a cluster, counted from 1, with everything it has started.
    ///
    /// # Panics
    /// When it does not work.
    pub fn kill_node(&self, node: usize) {
        self.run(&["kill", &node.to_string()]);
    }

    /// Runs `rabbitmqctl` against it and returns what that prints.
    ///
    /// # Panics
    /// When it fails.
    pub fn ctl(&self, arguments: &[&str]) -> String {
        self.run(&[&["ctl"], arguments].concat())
    }

    /// A program that is `rabbitmqctl` of it.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn ctl_program(&self) -> PathBuf {
        let program = self.folder.path().join("rabbitmqctl");
        let state = self.folder.path().join("s");
        let script = format!("#!/bin/sh\nexec {TOOL} --state {} ctl \"$@\"\n", state.display());
        std::fs::write(&program, script).expect("a script in the temporary folder");
        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&program, executable).expect("an executable script");
        program
    }

    /// The folder that all of its files are in.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn run(&self, arguments: &[&str]) -> String {
        run(self.folder.path(), arguments)
    }
}

impl Drop for RabbitMq {
    fn drop(&mut self) {
        let output = command(self.folder.path(), &["down"]);
        if !output.status.success() && !std::thread::panicking() {
            succeeded(&["down"], &output);
        }
    }
}

/// The URI of a broker that tests share: keep to names of your own on it. Without one in the
/// environment this process starts its own, which ends with it.
///
/// # Panics
/// When none can be started.
#[expect(clippy::disallowed_methods, reason = "tests have no configuration but the environment")]
pub fn shared_uri() -> String {
    static OWN: OnceLock<RabbitMq> = OnceLock::new();
    std::env::var(SHARED).unwrap_or_else(|_| OWN.get_or_init(RabbitMq::up).uri())
}

/// The address in a URI of this module's making.
///
/// # Panics
/// When it is another's, without a numeric address.
pub fn address(uri: &str) -> SocketAddr {
    let host = uri.split('@').nth(1).and_then(|rest| rest.split('/').next());
    host.and_then(|host| host.parse().ok()).expect("the URI of a broker on this machine")
}

fn run(state: &Path, arguments: &[&str]) -> String {
    succeeded(arguments, &command(state, arguments))
}

fn command(state: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(TOOL);
    command.arg("--state").arg(state.join("s")).args(arguments);
    command.output().expect("tools/testbed/rabbitmq can be started")
}

fn succeeded(arguments: &[&str], output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "rabbitmq {} failed: {error}", arguments.join(" "));
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}
