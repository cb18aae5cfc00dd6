//! The machine of the server is lost: nothing is left of it but a backup and its passphrase.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use testbed::Testbed;

use crate::processes::Form;
use crate::program::Commissaire;
use crate::server::{LONG, PASSWORD, Server, key};

const PASSPHRASE: &str = "correct horse battery staple";

fn write_private(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

async fn restored_server_restarts_hosts_with_nothing_but_a_backup_and_its_passphrase(form: Form) {
    let test = "restored_server_restarts_hosts";
    let Some(testbed) = Testbed::up_booted(test, &["debian"]) else { return };
    let mut server = Server::start(form, json!({"lease-ttl": 8})).await;
    server.cluster(&testbed).await;
    let address = testbed.address(0).0.to_owned();
    let (_, token) = server
        .call(Method::POST, "/tokens", json!({"name": "ci", "role": "reader", "clusters": ["*"]}))
        .await;
    let (_, enrollment) = server.call(Method::POST, "/enrollments", json!({"cluster": "c1"})).await;

    let passphrase = server.folder().join("passphrase");
    write_private(&passphrase, PASSPHRASE);
    let backup = server.folder().join("backup.jsonl");
    let (passphrase, backup) = (passphrase.to_str().unwrap(), backup.to_str().unwrap());
    let commissaire = Commissaire { server: &server, form };
    commissaire.succeeds("backup", &["--with-key", "--passphrase-file", passphrase, "-o", backup]);
    let content = std::fs::read_to_string(backup).unwrap();
    for secret in [key(&testbed).as_str(), "OPENSSH PRIVATE KEY", PASSPHRASE] {
        assert!(!content.contains(secret), "{secret} is readable");
    }
    let with_keys = [backup, "--passphrase-file", passphrase];
    commissaire.refused("restore", &with_keys, "stop");

    // Everything but the backup is lost; the configuration of the test stays.
    server.processes.kill_all();
    std::fs::remove_dir_all(server.data_dir()).unwrap();
    std::fs::remove_file(server.folder().join("users.json")).unwrap();
    if let Some(ground) = &server.processes.ground {
        ground.etcd.ctl(&["del", "--prefix", "/commissaire/"]);
    }
    std::fs::create_dir(server.data_dir()).unwrap();
    let wrong = server.folder().join("wrong");
    write_private(&wrong, "correct horse battery stable");
    let commissaire = Commissaire { server: &server, form };
    let with_wrong = [backup, "--passphrase-file", wrong.to_str().unwrap()];
    commissaire.refused("restore", &with_wrong, "the passphrase does not open");
    let takeover = [backup, "--passphrase-file", passphrase, "--json", "--takeover"];
    let output = commissaire.run("restore", &takeover);
    let said = String::from_utf8_lossy(&output.stderr);
    // It was active a moment ago, and may still be: only the operator knows.
    let former = said.split("--yes-fence ").nth(1).map(|rest| rest.trim().to_owned());
    let former = former.unwrap_or_else(|| panic!("{said}"));
    let printed = String::from_utf8(output.stdout).unwrap();
    let second = commissaire.run("restore", &["--takeover", "--yes-fence", &former]);
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(
        second.status.success() && said.contains("1 hosts belong to generation 2 now"),
        "{said}"
    );
    let report: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(report["void_tokens"], json!(["admin/ci"]), "{report}");
    assert_eq!(report["pinned_hosts"], json!([address]), "{report}");
    server.start_again().await;

    // The configuration of commctl from before: a user and a password.
    let (status, output, said) = server.commctl(&["host", "list"]);
    assert_eq!(status, 0, "{said}");
    assert!(output.contains(&address), "{output}");
    let url = &server.processes.urls()[0];
    let client = reqwest::Client::builder().timeout(LONG).build().unwrap();
    let voided =
        client.get(format!("{url}/api/v0/hosts")).bearer_auth(token["token"].as_str().unwrap());
    let voided = voided.send().await.unwrap();
    assert_eq!(voided.status(), StatusCode::FORBIDDEN);
    assert!(voided.text().await.unwrap().contains("a restore from a backup voided"));
    let host = client.put(format!("{url}/api/v0/host/{address}")).json(&json!({}));
    let voided = host.basic_auth("enroll", enrollment["token"].as_str()).send().await.unwrap();
    assert_eq!(voided.status(), StatusCode::FORBIDDEN);
    assert!(voided.text().await.unwrap().contains("a restore from a backup voided"));

    // A host whose user data is from before registers itself: with a user and a password, too.
    let late = client.put(format!("{url}/api/v0/host/198.51.100.7")).json(&json!({}));
    let late = late.basic_auth("admin", Some(PASSWORD)).send().await.unwrap();
    assert_eq!(late.status(), StatusCode::CREATED);

    // Nothing is restarted before the freeze is lifted.
    let before = testbed.boot_id(0);
    server.put("/cluster/c1/restart", json!({})).await;
    server.state("frozen").await;
    assert_eq!(testbed.boot_id(0), before);
    let (status, _, said) = server.commctl(&["freeze", "off"]);
    assert_eq!(status, 0, "{said}");
    let record = server.restarted().await;
    assert_eq!(record["status"], "finished", "{record}");
    assert_ne!(testbed.boot_id(0), before);
}

forms! {
    both: [restored_server_restarts_hosts_with_nothing_but_a_backup_and_its_passphrase],
    one_process: [],
    distributed: [],
    full: [],
}
