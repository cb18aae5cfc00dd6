//! `commctl host`

use serde_json::json;

use crate::support::Fleet;

const KEY: &str = "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n";
const KEY_BASE64: &str = "LS0tLS1CRUdJTiBPUEVOU1NIIFBSSVZBVEUgS0VZLS0tLS0KQUFBQQotLS0tLUVORCBPUEVOU1NIIFBSSVZBVEUgS0VZLS0tLS0K";

#[tokio::test]
async fn create_with_the_servers_own_key() {
    let fleet = Fleet::new().await;
    fleet.answers("PUT", "host/10.0.0.1", 201, json!({"address": "10.0.0.1"})).await;
    fleet.run("host create 10.0.0.1").await.printed("address: 10.0.0.1\n");
    assert_eq!(fleet.body().await, json!({}));
}

#[tokio::test]
async fn create_with_everything() {
    let fleet = Fleet::new().await;
    fleet.home.write("key", KEY);
    fleet.home.write("host.pub", "ssh-ed25519 AAAAC3 root@web1\n");
    fleet.answers("PUT", "host/10.0.0.1", 201, json!({"address": "10.0.0.1"})).await;
    let flags = "-c web -u fedora --ssh-port 2222 --host-key host.pub --bootstrap none";
    fleet.run(&format!("host create {flags} 10.0.0.1 key")).await.printed("address: 10.0.0.1\n");
    assert_eq!(
        fleet.body().await,
        json!({
            "cluster": "web", "remote_user": "fedora", "ssh_port": 2222, "bootstrap": "none",
            "ssh_host_key": "ssh-ed25519 AAAAC3 root@web1", "ssh_priv_key": KEY_BASE64,
        })
    );
}

#[tokio::test]
async fn create_with_a_key_from_standard_input() {
    let fleet = Fleet::new().await;
    fleet.answers("PUT", "host/::1", 201, json!({"address": "::1"})).await;
    let args = ["host", "create", "--host-key", "ssh-ed25519 AAAAC3", "::1", "-"];
    fleet.home.run_with_input(&args, KEY).await.printed("address: ::1\n");
    assert_eq!(
        fleet.body().await,
        json!({"ssh_host_key": "ssh-ed25519 AAAAC3", "ssh_priv_key": KEY_BASE64})
    );
}

#[tokio::test]
async fn investigate_posts() {
    let fleet = Fleet::new().await;
    fleet.answers("POST", "host/10.0.0.1/investigate", 202, json!({"address": "10.0.0.1"})).await;
    fleet.run("host investigate 10.0.0.1").await.printed("address: 10.0.0.1\n");
    assert_eq!(fleet.body().await, json!({}));
}

/// Five hosts that have failed and one that has not; each is investigated with this outcome.
async fn failed_hosts(outcomes: &[(&str, &str)]) -> Fleet {
    let fleet = Fleet::new().await;
    let mut hosts = vec![json!({"address": "10.0.0.9", "status": "active"})];
    for (number, (status, reason)) in outcomes.iter().enumerate() {
        let address = format!("10.0.0.{}", number + 1);
        hosts.push(json!({"address": address, "status": "failed"}));
        let answer = json!({"host": {"status": status, "reason": reason, "detail": "it says no"}});
        fleet.answers("GET", &format!("host/{address}/status"), 200, answer).await;
        let at = format!("host/{address}/investigate");
        fleet.answers("POST", &at, 202, json!({"address": address})).await;
    }
    fleet.answers("GET", "hosts", 200, json!(hosts)).await;
    fleet
}

/// How many hosts were investigated.
async fn investigated(fleet: &Fleet) -> usize {
    fleet.requests().await.iter().filter(|request| request.starts_with("POST ")).count()
}

