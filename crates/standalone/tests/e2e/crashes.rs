//! kill -9 of everything, and SIGTERM, at every stage of the work: it is brought to its end, nothing is
//! done twice.

use serde_json::json;
use testbed::Testbed;

use crate::moments::{Moment, reached};
use crate::processes::Form;
use crate::server::Server;

/// Kills every process when the moment has come, starts them again, and checks that in the end each
/// host has been restarted exactly once, one at a time.
async fn killed_during_a_restart(form: Form, moment: Moment) {
    let testbed = Testbed::up(&["debian", "debian"]);
    // Leases run out quickly, so that the next start takes over quickly.
    let mut server = Server::start(form, json!({"lease-ttl": 8})).await;
    server.cluster(&testbed).await;
    let before = [testbed.boot_id(0), testbed.boot_id(1)];
    server.put("/cluster/c1/restart", json!({})).await;
    reached(moment, &server, &testbed).await;
    server.processes.kill_all();
    server.start_again().await;
    restarted_once_each(&server, &testbed, &before).await;
}

/// Waits for the end of the restart: each host has had one other boot, and never two were away.
pub(crate) async fn restarted_once_each(server: &Server, testbed: &Testbed, before: &[String]) {
    let record = server.restarted().await;
    assert_eq!(record["status"], "finished", "{record}");
    let restarted = record["restarted"].as_array().unwrap().len();
    assert_eq!(restarted, before.len(), "none is forgotten: {record}");
    for (host, before) in before.iter().enumerate() {
        assert_ne!(testbed.boot_id(host), *before);
        let seen = testbed.run(&["events", &testbed.hosts()[host]]);
        assert_eq!(seen.lines().filter(|line| line.contains("down")).count(), 1, "once: {seen}");
    }
    assert_eq!(testbed.most_away(), 1);
}

async fn killed_right_after_the_acceptance(form: Form) {
    killed_during_a_restart(form, Moment::Accepted).await;
}

async fn killed_before_the_reboot_is_asked_for(form: Form) {
    killed_during_a_restart(form, Moment::Step("reboot")).await;
}

async fn killed_right_after_the_reboot_was_asked_for(form: Form) {
    killed_during_a_restart(form, Moment::Step("verify")).await;
}

async fn killed_while_the_host_is_away(form: Form) {
    killed_during_a_restart(form, Moment::Away).await;
}

async fn killed_between_two_hosts(form: Form) {
    killed_during_a_restart(form, Moment::Step("done")).await;
}

async fn told_to_stop_during_a_restart_it_hands_over(form: Form) {
    let testbed = Testbed::up(&["debian", "debian"]);
    // Longer than any wait of a test: nobody may have to wait for it.
    let mut server = Server::start(form, json!({"lease-ttl": 600})).await;
    server.cluster(&testbed).await;
    server.put("/cluster/c1/restart", json!({})).await;
    reached(Moment::Step("verify"), &server, &testbed).await;
    let ends = server.processes.terminate_all().await;
    assert!(ends.iter().all(std::process::ExitStatus::success), "{ends:?}");
    assert!(server.keys_in_use().is_empty(), "{:?}", server.keys_in_use());
    server.start_again().await;
    let record = server.restarted().await;
    assert_eq!(record["status"], "finished", "{record}");
    assert_eq!(testbed.events().iter().filter(|event| !event.up).count(), 2);
}

/// Kills every process at a moment of an investigation, starts them again: the host is set up, and no
/// key file is left behind.
async fn killed_during_an_investigation(form: Form, moment: Moment) {
    let test = "killed_during_an_investigation";
    let Some(testbed) = Testbed::up_booted(test, &["fedora"]) else { return };
    let mut server = Server::start(form, json!({"lease-ttl": 8})).await;
    server.flannel_cluster().await;
    server.register(&testbed, 0, json!({"cluster": "c1"})).await;
    reached(moment, &server, &testbed).await;
    let dead = server.processes.pids();
    server.processes.kill_all();
    server.start_again().await;
    for entry in std::fs::read_dir(server.run_dir()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let of_dead = dead.iter().any(|pid| name.ends_with(&format!("-{pid}")));
        assert!(!of_dead, "what a dead process left behind is swept at the start: {name}");
    }
    set_up_once(&server, &testbed).await;
}

/// Waits until the host is set up: nothing was installed twice.
pub(crate) async fn set_up_once(server: &Server, testbed: &Testbed) {
    let status = server.settled(testbed.address(0).0).await;
    assert_eq!(status["host"]["status"], "disassociated", "{status}");
    assert!(status["host"]["detail"].as_str().unwrap().starts_with("set up"), "{status}");
    assert_eq!(testbed.exec(0, "systemctl is-active flanneld docker"), "active\nactive");
    let installed = testbed.exec(0, "grep -c 'install -y flannel' /var/log/stand-in.log");
    assert_eq!(installed, "1", "nothing is installed twice");
}

async fn killed_right_after_the_registration(form: Form) {
    killed_during_an_investigation(form, Moment::Accepted).await;
}

async fn killed_when_the_facts_are_known(form: Form) {
    killed_during_an_investigation(form, Moment::Facts).await;
}

async fn killed_while_ansible_is_at_work(form: Form) {
    killed_during_an_investigation(form, Moment::SettingUp).await;
}

async fn killed_when_docker_has_been_installed(form: Form) {
    killed_during_an_investigation(form, Moment::Installed("docker")).await;
}

forms!(
    both: [],
    one_process: [
        killed_right_after_the_reboot_was_asked_for,
        told_to_stop_during_a_restart_it_hands_over
    ],
    distributed: [killed_while_ansible_is_at_work],
    full: [
        killed_right_after_the_acceptance,
        killed_before_the_reboot_is_asked_for,
        killed_while_the_host_is_away,
        killed_between_two_hosts,
        killed_right_after_the_registration,
        killed_when_the_facts_are_known,
        killed_when_docker_has_been_installed
    ],
);
