//! Hosts that are called by a name, in every command that takes one.

use serde_json::json;

use crate::support::Fleet;

#[tokio::test]
async fn unjoin_of_a_host_that_is_no_member_fails_and_changes_nothing() {
    let fleet = Fleet::new().await;
    let detail = "10.0.0.9 is no member of the cluster c2";
    fleet.refuses("GET", "cluster/c2/hosts/10.0.0.9", 404, detail).await;
    fleet.answers("DELETE", "cluster/c2/hosts/10.0.0.9", 200, json!([])).await;
    fleet.run("host unjoin 10.0.0.9 c2").await.failed(
        1,
        "error: 10.0.0.9 is no member of the cluster c2 (404 Not Found)\n\
         nothing was changed; commctl cluster list and commctl host list c2 show what there is\n",
    );
    let path = "GET /api/v0/cluster/c2/hosts/10.0.0.9";
    assert_eq!(fleet.requests().await, [path, path]);
}

/// A host that is known by its address; `localhost` resolves to it.
async fn loopback() -> Fleet {
    let fleet = Fleet::new().await;
    let record = json!({"address": "127.0.0.1"});
    fleet.answers("GET", "host/127.0.0.1", 200, record.clone()).await;
    fleet.answers("GET", "host/127.0.0.1/status", 200, json!({"type": "host_only"})).await;
    fleet.answers("DELETE", "host/127.0.0.1", 200, json!([])).await;
    fleet.answers("POST", "host/127.0.0.1/investigate", 202, record.clone()).await;
    fleet.answers("PUT", "host/127.0.0.1/hostkey", 202, record.clone()).await;
    fleet.answers("PUT", "host/127.0.0.1/creds", 200, record).await;
    let member = "cluster/c1/hosts/127.0.0.1";
    for verb in ["GET", "PUT", "DELETE"] {
        fleet.answers(verb, member, 200, json!(["127.0.0.1"])).await;
    }
    fleet
}

#[tokio::test]
async fn a_name_without_a_record_means_the_host_whose_address_it_resolves_to() {
    for (command, reaches) in [
        ("get localhost", "GET /api/v0/host/127.0.0.1"),
        ("status localhost", "GET /api/v0/host/127.0.0.1/status"),
        ("investigate localhost", "POST /api/v0/host/127.0.0.1/investigate"),
        ("accept-key localhost SHA256:x", "PUT /api/v0/host/127.0.0.1/hostkey"),
        ("rotate -u ops localhost", "PUT /api/v0/host/127.0.0.1/creds"),
        ("delete localhost", "DELETE /api/v0/host/127.0.0.1"),
        ("join localhost c1", "PUT /api/v0/cluster/c1/hosts/127.0.0.1"),
        ("unjoin localhost c1", "DELETE /api/v0/cluster/c1/hosts/127.0.0.1"),
    ] {
        let fleet = loopback().await;
        let run = fleet.run(&format!("host {command}")).await;
        assert_eq!(run.status, 0, "{command}: {}", run.stderr);
        assert!(run.stderr.starts_with("localhost is the host 127.0.0.1\n"), "{}", run.stderr);
        let requests = fleet.requests().await;
        assert!(requests.contains(&"GET /api/v0/host/localhost".to_owned()), "{requests:?}");
        assert_eq!(requests.last().map(String::as_str), Some(reaches), "{command}");
    }
}

#[tokio::test]
async fn a_record_of_exactly_that_name_goes_before_what_the_name_resolves_to() {
    let fleet = loopback().await;
    fleet.answers("GET", "host/localhost", 200, json!({"address": "localhost"})).await;
    let run = fleet.run("host get localhost").await;
    run.printed("address: localhost\n");
    assert_eq!(run.stderr, "");
    // It is no member, although the host at its address is one.
    let run = fleet.run("host unjoin localhost c1").await;
    assert_eq!(run.status, 1, "{}", run.stderr);
    assert!(fleet.requests().await.iter().all(|request| request.starts_with("GET ")));
}

#[tokio::test]
async fn a_name_that_means_no_host_is_an_error_that_names_both() {
    let fleet = Fleet::new().await;
    fleet.run("host delete localhost").await.failed(
        1,
        "error: there is no host localhost, nor one with the address 127.0.0.1 that it resolves to; \
         commctl host list shows all\n",
    );
    let run = fleet.run("host get host.invalid").await;
    assert_eq!(run.status, 1);
    let begin = "error: there is no host host.invalid, and cannot resolve host.invalid: ";
    assert!(run.stderr.starts_with(begin), "{}", run.stderr);
    assert!(fleet.requests().await.iter().all(|request| request.starts_with("GET ")));
}
