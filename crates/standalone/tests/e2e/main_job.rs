//! The main job: register hosts, set them up, restart the cluster.

use reqwest::{Method, StatusCode};
use serde_json::json;
use testbed::Testbed;

use crate::processes::Form;
use crate::server::Server;

async fn a_cluster_is_registered_set_up_and_restarted_one_host_at_a_time(form: Form) {
    let testbed = Testbed::up(&["debian", "debian", "debian"]);
    let server = Server::start(form, json!({})).await;
    server.cluster(&testbed).await;
    let cluster = server.get("/cluster/c1").await;
    assert_eq!((&cluster["status"], &cluster["hosts"]["available"]), (&json!("ok"), &json!(3)));

    let before: Vec<_> = (0..3).map(|host| testbed.boot_id(host)).collect();
    let accepted = server.put("/cluster/c1/restart", json!({})).await;
    assert_eq!(
        accepted,
        json!({"name": "c1", "status": "in_process", "started_at": accepted["started_at"],
               "finished_at": null, "in_process": [], "restarted": []})
    );
    let (status, refusal) = server.call(Method::PUT, "/cluster/c1/restart", json!({})).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(refusal["detail"].as_str().unwrap().contains("in process already"), "{refusal}");
    for path in ["/cluster/c1", &format!("/host/{}", testbed.address(2).0)] {
        let (status, _) = server.call(Method::DELETE, path, json!({})).await;
        assert_eq!(status, StatusCode::CONFLICT, "{path} is under operation");
    }

    let record = server.restarted().await;
    assert_eq!((&record["status"], &record["in_process"]), (&json!("finished"), &json!([])));
    let mut addresses: Vec<_> = (0..3).map(|host| testbed.address(host).0).collect();
    addresses.sort_unstable();
    assert_eq!(record["restarted"], json!(addresses));
    for (host, before) in before.iter().enumerate() {
        assert_ne!(testbed.boot_id(host), *before, "host {host} has been restarted");
    }
    assert_eq!(testbed.events().iter().filter(|event| !event.up).count(), 3, "each once");
    assert_eq!(testbed.most_away(), 1, "never two away at once");
    let (status, _) = server.call(Method::DELETE, "/cluster/c1", json!({})).await;
    assert_eq!(status, StatusCode::OK, "the lock is released");
}

async fn a_red_hat_host_gets_flannel_and_docker_and_a_second_look_changes_nothing(form: Form) {
    let test = "a_red_hat_host_gets_flannel_and_docker";
    let Some(testbed) = Testbed::up_booted(test, &["fedora"]) else { return };
    let server = Server::start(form, json!({})).await;
    server.flannel_cluster().await;
    let address = testbed.address(0).0;
    server.register(&testbed, 0, json!({"cluster": "c1"})).await;
    let status = server.settled(address).await;
    assert_eq!(status["host"]["status"], "disassociated", "{status}");
    assert_eq!(server.get(&format!("/host/{address}")).await["os"], "fedora");

    let flannel = testbed.exec(0, "cat /etc/sysconfig/flanneld");
    assert!(flannel.contains("--remote=192.168.152.1:8888"), "{flannel}");
    assert_eq!(testbed.exec(0, "systemctl is-active flanneld docker"), "active\nactive");
    assert_eq!(testbed.exec(0, "systemctl is-enabled flanneld docker"), "enabled\nenabled");
    let pids = "systemctl show --property MainPID flanneld docker";
    let installs = "grep -o 'install -y .*' /var/log/stand-in.log";
    let (installed, running) = (testbed.exec(0, installs), testbed.exec(0, pids));
    assert!(installed.contains("install -y flannel") && installed.contains("install -y docker"));

    let (status, _) =
        server.call(Method::POST, &format!("/host/{address}/investigate"), json!({})).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    assert_eq!(server.settled(address).await["host"]["status"], "disassociated");
    assert_eq!(testbed.exec(0, installs), installed, "nothing installed again");
    assert_eq!(testbed.exec(0, pids), running, "no service restarted");
}

async fn a_host_is_reached_with_the_servers_own_key_and_its_key_is_pinned(form: Form) {
    // Light hosts let in the testbed's key only.
    let test = "a_host_is_reached_with_the_servers_own_key";
    let Some(testbed) = Testbed::up_booted(test, &["debian"]) else { return };
    let server = Server::start(form, json!({})).await;
    let public = server.get("/publickey").await["public_key"].as_str().unwrap().to_owned();
    testbed.exec(0, &format!("mkdir -p ~/.ssh && echo '{public}' >> ~/.ssh/authorized_keys"));
    let (address, port) = testbed.address(0);
    let body = json!({"ssh_port": port, "remote_user": testbed.user()});
    server.put(&format!("/host/{address}"), body).await;
    assert_eq!(server.settled(address).await["host"]["status"], "disassociated");
    let creds = server.get(&format!("/host/{address}/creds")).await;
    assert_eq!(creds["ssh_priv_key"], "", "the server's own key never leaves it");
    let pinned = creds["ssh_host_key"].as_str().unwrap();
    assert!(testbed.run(&["host-key", &testbed.hosts()[0]]).contains(pinned), "{pinned}");
    let host = server.get(&format!("/host/{address}")).await;
    assert!(host["cpus"].as_u64() > Some(0) && host["memory"].as_u64() > Some(0), "{host}");
}

async fn a_user_with_sudo_will_do_and_one_without_is_told(form: Form) {
    let Some(testbed) = Testbed::up_booted("a_user_with_sudo_will_do", &["debian", "debian"])
    else {
        return;
    };
    let server = Server::start(form, json!({})).await;
    server.put("/cluster/c1", json!({})).await;
    server.register(&testbed, 0, json!({"remote_user": "ops", "cluster": "c1"})).await;
    server.register(&testbed, 1, json!({"remote_user": "plain"})).await;
    assert_eq!(server.settled(testbed.address(0).0).await["host"]["status"], "disassociated");
    let status = server.settled(testbed.address(1).0).await;
    assert_eq!(
        (&status["host"]["status"], &status["host"]["reason"]),
        (&json!("failed"), &json!("no-sudo"))
    );
    assert!(status["host"]["detail"].as_str().unwrap().contains("NOPASSWD"), "{status}");
    let before = testbed.boot_id(0);
    server.put("/cluster/c1/restart", json!({})).await;
    assert_eq!(server.restarted().await["status"], "finished");
    assert_ne!(testbed.boot_id(0), before);
}

forms!(
    both: [a_cluster_is_registered_set_up_and_restarted_one_host_at_a_time],
    one_process: [a_user_with_sudo_will_do_and_one_without_is_told],
    distributed: [a_host_is_reached_with_the_servers_own_key_and_its_key_is_pinned],
    full: [
        a_red_hat_host_gets_flannel_and_docker_and_a_second_look_changes_nothing
    ],
);
