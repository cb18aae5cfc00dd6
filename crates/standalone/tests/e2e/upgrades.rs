//! Upgrades and deployments, on hosts with packages and on OSTree hosts.

use serde_json::{Value, json};
use testbed::Testbed;

use crate::moments::{Moment, reached};
use crate::processes::Form;
use crate::server::Server;

mod apt;

const NEWER: &str = "echo 43.1 > /var/lib/stand-in/available";
const BOOTED: &str = "cat /var/lib/stand-in/booted";

/// A cluster `c1` of all hosts, on which nothing is set up: that has tests of its own.
async fn cluster(server: &Server, testbed: &Testbed) {
    server.put("/cluster/c1", json!({})).await;
    for host in 0..testbed.hosts().len() {
        server.register(testbed, host, json!({"cluster": "c1", "bootstrap": "none"})).await;
        let status = server.settled(testbed.address(host).0).await;
        assert_eq!(status["host"]["status"], "disassociated", "{status}");
    }
}

async fn an_upgrade_restarts_ostree_hosts_only(form: Form) {
    let test = "an_upgrade_restarts_ostree_hosts_only";
    let Some(testbed) = Testbed::up_booted(test, &["fedora", "ostree"]) else { return };
    let server = Server::start(form, json!({})).await;
    cluster(&server, &testbed).await;
    testbed.exec(
        0,
        "mkdir -p /var/lib/stand-in && cd /var/lib/stand-in && touch reboot-required && \
         echo kernel >installed && echo kernel 6.5 >updates",
    );
    testbed.exec(1, NEWER);
    let before = [testbed.boot_id(0), testbed.boot_id(1)];
    let accepted = server.put("/cluster/c1/upgrade", json!({})).await;
    assert_eq!(
        accepted,
        json!({"name": "c1", "status": "in_process", "started_at": accepted["started_at"],
               "finished_at": null, "in_process": [], "upgraded": []})
    );
    let record = server.ended("upgrade").await;
    assert_eq!(record["status"], "finished", "{record}");
    assert_eq!(record["upgraded"].as_array().unwrap().len(), 2);
    assert_eq!(testbed.boot_id(0), before[0], "packages: no reboot by default");
    assert!(testbed.exec(0, "cat /var/log/stand-in.log").contains("dnf upgrade -y"));
    let operation = server.operation().await;
    let kernel =
        json!({"name": "kernel.noarch", "before": "1.0-1.stand.in", "after": "6.5-1.stand.in"});
    let packages = json!({"installed": [], "upgraded": [kernel], "removed": [], "total": 1});
    assert_eq!(
        host(&operation, testbed.address(0).0)["result"],
        json!({"packages": packages, "reboot_required": true})
    );
    let result = &host(&operation, testbed.address(1).0)["result"];
    assert_eq!(trees(result), ["41.20250101.0", "43.1"], "{operation}");
    assert_ne!(result["tree"]["before"]["checksum"], result["tree"]["after"]["checksum"]);
    assert_eq!(result["reboot_required"], false);
    assert_ne!(testbed.boot_id(1), before[1], "a new tree has to be booted");
    assert_eq!(testbed.exec(1, BOOTED), "43.1");
    assert_eq!(testbed.events().iter().filter(|event| !event.up).count(), 1, "once");

    // Up to date: nothing is restarted.
    let before = testbed.boot_id(1);
    server.put("/cluster/c1/upgrade", json!({})).await;
    assert_eq!(server.ended("upgrade").await["status"], "finished");
    assert_eq!(testbed.boot_id(1), before);
    let operation = server.operation().await;
    let result = &host(&operation, testbed.address(1).0)["result"];
    assert_eq!(trees(result), ["43.1", "43.1"], "{operation}");
}

/// The versions of the trees before and after.
fn trees(result: &Value) -> [&str; 2] {
    ["before", "after"].map(|when| result["tree"][when]["version"].as_str().unwrap())
}

fn host<'a>(operation: &'a Value, address: &str) -> &'a Value {
    let mut hosts = operation["hosts"].as_array().unwrap().iter();
    hosts.find(|host| host["address"] == address).unwrap()
}

async fn hosts_with_packages_are_restarted_as_told(form: Form) {
    let test = "hosts_with_packages_are_restarted_as_told";
    let Some(testbed) = Testbed::up_booted(test, &["fedora", "fedora"]) else { return };
    let server = Server::start(form, json!({})).await;
    cluster(&server, &testbed).await;
    // Until the next boot, as it is with a kernel that was upgraded.
    testbed.exec(
        0,
        "mkdir -p /var/lib/stand-in && touch /run/kernel && \
         ln -s /run/kernel /var/lib/stand-in/reboot-required",
    );
    let upgraded = async |reboot: &str| {
        let before = [testbed.boot_id(0), testbed.boot_id(1)];
        server.put("/cluster/c1/upgrade", json!({"reboot": reboot})).await;
        let record = server.ended("upgrade").await;
        assert_eq!(record["status"], "finished", "{record}");
        let operation = server.operation().await;
        for index in 0..2 {
            let result = &host(&operation, testbed.address(index).0)["result"];
            assert_eq!(result["reboot_required"], false, "{operation}");
        }
        [testbed.boot_id(0) != before[0], testbed.boot_id(1) != before[1]]
    };
    assert_eq!(upgraded("if-needed").await, [true, false]);
    assert_eq!(upgraded("if-needed").await, [false, false], "not any more");
    assert_eq!(upgraded("always").await, [true, true]);
    assert_eq!(testbed.most_away(), 1);
}

