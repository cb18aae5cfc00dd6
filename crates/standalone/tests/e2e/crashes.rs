//! kill -9, and SIGTERM, at every stage of the work: it is brought to its end, nothing is done twice.

use std::time::Instant;

use serde_json::{Value, json};
use testbed::Testbed;

use crate::server::{Server, eventually, soon};

/// Leases run out quickly, so that the next start takes over quickly.
fn config() -> Value {
    json!({"lease-ttl": 8})
}

/// The step of a host in the operation, as stored.
fn step(server: &Server, turn: usize) -> Option<String> {
    let operation = server.stored("/commissaire/operations/")?;
    Some(operation["hosts"][turn]["step"].as_str()?.to_owned())
}

/// Kills the server when `moment` has come, starts it again, and checks that in the end each host has
/// been restarted exactly once, one at a time.
async fn killed_during_a_restart(moment: impl Fn(&Server, &Testbed) -> bool) {
    let testbed = Testbed::up(&["debian", "debian"]);
    let mut server = Server::start(config()).await;
    server.cluster(&testbed).await;
    let before = [testbed.boot_id(0), testbed.boot_id(1)];
    server.put("/cluster/c1/restart", json!({})).await;
    soon("the moment to kill it", || moment(&server, &testbed).then_some(())).await;
    server.kill();
    server.start_again().await;

    let record = server.restarted().await;
    assert_eq!(record["status"], "finished", "{record}");
    assert_eq!(record["restarted"].as_array().unwrap().len(), 2, "none is forgotten");
    for (host, before) in before.iter().enumerate() {
        assert_ne!(testbed.boot_id(host), *before);
        let name = testbed.run(&["events", &testbed.hosts()[host]]);
        assert_eq!(name.lines().filter(|line| line.contains("down")).count(), 1, "once: {name}");
    }
    assert_eq!(testbed.most_away(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_right_after_the_acceptance() {
    killed_during_a_restart(|_, _| true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_before_the_reboot_is_asked_for() {
    killed_during_a_restart(|server, _| step(server, 0).as_deref() == Some("reboot")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_right_after_the_reboot_was_asked_for() {
    killed_during_a_restart(|server, _| step(server, 0).as_deref() == Some("verify")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_the_host_is_away() {
    killed_during_a_restart(|_, testbed| testbed.events().iter().any(|event| !event.up)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_between_two_hosts() {
    killed_during_a_restart(|server, _| step(server, 0).as_deref() == Some("done")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn told_to_stop_during_a_restart_it_hands_over() {
    let testbed = Testbed::up(&["debian", "debian"]);
    let mut server = Server::start(json!({"lease-ttl": 60})).await;
    server.cluster(&testbed).await;
    server.put("/cluster/c1/restart", json!({})).await;
    soon("a host is under way", || (step(&server, 0).as_deref() == Some("verify")).then_some(()))
        .await;
    let begin = Instant::now();
    assert!(server.terminate().await.success());
    assert!(begin.elapsed().as_secs() < 30);
    server.start_again().await;
    let record = server.restarted().await;
    assert_eq!(record["status"], "finished", "{record}");
    assert_eq!(testbed.events().iter().filter(|event| !event.up).count(), 2);
    // It did not have to wait for the lease, which lasts a minute.
    assert!(begin.elapsed().as_secs() < 40, "{:?}", begin.elapsed());
}

/// Kills the server at a moment of an investigation, starts it again: the host is set up, and no key
/// file is left behind.
async fn killed_during_an_investigation(moment: impl Fn(&Server) -> bool) {
    let test = "killed_during_an_investigation";
    let Some(testbed) = Testbed::up_booted(test, &["fedora"]) else { return };
    let mut server = Server::start(config()).await;
    server.flannel_cluster().await;
    server.register(&testbed, 0, json!({"cluster": "c1"})).await;
    soon("the moment to kill it", || moment(&server).then_some(())).await;
    let dead = server.pid();
    server.kill();
    server.start_again().await;
    let left = server.run_dir().join(format!("commissaire-{dead}"));
    assert!(!left.exists(), "what the dead process left behind is swept at the start");

    let status = server.settled(testbed.address(0).0).await;
    assert_eq!(status["host"]["status"], "disassociated", "{status}");
    assert!(status["host"]["detail"].as_str().unwrap().starts_with("set up"), "{status}");
    assert_eq!(testbed.exec(0, "systemctl is-active flanneld docker"), "active\nactive");
    let installed = testbed.exec(0, "grep -c 'install -y flannel' /var/log/stand-in.log");
    assert_eq!(installed, "1", "nothing is installed twice");
}

fn host_status(server: &Server) -> Option<String> {
    Some(server.stored("/commissaire/hosts/")?["status"].as_str()?.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_right_after_the_registration() {
    killed_during_an_investigation(|_| true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_when_the_facts_are_known() {
    killed_during_an_investigation(|server| {
        host_status(server).as_deref() == Some("bootstrapping")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_ansible_is_at_work() {
    let set_up = |server: &Server| server.stored("/commissaire/host_state/")?["set_up"].as_bool();
    killed_during_an_investigation(move |server| set_up(server) == Some(true)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_when_docker_has_been_installed() {
    let test = "killed_when_docker_has_been_installed";
    let Some(testbed) = Testbed::up_booted(test, &["fedora"]) else { return };
    let mut server = Server::start(config()).await;
    server.flannel_cluster().await;
    server.register(&testbed, 0, json!({"cluster": "c1"})).await;
    eventually("docker is installed", || async {
        let log = testbed.exec(0, "cat /var/log/stand-in.log 2>/dev/null || true");
        log.contains("install -y docker").then_some(())
    })
    .await;
    server.kill();
    server.start_again().await;
    // What runs there now was begun by us: `auto` goes on with it.
    let status = server.settled(testbed.address(0).0).await;
    assert_eq!(status["host"]["status"], "disassociated", "{status}");
    assert_eq!(testbed.exec(0, "systemctl is-active flanneld docker"), "active\nactive");
}
