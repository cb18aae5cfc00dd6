//! The watcher: a host that is cut off, and rolls that wait for the end of an alarm.

use serde_json::json;
use testbed::Testbed;

use crate::processes::Form;
use crate::server::{Server, eventually};

async fn a_roll_waits_while_too_many_hosts_are_unreachable(form: Form) {
    let members = Testbed::up_light(2);
    let others = Testbed::up_light(4);
    let watcher = json!({"interval": 3, "retry-pauses": [0.5, 1], "alarm-end-after": 1});
    let server = Server::start(form, json!({"watcher": watcher})).await;
    server.cluster(&members).await;
    for host in 0..others.hosts().len() {
        server.register(&others, host, json!({"bootstrap": "none"})).await;
    }
    for host in 0..others.hosts().len() {
        server.settled(others.address(host).0).await;
    }
    for host in others.hosts() {
        others.run(&["kill", host]);
    }
    eventually("an alarm is raised", || async {
        server.get("/cluster/c1").await.get("alarm").cloned()
    })
    .await;
    let before = [members.boot_id(0), members.boot_id(1)];
    server.put("/cluster/c1/restart", json!({})).await;
    let event = server.event("waiting").await;
    assert!(event["detail"].as_str().unwrap().contains("unreachable"), "{event}");
    assert_eq!([members.boot_id(0), members.boot_id(1)], before, "nothing has been restarted");
    for host in others.hosts() {
        others.run(&["start", host]);
    }
    let record = server.restarted().await;
    assert_eq!(record["status"], "finished", "{record}");
    assert_ne!(members.boot_id(0), before[0]);
    assert_eq!(server.log().matches("alarm raised").count(), 1);
}

/// How soon that is shows in paused time, in the watcher's own tests.
async fn a_host_cut_off_fails_and_heals(form: Form) {
    let test = "a_host_cut_off_fails_and_heals";
    let Some(testbed) = Testbed::up_booted(test, &["debian"; 4]) else { return };
    let watcher = json!({"interval": 5, "retry-pauses": [0.5, 1], "connect-timeout": 3});
    let server = Server::start(form, json!({"watcher": watcher})).await;
    server.cluster(&testbed).await;
    let path = format!("/host/{}", testbed.address(0).0);
    let until = async |status: &'static str| {
        eventually(status, async || (server.get(&path).await["status"] == status).then_some(()))
            .await;
    };
    testbed.run(&["cut", &testbed.hosts()[0]]);
    until("failed").await;
    testbed.run(&["heal", &testbed.hosts()[0]]);
    until("disassociated").await;
}

forms!(
    both: [],
    one_process: [a_host_cut_off_fails_and_heals],
    distributed: [],
    full: [a_roll_waits_while_too_many_hosts_are_unreachable],
);