async fn a_deployment_ends_with_the_version_booted(form: Form) {
    let test = "a_deployment_ends_with_the_version_booted";
    let Some(testbed) = Testbed::up_booted(test, &["ostree", "ostree"]) else { return };
    let server = Server::start(form, json!({})).await;
    cluster(&server, &testbed).await;
    server.put("/cluster/c1/deploy", json!({"version": "42.7"})).await;
    let record = server.ended("deploy").await;
    assert_eq!((&record["status"], &record["version"]), (&json!("finished"), &json!("42.7")));
    assert_eq!(record["deployed"].as_array().unwrap().len(), 2);
    assert_eq!([testbed.exec(0, BOOTED), testbed.exec(1, BOOTED)], ["42.7", "42.7"]);
    assert_eq!(testbed.events().iter().filter(|event| !event.up).count(), 2, "each once");
    assert_eq!(testbed.most_away(), 1, "never two away at once");
    let operation = server.operation().await;
    for index in 0..2 {
        let result = &host(&operation, testbed.address(index).0)["result"];
        assert_eq!(trees(result), ["41.20250101.0", "42.7"], "{operation}");
    }
}

async fn a_host_that_cannot_be_deployed_to_or_upgraded_stops_the_roll(form: Form) {
    let test = "a_host_that_cannot_be_deployed_to";
    let Some(testbed) = Testbed::up_booted(test, &["fedora"]) else { return };
    let server = Server::start(form, json!({})).await;
    cluster(&server, &testbed).await;
    let boot = testbed.boot_id(0);
    server.put("/cluster/c1/deploy", json!({"version": "42.7"})).await;
    let record = server.ended("deploy").await;
    let reason = record["failures"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("is no OSTree host"), "{record}");
    assert_eq!(record["status"], "failed");
    // Reachable all the same, so another operation may begin; this one fails in its playbook.
    let path = format!("/host/{}/investigate", testbed.address(0).0);
    server.call(reqwest::Method::POST, &path, json!({})).await;
    assert_eq!(server.settled(testbed.address(0).0).await["host"]["status"], "disassociated");
    testbed.exec(0, "mkdir -p /var/lib/stand-in && echo 'no space left' > /var/lib/stand-in/fail");
    server.put("/cluster/c1/upgrade", json!({})).await;
    let record = server.ended("upgrade").await;
    let failure = &record["failures"][0];
    assert_eq!((&record["status"], &failure["step"]), (&json!("failed"), &json!("apply")));
    let reason = failure["reason"].as_str().unwrap();
    let operation = server.operation().await;
    let unit = format!("commissaire-{}-apply", operation["id"].as_str().unwrap());
    let parts =
        [testbed.address(0).0, "no space left", "exit status 1", &unit, "start the upgrade again"];
    for part in parts {
        assert!(reason.contains(part), "{part:?} in {reason}");
    }
    let said = testbed.exec(0, &format!("cat /var/lib/commissaire/units/{unit}/stderr"));
    assert_eq!(said, "no space left");
    assert_eq!(testbed.boot_id(0), boot);
}

async fn killed_during_an_upgrade(form: Form, moment: Moment) {
    let test = "killed_during_an_upgrade";
    let Some(testbed) = Testbed::up_booted(test, &["ostree"]) else { return };
    let mut server = Server::start(form, json!({"lease-ttl": 8})).await;
    cluster(&server, &testbed).await;
    testbed.exec(0, NEWER);
    server.put("/cluster/c1/upgrade", json!({})).await;
    reached(moment, &server, &testbed).await;
    server.processes.kill_all();
    server.start_again().await;
    let record = server.ended("upgrade").await;
    assert_eq!(record["status"], "finished", "{record}");
    assert_eq!(testbed.exec(0, BOOTED), "43.1");
    assert_eq!(testbed.events().iter().filter(|event| !event.up).count(), 1, "once");
}

async fn killed_while_a_host_is_upgraded(form: Form) {
    killed_during_an_upgrade(form, Moment::Step("apply")).await;
}

async fn killed_when_the_upgraded_host_is_to_be_restarted(form: Form) {
    killed_during_an_upgrade(form, Moment::Step("reboot")).await;
}

async fn killed_while_the_upgraded_host_is_verified(form: Form) {
    killed_during_an_upgrade(form, Moment::Step("verify")).await;
}

forms!(
    both: [],
    one_process: [an_upgrade_restarts_ostree_hosts_only],
    distributed: [
        a_deployment_ends_with_the_version_booted,
        a_host_that_cannot_be_deployed_to_or_upgraded_stops_the_roll
    ],
    full: [
        hosts_with_packages_are_restarted_as_told,
        killed_while_a_host_is_upgraded,
        killed_when_the_upgraded_host_is_to_be_restarted,
        killed_while_the_upgraded_host_is_verified
    ],
);
