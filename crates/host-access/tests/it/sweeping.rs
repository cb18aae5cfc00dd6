//! What a killed process leaves behind, and who cleans up after it.

use std::fs::Permissions;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use host_access::{Ansible, Playbook, RunDir, SshSession};
use serde_json::Map;
use tempfile::TempDir;
use tokio::time::Instant;

use crate::sshd::{CONNECT, Sshd, key_files};

/// Names the base directory and the directory of the `sshd` for the child process.
const BASE: &str = "HOST_ACCESS_TEST_BASE";
const PORT: &str = "HOST_ACCESS_TEST_PORT";
const KEY: &str = "HOST_ACCESS_TEST_KEY";
const PLAYBOOKS: &str = "HOST_ACCESS_TEST_PLAYBOOKS";

/// How long starting a playbook may take on a loaded machine.
const PATIENCE: Duration = Duration::from_mins(1);

#[test]
fn the_next_process_sweeps_what_a_killed_one_left() {
    let sshd = Sshd::start();
    let base = TempDir::new().unwrap();
    // Nothing may rest on who started the process.
    let mut owner = Command::new("sh")
        .args(["-c", "umask 0; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "sweeping::owner_that_gets_killed", "--ignored", "--nocapture"])
        .env(BASE, base.path())
        .env(PORT, sshd.target().port.to_string())
        .env(KEY, sshd.path("user"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(owner.stdout.take().unwrap()).lines();
    let master = lines.find_map(|line| Some(line.ok()?.strip_prefix("master ")?.to_owned()));
    let master = master.expect("the child logs in");
    assert_eq!(key_files(base.path()).len(), 1);
    for path in key_files(base.path())[0].ancestors().take_while(|path| *path != base.path()) {
        let mode = std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode & 0o077, 0, "{}: {mode:o}", path.display());
    }
    let alive = RunDir::create(base.path(), "watching").unwrap();
    assert_eq!(key_files(base.path()).len(), 1, "a living process's files stay");

    owner.kill().unwrap();
    owner.wait().unwrap();
    // Its connection dies with it, without anyone's help.
    let process = format!("/proc/{master}");
    while Path::new(&process).exists() && !is_zombie(&process) {
        std::thread::yield_now();
    }
    assert_eq!(key_files(base.path()).len(), 1, "nobody was there to remove it");

    let _next = RunDir::create(base.path(), "next").unwrap();
    assert_eq!(key_files(base.path()).len(), 0);
    assert!(alive.path().exists());
}

#[tokio::test]
#[ignore = "not a test: the process that the_next_process_sweeps_what_a_killed_one_left kills"]
async fn owner_that_gets_killed() {
    let (_run_dir, session) = owner().await;
    println!("\nmaster {}", master_of(&session));
    std::future::pending::<()>().await;
}

fn value(name: &str) -> String {
    std::env::var_os(name).unwrap().into_string().unwrap()
}

/// A process's directory, and its session on the test's `sshd`.
async fn owner() -> (RunDir, SshSession) {
    let run_dir = RunDir::create(Path::new(&value(BASE)), "owner").unwrap();
    let sshd_target = host_access::Target {
        address: "127.0.0.1".into(),
        port: value(PORT).parse().unwrap(),
        user: String::from_utf8(Command::new("id").arg("-un").output().unwrap().stdout)
            .unwrap()
            .trim()
            .to_owned(),
        private_key: std::fs::read_to_string(value(KEY)).unwrap().into(),
        host_keys: Vec::new(),
    };
    let session = SshSession::connect(&run_dir, &sshd_target, CONNECT).await.unwrap();
    (run_dir, session)
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The process id of the session's `ssh`, from the control socket's owner.
fn master_of(session: &SshSession) -> String {
    let check = Command::new("ssh")
        .arg("-F")
        .arg(session.ssh_config())
        .args(["-O", "check", SshSession::HOST])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&check.stderr).into_owned();
    text.split_once("pid=").and_then(|(_, rest)| rest.split_once(')')).unwrap().0.to_owned()
}

fn is_zombie(process: &str) -> bool {
    let stat = std::fs::read_to_string(format!("{process}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with('Z'))
}

/// Stays on the controller, in a worker of `ansible-playbook`; it writes into its directory again and again.
const STAYS: &str = "
- hosts: all
  gather_facts: false
  connection: local
  tasks:
    - name: Stay
      ansible.builtin.raw: |
        echo $$ $PPID >@BASE@/staying.new && mv @BASE@/staying.new @BASE@/staying
        for _ in $(seq 6000); do mkdir -p \"$ANSIBLE_HOME\"/again; sleep 0.01; done
";

#[test]
fn playbooks_of_a_killed_process_end_before_its_directory_is_removed() {
    let sshd = Sshd::start();
    let (base, scratch) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let text = STAYS.replace("@BASE@", scratch.path().to_str().unwrap());
    std::fs::write(scratch.path().join("bootstrap.yaml"), text).unwrap();
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "sweeping::owner_that_gets_killed_while_it_plays", "--ignored"])
        .env(BASE, base.path())
        .env(PORT, sshd.target().port.to_string())
        .env(KEY, sshd.path("user"))
        .env(PLAYBOOKS, scratch.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let staying = scratch.path().join("staying");
    until("the playbook stays", || staying.exists());
    let staying = std::fs::read_to_string(staying).unwrap();
    let staying: Vec<_> = staying.split_whitespace().map(|pid| format!("/proc/{pid}")).collect();
    let directory = base.path().join(format!("owner-{}", owner.id()));
    owner.kill().unwrap();
    owner.wait().unwrap();
    assert!(staying.iter().all(|process| !is_zombie(process)), "workers outlive their owner");

    let _next = RunDir::create(base.path(), "next").unwrap();
    assert!(staying.iter().all(|process| is_zombie(process)), "{staying:?}");
    assert!(!directory.exists());
}

#[tokio::test]
#[ignore = "not a test: the process that playbooks_of_a_killed_process_… kills"]
async fn owner_that_gets_killed_while_it_plays() {
    let (run_dir, session) = owner().await;
    let ansible = Ansible::new(Some(value(PLAYBOOKS).into()));
    let (none, deadline) = (Map::new(), Duration::from_secs(90));
    let run = ansible.run(&run_dir, &session, Playbook::Bootstrap, &none, deadline, |_| ());
    run.await.unwrap();
}

#[test]
fn what_lost_its_lock_is_swept_and_what_is_not_ours_stays() {
    let base = TempDir::new().unwrap();
    let paths = ["next-17/3", "other-17/3", "next-x/3"].map(|name| base.path().join(name));
    for path in &paths {
        std::fs::create_dir_all(path).unwrap();
        std::fs::write(path.join("key"), "secret").unwrap();
    }
    let _next = RunDir::create(base.path(), "next").unwrap();
    assert_eq!(paths.map(|path| path.exists()), [false, true, true]);
    assert!(!base.path().join("next-17").exists());
}

#[test]
fn a_directory_in_use_is_not_given_twice() {
    let base = TempDir::new().unwrap();
    let first = RunDir::create(base.path(), "t").unwrap();
    assert!(RunDir::create(base.path(), "t").is_err());
    let path = first.path().to_owned();
    drop(first);
    assert!(!path.exists());
    assert!(RunDir::create(base.path(), "t").is_ok());
}

#[test]
fn a_base_that_cannot_hold_a_socket_is_refused() {
    let base = TempDir::new().unwrap();
    let long = base.path().join("x".repeat(60));
    let error = RunDir::create(&long, "t").unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("too long"), "{source}");
    assert!(RunDir::create(&base.path().join("a b"), "t").is_err());
}

#[test]
fn a_base_that_others_can_change_is_refused() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    for name in ["own", "shared"] {
        std::fs::create_dir(path(name)).unwrap();
    }
    std::fs::set_permissions(path("shared"), Permissions::from_mode(0o770)).unwrap();
    std::os::unix::fs::symlink(path("own"), path("link")).unwrap();
    // Only root can change the owner of a directory; for other users, the root directory has a different owner.
    let foreign = if rustix::process::geteuid().is_root() {
        std::fs::create_dir(path("foreign")).unwrap();
        std::os::unix::fs::chown(path("foreign"), Some(65534), None).unwrap();
        path("foreign")
    } else {
        PathBuf::from("/")
    };
    for (base, says) in [
        (path("shared"), "can be written by others"),
        (path("link"), "symbolic link"),
        (path("link/"), "symbolic link"),
        (foreign, "belongs to the user id"),
    ] {
        let error = RunDir::create(&base, "t").unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains(says), "{source}");
    }
    assert_eq!(std::fs::read_dir(path("own")).unwrap().count(), 0, "nothing is made in it");
    assert!(RunDir::create(&path("own/"), "t").is_ok());
}
