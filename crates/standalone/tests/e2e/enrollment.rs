//! Hosts that register themselves: each joins its cluster once it has shown the key it announced.

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use testbed::Testbed;

use crate::processes::Form;
use crate::server::{Server, key};

/// `PUT /host` with a token, as it comes from a host of the testbed through a proxy.
async fn enroll(server: &Server, testbed: &Testbed, host: usize, token: &str, announced: &str) {
    let (address, port) = testbed.address(host);
    let body = json!({"ssh_port": port, "remote_user": testbed.user(),
                      "ssh_priv_key": key(testbed), "ssh_host_key": announced});
    let url = format!("{}/api/v0/host", server.processes.urls()[0]);
    let client = Client::builder().no_proxy().build().unwrap();
    let request = client.put(url).basic_auth("enroll", Some(token)).json(&body);
    let answer = request.header("x-forwarded-for", address).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::CREATED, "{:?}", answer.text().await);
}

/// The keys that a host shows.
fn host_key(testbed: &Testbed, host: usize) -> String {
    testbed.run(&["host-key", &testbed.hosts()[host]])
}

async fn a_host_that_shows_the_key_it_announced_joins_its_cluster_and_no_other(form: Form) {
    let testbed = Testbed::up(&["debian", "debian"]);
    let server = Server::start(form, json!({"trusted-proxies": ["127.0.0.1"]})).await;
    server.put("/cluster/c1", json!({})).await;
    let asked = json!({"cluster": "c1", "uses": 2});
    let (status, made) = server.call(Method::POST, "/enrollments", asked).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    let token = made["token"].as_str().unwrap();

    enroll(&server, &testbed, 0, token, &host_key(&testbed, 0)).await;
    // This one announces the key of another.
    enroll(&server, &testbed, 1, token, &host_key(&testbed, 0)).await;
    let [proven, impostor] = [testbed.address(0).0, testbed.address(1).0];
    assert_eq!(server.settled(proven).await["host"]["status"], "disassociated");
    let status = server.settled(impostor).await;
    assert_eq!(status["host"]["reason"], "host-key-changed", "{status}");
    let members: Value = server.get("/cluster/c1/hosts").await;
    assert_eq!(members, json!([proven]));
}

forms!(
    both: [a_host_that_shows_the_key_it_announced_joins_its_cluster_and_no_other],
    one_process: [],
    distributed: [],
    full: [],
);
