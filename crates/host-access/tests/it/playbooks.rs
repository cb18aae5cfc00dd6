//! Playbooks, run by the real `ansible-playbook`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use host_access::{Ansible, Playbook, PlaybookError, SshSession, TaskEvent, TaskOutcome};
use serde_json::{Map, Value, json};

use crate::sshd::{Sshd, key_files, run_dir};

const DEADLINE: Duration = Duration::from_secs(90);

fn vars(value: Value) -> Map<String, Value> {
    let Value::Object(vars) = value else { panic!("an object") };
    vars
}

/// A directory of playbooks with this one as `check_host_availability.yaml`.
fn playbooks(text: &str) -> tempfile::TempDir {
    let directory = tempfile::TempDir::new().unwrap();
    fs::write(directory.path().join("check_host_availability.yaml"), text).unwrap();
    directory
}

struct Ran {
    result: Result<host_access::Summary, PlaybookError>,
    events: Vec<TaskEvent>,
}

async fn run(path: Option<&Path>, playbook: Playbook, given: Value, deadline: Duration) -> Ran {
    let sshd = Sshd::start();
    let (_base, run_dir) = run_dir();
    let session: SshSession = sshd.session(&run_dir).await;
    let ansible = Ansible::new(path.map(Path::to_owned));
    let mut events = Vec::new();
    let result = ansible
        .run(&run_dir, &session, playbook, &vars(given), deadline, |event| events.push(event))
        .await;
    session.close().await;
    assert_eq!(key_files(run_dir.path()).len(), 0);
    Ran { result, events }
}

#[tokio::test]
async fn a_success_with_its_events() {
    let ran = run(None, Playbook::CheckHostAvailability, json!({}), DEADLINE).await;
    assert_eq!(ran.result.unwrap().ok, 1);
    let [event] = ran.events.as_slice() else { panic!("{:?}", ran.events) };
    assert_eq!((event.task.as_str(), event.outcome), ("Ping", TaskOutcome::Ok));
}

#[tokio::test]
async fn every_outcome_has_its_event_and_a_failure_its_message() {
    let directory = playbooks(
        "
- hosts: all
  gather_facts: false
  tasks:
    - name: Change
      ansible.builtin.command: echo hello
    - name: Skip
      ansible.builtin.command: 'false'
      when: false
    - name: Ignore
      ansible.builtin.command: 'false'
      ignore_errors: true
    - name: Hide
      ansible.builtin.debug:
        msg: s3cret
      no_log: true
    - name: Loop
      ansible.builtin.shell: \"echo {{ item }} is bad >&2; exit {{ item }}\"
      loop: [0, 3]
    - name: Never
      ansible.builtin.ping:
",
    );
    let ran =
        run(Some(directory.path()), Playbook::CheckHostAvailability, json!({}), DEADLINE).await;
    let outcomes: Vec<_> =
        ran.events.iter().map(|event| (event.task.as_str(), event.outcome)).collect();
    assert_eq!(
        outcomes,
        [
            ("Change", TaskOutcome::Changed),
            ("Skip", TaskOutcome::Skipped),
            ("Ignore", TaskOutcome::Failed),
            ("Hide", TaskOutcome::Ok),
            ("Loop", TaskOutcome::Failed),
        ]
    );
    assert!(ran.events[2].ignored);
    assert!(!ran.events[3].message.contains("s3cret"));
    let Err(PlaybookError::Failed { task, message, .. }) = ran.result else { panic!() };
    assert_eq!(task, "Loop");
    assert!(message.contains("3 is bad"), "{message}");
}

#[tokio::test]
async fn a_deadline_ends_the_playbook() {
    let directory = playbooks(
        "
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.raw: sleep 600
",
    );
    let deadline = Duration::from_secs(3);
    let ran =
        run(Some(directory.path()), Playbook::CheckHostAvailability, json!({}), deadline).await;
    assert!(matches!(ran.result, Err(PlaybookError::Timeout { .. })));
}

#[tokio::test]
async fn a_playbook_that_is_not_there_is_named() {
    let directory = tempfile::TempDir::new().unwrap();
    let ran = run(Some(directory.path()), Playbook::Deploy, json!({}), DEADLINE).await;
    let error = ran.result.unwrap_err();
    assert_eq!(error.reason().word(), "playbook-broken");
    assert!(error.to_string().contains("deploy.yaml"), "{error}");
}

#[tokio::test]
async fn a_restart_is_asked_for_only_in_the_boot_it_was_meant_for() {
    let base = tempfile::TempDir::new().unwrap();
    let mark = base.path().join("restarted");
    let command = format!("touch {}", mark.display());
    let other = json!({ "commissaire_boot_id": "other", "commissaire_restart_command": command });
    let ran = run(None, Playbook::Restart, other, DEADLINE).await;
    assert_eq!(ran.result.unwrap().changed, 0);
    assert!(!mark.exists());

    let current = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let this =
        json!({ "commissaire_boot_id": current.trim(), "commissaire_restart_command": command });
    let ran = run(None, Playbook::Restart, this, DEADLINE).await;
    assert_eq!(ran.result.unwrap().changed, 1);
    let wait = async {
        while !mark.exists() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.unwrap();
}

#[tokio::test]
async fn deploying_needs_an_ostree_host() {
    let given = json!({ "commissaire_deploy_version": "7.2.6" });
    let ran = run(None, Playbook::Deploy, given, DEADLINE).await;
    let Err(PlaybookError::Failed { message, .. }) = ran.result else { panic!() };
    assert!(message.contains("OSTree hosts only"), "{message}");
}

#[tokio::test]
async fn a_host_whose_python_does_not_fit_is_refused_before_it_is_touched() {
    let ansible = Ansible::new(None);
    assert!(ansible.version().await.is_ok(), "ansible-core is needed for these tests");
    assert_eq!(ansible.check(None).await.unwrap_err().reason().word(), "no-python");
    assert!(ansible.check(Some((3, 9))).await.is_ok());
}

#[tokio::test]
async fn a_dropped_run_leaves_no_process_behind() {
    let directory = playbooks(
        "
- hosts: all
  gather_facts: false
  tasks:
    - name: Begin
      ansible.builtin.raw: 'true'
    - name: Stay
      ansible.builtin.raw: sleep 600
",
    );
    let sshd = Sshd::start();
    let (_base, run_dir) = run_dir();
    let session = sshd.session(&run_dir).await;
    let ansible = Ansible::new(Some(directory.path().to_owned()));
    let (begun, mut waiting) = tokio::sync::mpsc::unbounded_channel();
    let none = Map::new();
    let playbook = Playbook::CheckHostAvailability;
    let run = ansible.run(&run_dir, &session, playbook, &none, DEADLINE, move |_| {
        begun.send(()).unwrap();
    });
    tokio::select! {
        ended = run => panic!("{ended:?}"),
        begun = waiting.recv() => begun.unwrap(),
    }
    drop(session);
    let gone = async {
        while !processes_naming(run_dir.path()).is_empty() {
            tokio::task::yield_now().await;
        }
    };
    let gone = tokio::time::timeout(Duration::from_secs(10), gone).await;
    assert!(gone.is_ok(), "{:?}", processes_naming(run_dir.path()));
}

/// The command lines that hold this path.
fn processes_naming(path: &Path) -> Vec<String> {
    let lines = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let bytes = fs::read(entry.ok()?.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&bytes).replace('\0', " "))
    });
    lines.filter(|line| line.contains(path.to_str().unwrap())).collect()
}
