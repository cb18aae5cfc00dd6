//! `commctl host ssh`, to a real sshd.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Fleet, finish};

/// A server whose one host is an sshd that ends with the test.
struct Host {
    fleet: Fleet,
    folder: TempDir,
    sshd: Child,
    port: u16,
}

impl Host {
    async fn up() -> Self {
        let folder = TempDir::new().unwrap();
        for name in ["host", "other", "user"] {
            let path = folder.path().join(name);
            output(Command::new("ssh-keygen").args(["-qt", "ed25519", "-N", "", "-f"]).arg(path));
        }
        // Somebody else may take a port between the look and its use: then the next one.
        let started = (0..20).find_map(|_| {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            sshd(folder.path(), port).map(|sshd| (sshd, port))
        });
        let (sshd, port) = started.expect("no port for sshd");
        Self { fleet: Fleet::new().await, folder, sshd, port }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What the server says from now on, with this host key pinned.
    async fn known_by(&self, host_key: &str) {
        let user = output(Command::new("id").arg("-un"));
        let creds = json!({
            "address": "127.0.0.1",
            "remote_user": user.trim(),
            "ssh_port": self.port,
            "ssh_priv_key": BASE64.encode(fs::read(self.path("user")).unwrap()),
            "ssh_host_key": fs::read_to_string(self.path(host_key)).unwrap().trim(),
        });
        self.answer(creds).await;
    }

    async fn answer(&self, creds: Value) {
        self.fleet.answers("GET", "host/h1", 200, json!({"address": "h1"})).await;
        self.fleet.answers("GET", "host/h1/creds", 200, creds).await;
    }

    /// `commctl host ssh h1 …`, which also says on standard error where the key is.
    fn ssh(&self, arguments: &[&str]) -> tokio::process::Command {
        let mut command = self.fleet.home.command(&["host", "ssh", "h1", "-v"]);
        command.args(arguments).env("PATH", std::env::var_os("PATH").unwrap());
        command
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.sshd.kill();
        let _ = self.sshd.wait();
    }
}

/// None when it does not get the port.
fn sshd(folder: &Path, port: u16) -> Option<Child> {
    let path = |name: &str| folder.join(name).display().to_string();
    let config = format!(
        "ListenAddress 127.0.0.1:{port}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\n\
         StrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\n",
        path("host"),
        path("user.pub"),
    );
    fs::write(folder.join("config"), config).unwrap();
    // It separates its privileges into this directory, which a service of the system normally makes.
    let _ = fs::create_dir_all("/run/sshd");
    let mut child = Command::new("/usr/sbin/sshd")
        .args(["-D", "-e", "-f"])
        .arg(folder.join("config"))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let listens = lines.any(|line| line.contains("Server listening"));
    // Its words are read to the end, or it would block.
    std::thread::spawn(move || lines.for_each(drop));
    if listens {
        return Some(child);
    }
    let _ = child.wait();
    None
}

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Where `ssh -v` says that it takes the key from.
fn key_file(said: &str) -> PathBuf {
    let lines = said.lines().filter(|line| line.contains("commctl-"));
    let path = lines.flat_map(str::split_whitespace).find(|word| word.ends_with("/key"));
    path.unwrap_or_else(|| panic!("no key file in {said}")).into()
}

#[tokio::test]
async fn a_commands_exit_status_comes_back_and_the_key_is_gone() {
    let host = Host::up().await;
    host.known_by("host.pub").await;
    let child = host.ssh(&["echo \"in $SSH_CONNECTION\"; exit 7"]).spawn().unwrap();
    let run = finish(child).await;
    assert_eq!(run.status, 7, "{}", run.stderr);
    assert!(run.stdout.starts_with("in 127.0.0.1"), "{}", run.stdout);
    let key = key_file(&run.stderr);
    assert!(!key.exists() && !key.parent().unwrap().exists());
}

#[tokio::test]
async fn a_changed_host_key_stops_it() {
    let host = Host::up().await;
    host.known_by("other.pub").await;
    let run = finish(host.ssh(&["touch", "here"]).spawn().unwrap()).await;
    assert_eq!((run.status, run.stdout.as_str()), (255, ""));
    assert!(run.stderr.contains("Host key verification failed"), "{}", run.stderr);
    assert!(!key_file(&run.stderr).exists());
}

#[tokio::test]
async fn the_key_is_gone_after_a_signal() {
    use tokio::io::{AsyncBufReadExt as _, BufReader};
    let host = Host::up().await;
    host.known_by("host.pub").await;
    for (signal, to_ssh, status) in
        [("KILL", true, 137), ("INT", true, 255), ("INT", false, 0), ("TERM", false, 137)]
    {
        // It goes on until its input ends.
        let mut command = host.ssh(&["echo $PPID; cat"]);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let mut input = child.stdin.take();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        lines.next_line().await.unwrap().expect("it is logged in");
        let commctl = child.id().unwrap().to_string();
        let ssh = fs::read_to_string(format!("/proc/{commctl}/task/{commctl}/children")).unwrap();
        let to = if to_ssh { ssh.trim().to_owned() } else { commctl };
        output(Command::new("kill").args(["-s", signal, &to]));
        if signal == "INT" && !to_ssh {
            // The terminal would have sent it to ssh, too, which knows what to do with it.
            input.take();
        }
        let run = finish(child).await;
        assert_eq!(run.status, status, "{signal} {to_ssh}: {}", run.stderr);
        assert!(!key_file(&run.stderr).parent().unwrap().exists(), "{signal} {to_ssh}");
    }
}

#[tokio::test]
async fn a_host_on_the_servers_own_key_is_logged_in_to_with_ours() {
    let host = Host::up().await;
    let key = fs::read_to_string(host.path("host.pub")).unwrap();
    let user = output(Command::new("id").arg("-un"));
    host.answer(json!({"address": "127.0.0.1", "remote_user": user.trim(), "ssh_priv_key": "",
                       "ssh_port": host.port, "ssh_host_key": key}))
        .await;
    let own = host.path("user").display().to_string();
    let run = finish(host.ssh(&["-i", &own, "true"]).spawn().unwrap()).await;
    assert_eq!(run.status, 0, "{}", run.stderr);
}

#[tokio::test]
async fn port_and_user_of_the_command_line_win_over_the_records() {
    let host = Host::up().await;
    let key = BASE64.encode(fs::read(host.path("user")).unwrap());
    let user = output(Command::new("id").arg("-un"));
    let host_key = fs::read_to_string(host.path("host.pub")).unwrap();
    // Neither would be let in, and nothing listens on the port.
    host.answer(
        json!({"address": "127.0.0.1", "remote_user": "nobody-of-that-name", "ssh_port": 1,
                       "ssh_priv_key": key, "ssh_host_key": host_key.trim()}),
    )
    .await;
    let port = host.port.to_string();
    let run = finish(host.ssh(&["-p", &port, "-l", user.trim(), "true"]).spawn().unwrap()).await;
    assert_eq!(run.status, 0, "{}", run.stderr);
    let given = [format!("-oPort={port}"), format!("-oUser={}", user.trim())];
    let run = finish(host.ssh(&[&given[0], &given[1], "true"]).spawn().unwrap()).await;
    assert_eq!(run.status, 0, "{}", run.stderr);
    // Behind the command they belong to it.
    let run = finish(host.ssh(&["-p", &port, "true", "-l", user.trim()]).spawn().unwrap()).await;
    assert_eq!(run.status, 255, "{}", run.stderr);
}

#[tokio::test]
async fn an_unknown_host_is_an_error_of_the_server() {
    let fleet = Fleet::new().await;
    fleet.refuses("GET", "host/10.0.0.9/creds", 404, "there is no host 10.0.0.9").await;
    fleet
        .run("host ssh 10.0.0.9")
        .await
        .failed(1, "error: there is no host 10.0.0.9 (404 Not Found)\n");
}
