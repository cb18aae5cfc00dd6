//! Many hosts at once: all are set up, with no more processes of Ansible than configured.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures_util::{StreamExt as _, stream};
use serde_json::json;
use testbed::sshd::{self, Sshds};
use tokio::time::Instant;

use crate::processes::Form;
use crate::server::Server;

/// Each takes a core two to three seconds. With a bus and a store in between they have more to hold up.
const fn hosts(form: Form) -> usize {
    match form {
        Form::OneProcess => 30,
        Form::Distributed(_) => 200,
    }
}

/// Processes of Ansible at a time.
const PROCESSES: usize = 3;

/// Requests at a time.
const REQUESTS: usize = 50;

/// How long all of it may take.
const PATIENCE: Duration = Duration::from_mins(10);

/// Bytes that our processes may take together, at most, beside the program's own file, which they share: six with
/// a few dozen SSH sessions between them.
const MEMORY: u64 = 100 << 20;

/// In place of the bundled one, which would set this very machine up.
const PLAYBOOK: &str = "
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.raw: echo {{ commissaire_bootstrap_ip }} >>LOG
";

/// The most that was seen at a time.
#[derive(Debug, Default)]
struct Most {
    processes: usize,
    memory: u64,
}

async fn all_hosts_that_arrive_at_once_are_set_up(form: Form) {
    let hosts = hosts(form);
    let (sshds, folder) = (Sshds::start(hosts, sshd::CHEAP_LOGINS), tempfile::tempdir().unwrap());
    let log = folder.path().join("set-up");
    let task = PLAYBOOK.replace("LOG", log.to_str().unwrap());
    std::fs::write(folder.path().join("bootstrap.yaml"), task).unwrap();
    let investigator = json!({"playbook_path": folder.path(), "ansible_processes": PROCESSES});
    let server = Server::start(form, json!({"investigator": investigator})).await;
    server.flannel_cluster().await;
    let key = BASE64.encode(std::fs::read(sshds.key()).unwrap());
    let host = json!({
        "ssh_port": sshds.port(), "remote_user": sshd::user(), "ssh_priv_key": key,
        "cluster": "c1", "bootstrap": "full",
    });
    let done = AtomicBool::new(false);
    let (most, ()) = tokio::join!(watch(&server, &done), async {
        let requests = sshds.addresses().into_iter().map(|address| {
            let (server, host) = (&server, host.clone());
            async move { server.put(&format!("/host/{address}"), host).await }
        });
        let begun = Instant::now();
        stream::iter(requests).buffer_unordered(REQUESTS).for_each(async |_| ()).await;
        eprintln!("{hosts} hosts were registered within {:?}", begun.elapsed());
        for address in sshds.addresses() {
            while !is_set_up(&server, address).await {
                assert!(begun.elapsed() < PATIENCE, "{address} is not set up");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        done.store(true, Ordering::SeqCst);
    });
    eprintln!("{most:?}");
    assert_eq!(most.processes, PROCESSES, "all that were allowed, and never more");
    assert!(most.memory < MEMORY, "{most:?}");
    let log = std::fs::read_to_string(log).unwrap();
    let set_up: BTreeSet<_> = log.lines().collect();
    assert_eq!(set_up, sshds.addresses().into_iter().collect());
    // On a machine that stands still for seconds a lease may be lost, and the host is begun anew.
    let cut_off = server.log().matches("investigation cut off").count();
    assert!(log.lines().count() <= hosts + cut_off, "each once");
    assert_eq!(server.get("/hosts").await.as_array().unwrap().len(), hosts);
    let again = server.log().matches("Cluster c1 has changed since it was read").count();
    assert!(
        again < 3 * hosts,
        "those that join a cluster spoiled each other's tries {again} times"
    );
}

async fn is_set_up(server: &Server, address: &str) -> bool {
    let host = server.get_at_last(&format!("/host/{address}")).await;
    assert_ne!(host["status"], "failed", "{host}");
    host["status"] == "disassociated"
}

/// Looks at our processes and their children until it is done.
async fn watch(server: &Server, done: &AtomicBool) -> Most {
    let (ours, mut most) = (server.processes.pids(), Most::default());
    while !done.load(Ordering::SeqCst) {
        let children = ours.iter().flat_map(|pid| children(*pid));
        most.processes = most.processes.max(children.filter(|pid| is_ansible(*pid)).count());
        most.memory = most.memory.max(ours.iter().map(|pid| resident(*pid)).sum());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    most
}

fn children(parent: u32) -> Vec<u32> {
    let mut found = Vec::new();
    for thread in std::fs::read_dir(format!("/proc/{parent}/task")).unwrap().flatten() {
        let children = std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        found.extend(children.split_whitespace().map(|pid| pid.parse::<u32>().unwrap()));
    }
    found
}

/// One that has just ended is none.
fn is_ansible(pid: u32) -> bool {
    let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split('\0').take(2).any(|word| word.ends_with("ansible-playbook"))
}

fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

forms!(
    both: [],
    one_process: [all_hosts_that_arrive_at_once_are_set_up],
    distributed: [],
    full: [],
);
