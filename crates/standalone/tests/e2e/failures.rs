//! What an operator reads when it does not work.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use testbed::Testbed;

use crate::processes::Form;
use crate::server::{Server, key};

/// The status is `failed` with this reason, in the log and in `commctl host status`, too.
async fn failed(server: &Server, address: &str, reason: &str) -> String {
    let status = server.settled(address).await;
    assert_eq!(status["host"]["status"], "failed", "{status}");
    assert_eq!(status["host"]["reason"], reason, "{status}");
    let detail = status["host"]["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains(address), "{detail}");
    assert!(server.log().contains(&detail.replace('"', "\\\"")), "in the log: {detail}");
    let (exit, output, _) = server.commctl(&["host", "status", address]);
    assert_eq!(exit, 0);
    assert!(output.contains(&format!("reason: {reason}")), "{output}");
    detail
}

async fn a_wrong_key_is_told(form: Form) {
    let testbed = Testbed::up(&["debian"]);
    let server = Server::start(form, json!({})).await;
    // The server's own key, which the host does not know.
    let (address, port) = testbed.address(0);
    let body = json!({"ssh_port": port, "remote_user": testbed.user()});
    server.put(&format!("/host/{address}"), body).await;
    let detail = failed(&server, address, "auth-refused").await;
    assert!(detail.contains("authorized_keys"), "it says what to do: {detail}");
}

async fn an_address_that_nobody_answers_on_is_told(form: Form) {
    let testbed = Testbed::up(&["debian"]);
    let server = Server::start(form, json!({"investigator": {"connect-timeout": 2}})).await;
    let (address, port) = testbed.address(0);
    testbed.run(&["kill", &testbed.hosts()[0]]);
    let user = testbed.user();
    let body = json!({"ssh_port": port, "remote_user": user, "ssh_priv_key": key(&testbed)});
    server.put(&format!("/host/{address}"), body.clone()).await;
    failed(&server, address, "unreachable").await;
    // Back again: registering once more gives it another chance.
    testbed.run(&["start", &testbed.hosts()[0]]);
    let (status, host) = server.call(Method::PUT, &format!("/host/{address}"), body).await;
    assert_eq!((status, &host["status"]), (StatusCode::CREATED, &json!("investigating")));
    let status = server.settled(address).await;
    assert_eq!(status["host"]["status"], "disassociated", "{status}");
    assert_eq!(status["host"].get("reason"), None, "{status}");
}

async fn a_host_that_does_not_come_back_stops_the_roll(form: Form) {
    let testbed = Testbed::up(&["debian", "debian"]);
    let server = Server::start(form, json!({"clusterexec": {"verify-timeout": 6}})).await;
    server.cluster(&testbed).await;
    let (first, second) = first_and_second(&testbed);
    let untouched = testbed.boot_id(second);
    testbed.run(&["no-return", &testbed.hosts()[first]]);
    server.put("/cluster/c1/restart", json!({})).await;
    let record = server.restarted().await;
    let address = testbed.address(first).0;
    assert_failed_at(&record, address, "verify");
    let detail = failed(&server, address, "not-back").await;
    assert!(detail.contains("6 s after its reboot"), "{detail}");
    assert_eq!(testbed.boot_id(second), untouched, "the next host is untouched");
    // The dead host uses the budget up: another roll is refused and says why.
    let (status, refusal) = server.call(Method::PUT, "/cluster/c1/restart", json!({})).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(refusal["detail"].as_str().unwrap().contains(address), "{refusal}");
}

async fn a_changed_host_key_gets_nothing(form: Form) {
    let testbed = Testbed::up(&["debian", "debian"]);
    let server = Server::start(form, json!({})).await;
    server.cluster(&testbed).await;
    let (first, second) = first_and_second(&testbed);
    let boot_ids = [testbed.boot_id(first), testbed.boot_id(second)];
    let fingerprint = |key: String| model::host_keys::fingerprint(&key).unwrap();
    let pinned = fingerprint(testbed.run(&["host-key", &testbed.hosts()[first]]));
    testbed.run(&["rekey", &testbed.hosts()[first]]);
    let seen = fingerprint(testbed.run(&["host-key", &testbed.hosts()[first]]));
    server.put("/cluster/c1/restart", json!({})).await;
    let record = server.restarted().await;
    let address = testbed.address(first).0;
    assert_failed_at(&record, address, "probe");
    let detail = failed(&server, address, "host-key-changed").await;
    for part in [pinned.as_str(), &seen, "commctl host accept-key"] {
        assert!(detail.contains(part), "{detail}");
    }
    assert_eq!([testbed.boot_id(first), testbed.boot_id(second)], boot_ids, "nothing was done");
    // Another look does not accept it either.
    let (exit, _, error) = server.commctl(&["host", "investigate", address]);
    assert_eq!(exit, 0, "{error}");
    failed(&server, address, "host-key-changed").await;
    // The operator does, but only the key that was seen.
    let (exit, _, error) = server.commctl(&["host", "accept-key", address, &pinned]);
    assert_eq!(exit, 1, "{error}");
    let (exit, _, error) = server.commctl(&["host", "accept-key", address, &seen]);
    assert_eq!(exit, 0, "{error}");
    assert_eq!(server.settled(address).await["host"]["status"], "disassociated");
    server.put("/cluster/c1/restart", json!({})).await;
    assert_eq!(server.restarted().await["status"], "finished");
}

/// The hosts in the order in which they are worked on: by address.
fn first_and_second(testbed: &Testbed) -> (usize, usize) {
    if testbed.address(0).0 < testbed.address(1).0 { (0, 1) } else { (1, 0) }
}

fn assert_failed_at(record: &Value, address: &str, step: &str) {
    assert_eq!(record["status"], "failed", "{record}");
    assert_eq!((&record["in_process"], &record["restarted"]), (&json!([address]), &json!([])));
    let failure = &record["failures"][0];
    assert_eq!((&failure["host"], &failure["step"]), (&json!(address), &json!(step)));
    assert!(failure["reason"].as_str().unwrap().contains(address), "{failure}");
    assert!(record["finished_at"].is_string(), "{record}");
}

forms!(
    both: [],
    one_process: [a_host_that_does_not_come_back_stops_the_roll],
    distributed: [
        a_wrong_key_is_told,
        a_changed_host_key_gets_nothing
    ],
    full: [an_address_that_nobody_answers_on_is_told],
);