#[tokio::test]
async fn investigate_failed_stops_when_the_first_three_fail_alike() {
    let fleet = failed_hosts(&[("failed", "auth-refused"); 5]).await;
    let run = fleet.run("host investigate --failed").await;
    let line = |number| format!("10.0.0.{number}: failed: auth-refused: it says no\n");
    let lines: String = (1..=3).map(line).collect();
    let stopped = "error: the first 3 hosts failed alike (auth-refused): the other 2 were left as they are; \
                   remove the cause, then repeat the command\n";
    run.failed(1, &format!("{lines}{stopped}"));
    assert_eq!(investigated(&fleet).await, 3);
}

#[tokio::test]
async fn investigate_failed_goes_on_when_one_of_three_recovers() {
    let fleet = failed_hosts(&[
        ("failed", "auth-refused"),
        ("disassociated", ""),
        ("failed", "auth-refused"),
        ("failed", "auth-refused"),
    ])
    .await;
    let run = fleet.run("host investigate --failed").await;
    run.failed(
        1,
        "10.0.0.1: failed: auth-refused: it says no\n10.0.0.2: disassociated\n\
         10.0.0.3: failed: auth-refused: it says no\n10.0.0.4: investigating\n\
         error: 2 of the first 3 hosts failed again\n",
    );
    assert_eq!(investigated(&fleet).await, 4);
    let fleet = failed_hosts(&[("active", ""); 4]).await;
    let run = fleet.run("host investigate --failed").await;
    assert_eq!((run.status, investigated(&fleet).await), (0, 4), "{run:?}");
}

#[tokio::test]
async fn investigate_failed_selects_by_reason_and_cluster() {
    let fleet = failed_hosts(&[
        ("failed", "auth-refused"),
        ("failed", "unreachable"),
        ("failed", "auth-refused"),
    ])
    .await;
    fleet.answers("GET", "cluster/web/hosts", 200, json!(["10.0.0.1", "10.0.0.2"])).await;
    let run = fleet.run("host investigate --failed --reason auth-refused --cluster web").await;
    run.failed(
        1,
        "10.0.0.1: failed: auth-refused: it says no\nerror: 1 of the first 1 hosts failed again\n",
    );
    let run = fleet.run("host investigate --failed --reason no-sudo").await;
    assert_eq!((run.status, run.stdout.as_str()), (0, ""));
    assert_eq!(run.stderr, "no failed host matches: nothing was done\n");
    for wrong in ["", "--failed 10.0.0.1", "--reason x 10.0.0.1"] {
        assert_eq!(fleet.run(&format!("host investigate {wrong}")).await.status, 2, "{wrong}");
    }
}

#[tokio::test]
async fn accept_key_names_the_fingerprint() {
    let fleet = Fleet::new().await;
    fleet.answers("PUT", "host/10.0.0.1/hostkey", 202, json!({"address": "10.0.0.1"})).await;
    fleet.run("host accept-key 10.0.0.1 SHA256:abc").await.printed("address: 10.0.0.1\n");
    assert_eq!(fleet.body().await, json!({"fingerprint": "SHA256:abc"}));
}

#[tokio::test]
async fn rotate_sends_what_is_to_change_and_nothing_else() {
    let fleet = Fleet::new().await;
    fleet.home.write("host.pub", "ssh-ed25519 AAAAC3 root@web1\n");
    fleet.answers("PUT", "host/10.0.0.1/creds", 200, json!({"address": "10.0.0.1"})).await;
    let args = ["host", "rotate", "10.0.0.1", "-"];
    fleet.home.run_with_input(&args, KEY).await.printed("address: 10.0.0.1\n");
    assert_eq!(fleet.body().await, json!({"ssh_priv_key": KEY_BASE64}));
    for (flags, body) in [
        ("--server-key", json!({"ssh_priv_key": ""})),
        ("-u ops --ssh-port 2222", json!({"remote_user": "ops", "ssh_port": 2222})),
        ("--host-key host.pub", json!({"ssh_host_key": "ssh-ed25519 AAAAC3 root@web1"})),
    ] {
        fleet.server.reset().await;
        fleet.answers("PUT", "host/10.0.0.1/creds", 200, json!({"address": "10.0.0.1"})).await;
        fleet.run(&format!("host rotate {flags} 10.0.0.1")).await.printed("address: 10.0.0.1\n");
        assert_eq!(fleet.body().await, body);
    }
}

