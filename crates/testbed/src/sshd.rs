//! Plain `sshd`s of this machine for Rust tests: many addresses for little, and any option.
//!
//! Whatever goes wrong here is the end of the test, so it panics, saying what.

use std::fs::{self, File};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// As many addresses as one `sshd` listens on.
const ADDRESSES: usize = 16;

/// An option for hundreds of log-ins: the usual exchange of keys takes the client a tenth of a second of a core.
pub const CHEAP_LOGINS: &str = "KexAlgorithms curve25519-sha256";

/// How long an `sshd` may take to start.
const PATIENCE: Duration = Duration::from_secs(20);

/// So that no two in a process share addresses.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// `sshd`s that share a port, a host key and the key that they let in; gone when this is dropped, and when
/// the process dies.
#[derive(Debug)]
pub struct Sshds {
    servers: Vec<Server>,
    port: u16,
    folder: tempfile::TempDir,
}

#[derive(Debug)]
struct Server {
    child: Child,
    addresses: Vec<String>,
    log: PathBuf,
}

impl Sshds {
    /// As many as so many loopback addresses need; `options` are lines of `sshd_config`.
    ///
    /// # Panics
    /// When it does not work.
    pub fn start(addresses: usize, options: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("sd").tempdir().expect("a temporary folder");
        for name in ["host", "key"] {
            keygen(&folder.path().join(name));
        }
        // What a developer's shell does at its start would be done for each command, and measured.
        fs::create_dir(folder.path().join("home")).expect("a home for those who log in");
        let net = format!(
            "127.{}.{}",
            64 + std::process::id() % 128,
            NEXT.fetch_add(1, Ordering::Relaxed) * 8
        );
        let all: Vec<_> = (0..addresses).map(|n| address(&net, n)).collect();
        // Somebody else may take the port between the look and its use: then the next one.
        for _ in 0..20 {
            let port = free_port(&all[0]);
            let chunks = all.chunks(ADDRESSES).enumerate();
            let servers =
                chunks.map(|(number, part)| launch(folder.path(), number, part, port, options));
            if let Some(servers) = servers.collect() {
                return Self { servers, port, folder };
            }
        }
        panic!("no port for sshd");
    }

    /// All addresses.
    pub fn addresses(&self) -> Vec<&str> {
        let addresses = self.servers.iter().flat_map(|server| &server.addresses);
        addresses.map(String::as_str).collect()
    }

    /// The port, at each of the addresses.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The path of the private key that is let in as the user who runs this.
    pub fn key(&self) -> PathBuf {
        self.folder.path().join("key")
    }

    /// The host key as it is pinned.
    ///
    /// # Panics
    /// When it cannot be read.
    pub fn host_key(&self) -> String {
        let line = fs::read_to_string(self.folder.path().join("host.pub")).expect("the host key");
        line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
    }

    /// Connections to the first address that say nothing, each of them greeted: they count before a log-in.
    ///
    /// # Panics
    /// When one is turned away.
    pub fn occupy(&self, count: usize) -> Vec<TcpStream> {
        let address = (self.addresses()[0], self.port);
        let connect = |_| {
            let connection = TcpStream::connect(address).expect("a connection");
            let greeted = connection.peek(&mut [0]).expect("a greeting");
            assert_eq!(greeted, 1, "it is turned away");
            connection
        };
        (0..count).map(connect).collect()
    }

    /// The files that they log to.
    pub fn logs(&self) -> impl Iterator<Item = &Path> {
        self.servers.iter().map(|server| server.log.as_path())
    }

    /// What all of them have logged.
    ///
    /// # Panics
    /// When it cannot be read.
    pub fn log(&self) -> String {
        self.logs().map(|log| fs::read_to_string(log).expect("the log of an sshd")).collect()
    }
}

impl Drop for Sshds {
    fn drop(&mut self) {
        for Server { child, .. } in &mut self.servers {
            // It fails only when the process is gone, which is what is wanted.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// The name of the user who runs this.
///
/// # Panics
/// When nobody knows.
pub fn user() -> String {
    let output = Command::new("id").arg("-un").output().expect("id can be started");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Makes the directory without which an `sshd` of root does not start. Normally the system's own service makes it,
/// which need not have run here; one of another user needs no such directory, and cannot make it.
///
/// # Panics
/// When root cannot make it.
pub fn make_privilege_separation_directory() {
    let made = fs::create_dir_all("/run/sshd");
    assert!(made.is_ok() || user() != "root", "cannot make /run/sshd: {made:?}");
}

/// Whether the `sshd` of this machine knows an option with this value.
///
/// # Panics
/// When it cannot be started.
pub fn knows(option: &str) -> bool {
    let mut command = Command::new("/usr/sbin/sshd");
    command.args(["-G", "-f", "/dev/null", "-o", option]);
    let known = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    known.expect("openssh-server is needed").success()
}

fn address(net: &str, number: usize) -> String {
    let (net, third) = net.rsplit_once('.').expect("three numbers");
    let third: usize = third.parse().expect("a number");
    format!("{net}.{}.{}", (third + number / 250) % 256, 1 + number % 250)
}

fn free_port(address: &str) -> u16 {
    let listener = std::net::TcpListener::bind((address, 0)).expect("a loopback address");
    listener.local_addr().expect("its port").port()
}

fn keygen(path: &Path) {
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-N", "", "-C", "test", "-t", "ed25519", "-f"]).arg(path);
    assert!(command.status().expect("ssh-keygen can be started").success(), "no key");
}

/// Starts one and waits until it listens everywhere; nothing when the port is taken somewhere.
fn launch(
    folder: &Path,
    number: usize,
    addresses: &[String],
    port: u16,
    options: &str,
) -> Option<Server> {
    let (path, log) = (folder.display(), folder.join(format!("log-{number}")));
    let config = folder.join(format!("config-{number}"));
    let listen = addresses.iter().map(|address| format!("ListenAddress {address}:{port}\n"));
    // The first value of an option is the one that counts, but for this one.
    let many = if options.contains("MaxStartups") { "" } else { "MaxStartups 1000\n" };
    let text = format!(
        "{options}\n{}HostKey {path}/host\nAuthorizedKeysFile {path}/key.pub\nPidFile none\n\
         StrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
         PermitRootLogin yes\nSetEnv HOME={path}/home\n{many}",
        listen.collect::<String>()
    );
    fs::write(&config, text).expect("the configuration of an sshd");
    let stderr = File::create(&log).expect("the log of an sshd");
    make_privilege_separation_directory();
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", "/usr/sbin/sshd", "-D", "-e", "-f"]).arg(config);
    let child = command.stdin(Stdio::null()).stderr(stderr).spawn();
    let mut child = child.expect("openssh-server and setpriv are needed");
    let begun = Instant::now();
    loop {
        let said = fs::read_to_string(&log).expect("the log of an sshd");
        if said.matches("Server listening").count() == addresses.len() {
            return Some(Server { child, addresses: addresses.to_vec(), log });
        }
        let ended = child.try_wait().expect("an sshd can be waited for").is_some();
        assert!(begun.elapsed() < PATIENCE, "sshd does not start: {said}");
        if ended || said.contains("Bind to port") {
            assert!(said.contains("in use"), "sshd does not start: {said}");
            drop(child.kill());
            drop(child.wait());
            return None;
        }
        #[expect(clippy::disallowed_methods, reason = "it is started before any runtime")]
        std::thread::sleep(Duration::from_millis(5));
    }
}
