//! Hosts that mean harm: whatever they say costs little, ends in time, and is not carried out.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::time::Duration;

use host_access::{Ansible, FactsError, Playbook, SshSession, Target, gather};
use serde_json::json;
use testbed::sshd::{Sshds, user};
use tokio::time::Instant;

use crate::sshd::{CONNECT, RUN, Sshd, key_files, refusal, run_dir};

/// Bytes of memory that a host may cost at most, whatever it sends.
const MEMORY: u64 = 32 << 20;

/// MiB that a process of a playbook may use; about twice what it needs.
const PLAYBOOK_MEMORY: u64 = 128;

/// Far more than the seconds until that is used up.
const HANG: Duration = Duration::from_mins(4);

/// What is made of the facts of a host that answers every command with the output of `command`.
async fn facts(command: &str, deadline: Duration) -> FactsError {
    let sshds = Sshds::start(1, &format!("ForceCommand {command}"));
    let (_base, run_dir) = run_dir();
    let session = SshSession::connect(&run_dir, &target(&sshds), CONNECT).await.unwrap();
    gather(&session, deadline).await.unwrap_err()
}

pub(crate) fn target(sshds: &Sshds) -> Target {
    Target {
        address: sshds.addresses()[0].to_owned(),
        port: sshds.port(),
        user: user(),
        private_key: fs::read_to_string(sshds.key()).unwrap().into(),
        host_keys: vec![sshds.host_key()],
    }
}

/// A listener that sends this, again and again, to whoever connects.
fn listener(text: &'static [u8]) -> Target {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || while stream.write_all(text).is_ok() {});
        }
    });
    Target { port, ..Sshd::start().target() }
}

/// The most memory that this process has had, in bytes.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[tokio::test]
async fn endless_output_is_cut_off_and_not_kept() {
    let before = peak();
    let error = facts("yes commissaire", RUN).await;
    assert_eq!((error.reason().word(), error.heals()), ("too-much-output", false), "{error}");
    assert!(peak() - before < MEMORY);
}

/// Ansible keeps what a host sends in memory.
#[tokio::test]
async fn endless_output_of_a_playbook_costs_no_more_than_its_memory() {
    let sshds = Sshds::start(1, "ForceCommand yes commissaire");
    let (_base, run_dir) = run_dir();
    let session = SshSession::connect(&run_dir, &target(&sshds), CONNECT).await.unwrap();
    let vars = json!({"commissaire_boot_id": "b"}).as_object().unwrap().clone();
    let ansible = Ansible::new(None).with_memory(PLAYBOOK_MEMORY);
    // Without Python on the host, as operations use it.
    let run = ansible.run(&run_dir, &session, Playbook::Restart, &vars, HANG, |_| {});
    let error = run.await.unwrap_err();
    assert_eq!((error.reason().word(), error.heals()), ("out-of-memory", false), "{error}");
    assert!(error.to_string().contains("needed more than 128 MiB"), "{error}");
}

#[tokio::test]
async fn a_shell_that_hangs_costs_the_deadline() {
    let begun = Instant::now();
    let error = facts("sleep 600", Duration::from_secs(1)).await;
    assert_eq!(error.reason().word(), "timeout", "{error}");
    assert!(begun.elapsed() < CONNECT * 10, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn binary_garbage_is_no_facts() {
    let error = facts("head -c 60000 /dev/urandom", RUN).await;
    assert_eq!(error.reason().word(), "unknown-os", "{error}");
    assert!(error.to_string().chars().all(|letter| !letter.is_control()), "{error:?}");
}

#[tokio::test]
async fn a_megabyte_before_the_log_in_is_not_read_to_its_end() {
    let before = peak();
    for text in [&b"SSH\n"[..], b"no end of a line ", b"\0\xff\x1b[2J"] {
        let begun = Instant::now();
        let error = refusal(&listener(text)).await;
        assert!(begun.elapsed() < CONNECT * 10, "{:?}", begun.elapsed());
        assert!(error.to_string().len() < 1000, "{error}");
        assert!(error.to_string().chars().all(|letter| !letter.is_control()), "{error:?}");
    }
    assert!(peak() - before < MEMORY);
}

#[tokio::test]
async fn a_banner_as_long_as_sshd_sends_hides_nothing() {
    let folder = tempfile::TempDir::new().unwrap();
    let banner = folder.path().join("banner");
    fs::write(&banner, "Permission denied. Host key verification failed.\n".repeat(4_000)).unwrap();
    let sshds = Sshds::start(1, &format!("Banner {}", banner.display()));
    let (_base, run_dir) = run_dir();
    let session = SshSession::connect(&run_dir, &target(&sshds), CONNECT).await.unwrap();
    assert_eq!(session.run("echo well", RUN).await.unwrap().stdout, "well\n");
    let stranger = Target { private_key: Sshd::start().target().private_key, ..target(&sshds) };
    let error = refusal(&stranger).await;
    assert_eq!(error.reason().word(), "auth-refused", "{error}");
    assert!(error.to_string().len() < 1000, "{error}");
}

#[tokio::test]
async fn shell_code_in_os_release_is_not_carried_out() {
    let folder = tempfile::TempDir::new().unwrap();
    let (answer, trap) = (folder.path().join("answer"), folder.path().join("trap"));
    let code = format!("$(touch {0}); `touch {0}`; touch {0}", trap.display());
    let said = format!(
        "os-release: ID=\"{code}\"\nos-release: VERSION_ID='{code}'\nos-release: touch {}\nboot-id: {code}\n\
         machine: {code}\npython: {code}\nrunning: {code}\n",
        trap.display()
    );
    for text in [said.clone(), format!("os-release: ID=debian\n{said}")] {
        fs::write(&answer, text).unwrap();
        let error = facts(&format!("cat {}", answer.display()), RUN).await;
        assert!(["unknown-os", "no-facts"].contains(&error.reason().word()), "{error}");
        assert!(!trap.exists());
    }
}

#[tokio::test]
async fn nothing_is_left_of_the_key_whatever_the_host_does() {
    let (_base, run_dir) = run_dir();
    for options in ["ForceCommand yes", "ForceCommand kill -9 $PPID", "MaxSessions 0"] {
        let sshds = Sshds::start(1, options);
        if let Ok(session) = SshSession::connect(&run_dir, &target(&sshds), CONNECT).await {
            gather(&session, RUN).await.unwrap_err();
            session.close().await;
        }
        assert_eq!(key_files(run_dir.path()).len(), 0, "{options}");
    }
}