#[tokio::test]
async fn rotate_asks_for_one_change_that_can_be_meant() {
    let fleet = Fleet::new().await;
    fleet.home.write("key", KEY);
    fleet.home.write("key.pub", "ssh-ed25519 AAAAC3 me@here\n");
    for arguments in [
        "10.0.0.1",
        "--server-key 10.0.0.1 key",
        "--ssh-port 0 10.0.0.1",
        "--host-key key 10.0.0.1",
        "10.0.0.1 key.pub",
        "10.0.0.1 missing",
    ] {
        let run = fleet.run(&format!("host rotate {arguments}")).await;
        assert_eq!(run.status, 2, "{arguments}: {}", run.stderr);
    }
    assert_eq!(fleet.requests().await.len(), 0);
}

#[tokio::test]
async fn rotate_says_why_the_log_in_was_refused() {
    let fleet = Fleet::new().await;
    fleet.refuses("PUT", "host/10.0.0.1/creds", 409, "10.0.0.1 refuses the log-in of ops").await;
    fleet
        .run("host rotate -u ops 10.0.0.1")
        .await
        .failed(1, "error: 10.0.0.1 refuses the log-in of ops (409 Conflict)\n");
}

#[tokio::test]
async fn create_refuses_keys_of_the_wrong_kind() {
    let fleet = Fleet::new().await;
    fleet.home.write("key", KEY);
    fleet.home.write("key.pub", "ssh-ed25519 AAAAC3 me@here\n");
    fleet.home.write("empty", "\n");
    fleet
        .run("host create 10.0.0.1 key.pub")
        .await
        .failed(2, "error: key.pub holds a public key; the private one is needed\n");
    fleet.run("host create 10.0.0.1 empty").await.failed(2, "error: empty is empty\n");
    fleet
        .run("host create --host-key key 10.0.0.1")
        .await
        .failed(2, "error: --host-key is for the host's public key\n");
    fleet
        .run("host create 10.0.0.1 missing")
        .await
        .failed(2, "error: cannot read missing: No such file or directory (os error 2)\n");
    assert_eq!(fleet.requests().await.len(), 0);
}

#[tokio::test]
async fn create_resolves_names() {
    let fleet = Fleet::new().await;
    fleet.answers("PUT", "host/127.0.0.1", 201, json!({"address": "127.0.0.1"})).await;
    fleet.run("host create localhost").await.printed("address: 127.0.0.1\n");
    let run = fleet.run("host create host.invalid").await;
    assert_eq!(run.status, 1);
    assert!(run.stderr.starts_with("error: cannot resolve host.invalid: "), "{}", run.stderr);
}

#[tokio::test]
async fn create_warns_where_a_known_host_has_another_user_or_port() {
    let fleet = Fleet::new().await;
    let record = json!({"address": "10.0.0.1"});
    fleet.answers("GET", "host/10.0.0.1", 200, record.clone()).await;
    fleet.answers("PUT", "host/10.0.0.1", 201, record).await;
    let creds = json!({"address": "10.0.0.1", "ssh_priv_key": "", "remote_user": "root"});
    fleet.answers_once("GET", "host/10.0.0.1/creds", 200, creds.clone()).await;
    let run = fleet.run("host create -u fedora --ssh-port 2222 10.0.0.1").await;
    run.printed("address: 10.0.0.1\n");
    assert_eq!(
        run.stderr,
        "warning: 10.0.0.1 was known already and is still logged in to as root on port 22; to change \
         that: commctl host rotate -u fedora --ssh-port 2222 10.0.0.1\n"
    );
    fleet.answers_once("GET", "host/10.0.0.1/creds", 200, creds).await;
    let run = fleet.run("host create -u root --ssh-port 22 10.0.0.1").await;
    assert_eq!((run.status, run.stderr.as_str()), (0, ""));
    // Operators may not read credentials.
    fleet.refuses("GET", "host/10.0.0.1/creds", 403, "this needs the role admin").await;
    let run = fleet.run("host create --ssh-port 2222 10.0.0.1").await;
    run.printed("address: 10.0.0.1\n");
    let rotate = "commctl host rotate --ssh-port 2222 10.0.0.1\n";
    assert!(run.stderr.contains("keeps its user and port"), "{}", run.stderr);
    assert!(run.stderr.ends_with(rotate), "{}", run.stderr);
}

