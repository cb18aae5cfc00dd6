//! Credentials are rotated: tried on the host first, and used by everybody from then on.

use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use testbed::Testbed;

use crate::processes::Form;
use crate::server::Server;

async fn rotated_credentials_are_tried_first_and_used_from_then_on(form: Form) {
    let Some(testbed) = Testbed::up_booted("rotated_credentials_are_tried_first", &["debian"])
    else {
        return;
    };
    let server = Server::start(form, json!({})).await;
    server.cluster(&testbed).await;
    let address = testbed.address(0).0;
    let path = format!("/host/{address}/creds");
    let (private, public) = new_key();
    let body = json!({"remote_user": "ops", "ssh_priv_key": private});

    let before = server.get(&path).await;
    refused(&server, &path, &body, "refuses the log-in of ops").await;
    refused(&server, &path, &json!({"remote_user": "plain"}), "NOPASSWD").await;
    refused(&server, &path, &json!({"ssh_port": 1}), "port 1 cannot be reached").await;
    assert_eq!(server.get(&path).await, before, "a refused trial changes nothing");

    // From here on the key that the host was registered with no longer opens the account.
    testbed.exec(0, &format!("echo '{public}' > ~ops/.ssh/authorized_keys"));
    let (status, host) = server.call(Method::PUT, &path, body).await;
    assert_eq!((status, &host["status"]), (StatusCode::OK, &json!("disassociated")), "{host}");
    assert!(!host.to_string().contains(&private), "{host}");
    let (status, _) =
        server.call(Method::POST, &format!("/host/{address}/investigate"), json!({})).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    assert_eq!(server.settled(address).await["host"]["status"], "disassociated");
    let boot = testbed.boot_id(0);
    server.put("/cluster/c1/restart", json!({})).await;
    assert_eq!(server.restarted().await["status"], "finished");
    assert_ne!(testbed.boot_id(0), boot);

    testbed.run(&["rekey", address]);
    refused(&server, &path, &json!({"remote_user": "root"}), "has changed").await;
    let host_key = testbed.run(&["host-key", address]);
    let rotate = ["host", "rotate", "-u", "ops", "--host-key", &host_key, address];
    let (exit, _, error) = server.commctl(&rotate);
    assert_eq!(exit, 0, "{error}");
    assert_eq!(server.get(&path).await["ssh_host_key"], host_key);
    assert!(!server.log().contains(&private), "no key in the log");
}

async fn refused(server: &Server, path: &str, body: &Value, words: &str) {
    let (status, refusal) = server.call(Method::PUT, path, body.clone()).await;
    assert_eq!(status, StatusCode::CONFLICT, "{refusal}");
    assert!(refusal["detail"].as_str().unwrap().contains(words), "{refusal}");
}

/// A private key, as the API takes it, and its public half.
fn new_key() -> (String, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&file);
    assert!(command.status().unwrap().success());
    let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    (BASE64.encode(read("key")), String::from_utf8(read("key.pub")).unwrap().trim().to_owned())
}

forms!(
    both: [],
    one_process: [rotated_credentials_are_tried_first_and_used_from_then_on],
    distributed: [],
    full: [],
);
