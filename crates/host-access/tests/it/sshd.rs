//! A private `sshd` for one test: own host key, own port, ended on drop.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use host_access::{AccessError, RunDir, SshSession, Target};
use tempfile::TempDir;

/// Long enough for a loaded machine.
pub(crate) const CONNECT: Duration = Duration::from_secs(10);
pub(crate) const RUN: Duration = Duration::from_secs(20);

pub(crate) struct Sshd {
    child: Child,
    directory: TempDir,
    port: u16,
}

impl Sshd {
    pub(crate) fn start() -> Self {
        Self::with_key("ed25519")
    }

    /// With a host key of this type and no other.
    pub(crate) fn with_key(kind: &str) -> Self {
        let directory = TempDir::new().unwrap();
        keygen(kind, &directory.path().join("host"));
        keygen("ed25519", &directory.path().join("user"));
        fs::copy(directory.path().join("user.pub"), directory.path().join("authorized")).unwrap();
        // Someone else may take a port between the look and its use: then the next one.
        for _ in 0..20 {
            let port = free_port();
            if let Some(child) = launch(directory.path(), port) {
                return Self { child, directory, port };
            }
        }
        panic!("no port for sshd");
    }

    /// Shows another host key from the next connection on.
    pub(crate) fn change_host_key(&mut self, kind: &str) {
        self.stop();
        for name in ["host", "host.pub"] {
            fs::remove_file(self.path(name)).unwrap();
        }
        keygen(kind, &self.path("host"));
        self.child = launch(self.directory.path(), self.port).unwrap();
    }

    pub(crate) fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Without its comment, as it is pinned.
    pub(crate) fn host_key(&self) -> String {
        let line = fs::read_to_string(self.path("host.pub")).unwrap();
        line.split(' ').take(2).collect::<Vec<_>>().join(" ").trim().to_owned()
    }

    pub(crate) fn target(&self) -> Target {
        Target {
            address: "127.0.0.1".to_owned(),
            port: self.port,
            user: user(),
            private_key: fs::read_to_string(self.path("user")).unwrap().into(),
            host_keys: Vec::new(),
        }
    }

    pub(crate) fn pinned_target(&self) -> Target {
        Target { host_keys: vec![self.host_key()], ..self.target() }
    }

    pub(crate) async fn session(&self, run_dir: &RunDir) -> SshSession {
        SshSession::connect(run_dir, &self.pinned_target(), CONNECT).await.unwrap()
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A run directory of the test's own; the base goes with the first value.
pub(crate) fn run_dir() -> (TempDir, RunDir) {
    let base = TempDir::new().unwrap();
    let run_dir = RunDir::create(base.path(), "t").unwrap();
    (base, run_dir)
}

pub(crate) async fn refusal(target: &Target) -> AccessError {
    let (_base, run_dir) = run_dir();
    SshSession::connect(&run_dir, target, CONNECT).await.unwrap_err()
}

/// The files named `key` anywhere below.
pub(crate) fn key_files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            found.extend(key_files(&entry.path()));
        } else if entry.file_name() == "key" {
            found.push(entry.path());
        }
    }
    found
}

fn user() -> String {
    let output = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn keygen(kind: &str, path: &Path) {
    let output = Command::new("ssh-keygen")
        .args(["-q", "-N", "", "-C", "test", "-t", kind, "-f"])
        .arg(path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// Starts it and waits until it listens; nothing when the port is taken.
fn launch(directory: &Path, port: u16) -> Option<Child> {
    let path = directory.display();
    let config = directory.join("sshd_config");
    let text = format!(
        "ListenAddress 127.0.0.1:{port}\nHostKey {path}/host\nAuthorizedKeysFile {path}/authorized\n\
         PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n\
         KbdInteractiveAuthentication no\nPermitRootLogin yes\nMaxStartups 50\n"
    );
    fs::write(&config, text).unwrap();
    testbed::sshd::make_privilege_separation_directory();
    let mut child = Command::new("/usr/sbin/sshd")
        .args(["-D", "-e", "-f"])
        .arg(&config)
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssh-server is needed for these tests");
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let listens =
        lines.by_ref().map_while(Result::ok).any(|line| line.contains("Server listening"));
    // Read on, or it would block on a full pipe.
    std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
    if listens {
        return Some(child);
    }
    let _ = child.wait();
    None
}