#[tokio::test]
async fn a_create_that_times_out_may_have_happened() {
    let fleet = Fleet::new().await;
    fleet.refuses("PUT", "host/10.0.0.1", 504, "no answer in time").await;
    fleet.run("host create 10.0.0.1").await.failed(
        1,
        "error: no answer in time (504 Gateway Timeout)\n\
         it may have been added nevertheless; look with: commctl host status 10.0.0.1\n",
    );
}

#[tokio::test]
async fn get_list_and_status() {
    let fleet = Fleet::new().await;
    let record = json!({"address": "10.0.0.1", "cpus": 2, "status": "active"});
    fleet.answers("GET", "host/10.0.0.1", 200, record.clone()).await;
    fleet.run("host get 10.0.0.1").await.printed("address: 10.0.0.1\ncpus: 2\nstatus: active\n");
    fleet.answers("GET", "hosts", 200, json!([record])).await;
    fleet.run("host list").await.printed("- address: 10.0.0.1\n  cpus: 2\n  status: active\n");
    fleet.answers("GET", "cluster/web/hosts", 200, json!(["10.0.0.1"])).await;
    fleet.run("host list web").await.printed("- 10.0.0.1\n");
    let status =
        json!({"type": "host_only", "host": {"status": "active"}, "container_manager": {}});
    fleet.answers("GET", "host/10.0.0.1/status", 200, status).await;
    fleet
        .run("host status 10.0.0.1")
        .await
        .printed("container_manager: {}\nhost:\n  status: active\ntype: host_only\n");
}

#[tokio::test]
async fn delete() {
    let fleet = Fleet::new().await;
    fleet.answers("DELETE", "host/10.0.0.1", 200, json!([])).await;
    fleet.answers("DELETE", "host/10.0.0.2", 200, json!([])).await;
    let run = fleet.run("host delete 10.0.0.1 10.0.0.2").await;
    run.printed("");
    assert_eq!(run.stderr, "deleted 10.0.0.1\ndeleted 10.0.0.2\n");
}

#[tokio::test]
async fn join_and_unjoin() {
    let fleet = Fleet::new().await;
    fleet.answers("PUT", "cluster/c2/hosts/127.0.0.11", 200, json!(["127.0.0.11"])).await;
    fleet.run("host join 127.0.0.11 c2").await.printed("- 127.0.0.11\n");
    assert!(fleet.request().await.headers.contains_key("idempotency-key"));
    fleet.answers("GET", "cluster/c2/hosts/127.0.0.11", 200, json!(["127.0.0.11"])).await;
    fleet.answers("DELETE", "cluster/c2/hosts/127.0.0.11", 200, json!([])).await;
    let run = fleet.run("host unjoin 127.0.0.11 c2").await;
    run.printed("");
    assert_eq!(run.stderr, "127.0.0.11 is no longer in c2\n");
}

#[tokio::test]
async fn publickey_is_a_line_for_authorized_keys() {
    let fleet = Fleet::new().await;
    let key = "ssh-ed25519 AAAAC3 commissaire";
    fleet.answers_once("GET", "publickey", 200, json!({"public_key": format!("{key}\n")})).await;
    fleet.run("host publickey").await.printed(&format!("{key}\n"));
    fleet.answers_once("GET", "publickey", 200, json!({"public_key": key})).await;
    fleet
        .run("-o yaml host publickey")
        .await
        .printed("public_key: ssh-ed25519 AAAAC3 commissaire\n");
    fleet
        .answers_once("GET", "publickey", 200, json!({"public_key": format!("{key}\n{key}")}))
        .await;
    fleet.run("host publickey").await.failed(1, "error: the server's answer holds no public key\n");
}
