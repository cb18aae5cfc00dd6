//! A backup of one data directory, with other names, restored into another one: real processes, and no hosts.

use std::io::{Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::Command;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::first_start::{Running, commissaire};
use crate::server::eventually;

async fn start(folder: &Path) -> Running {
    let process = Running(commissaire(folder, "{}").spawn().unwrap());
    eventually("it is ready", || async { folder.join("d/address").exists().then_some(()) }).await;
    process
}

/// A call to the server on the data in `folder`, as its administrator.
async fn call(
    folder: &Path,
    password: &str,
    method: Method,
    path: &str,
    body: Value,
) -> (StatusCode, Value) {
    let address = std::fs::read_to_string(folder.join("d/address")).unwrap();
    let url = format!("{}/api/v0{path}", address.trim());
    let client = reqwest::Client::builder().build().unwrap();
    let request = client.request(method, url).basic_auth("admin", Some(password)).json(&body);
    let answer = request.send().await.unwrap();
    (answer.status(), answer.json().await.unwrap_or_default())
}

/// Runs `commissaire` with this input; returns its standard output and standard error.
fn run(data: &Path, arguments: &[&str], input: &[u8]) -> (bool, Vec<u8>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_commissaire"));
    command.arg("--data-dir").arg(data).args(arguments);
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(input).unwrap();
    file.rewind().unwrap();
    let output = command.stdin(file).output().unwrap();
    (output.status.success(), output.stdout, String::from_utf8(output.stderr).unwrap())
}

#[tokio::test]
async fn backup_with_other_addresses_and_clusters_is_restored_elsewhere_with_its_credentials() {
    let [first, second] =
        [(), ()].map(|()| tempfile::Builder::new().prefix("c").tempdir().unwrap());
    let passphrase = first.path().join("passphrase");
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(&passphrase).unwrap();
    file.write_all(b"correct horse battery staple\n").unwrap();
    let passphrase = passphrase.to_str().unwrap();

    let process = start(first.path()).await;
    let password = std::fs::read_to_string(first.path().join("d/admin-password")).unwrap();
    let password = password.trim();
    for (path, body) in [
        ("/host/192.0.2.1", json!({"remote_user": "ops"})),
        ("/host/192.0.2.2", json!({})),
        ("/cluster/web", json!({})),
    ] {
        let (status, answer) = call(first.path(), password, Method::PUT, path, body).await;
        assert!(status.is_success(), "{path}: {answer}");
    }
    let data = first.path().join("d");
    let (is_ok, backup, error) =
        run(&data, &["backup", "--with-key", "--passphrase-file", passphrase], b"");
    assert!(is_ok, "{error}");
    drop(process);

    // Only a host that is set up joins a cluster, and there is none: an edit of the lines makes it a member.
    let (lines, other) = (String::from_utf8(backup).unwrap(), second.path().join("d"));
    let member = r#"{"type":"ClusterMember","key":"/commissaire/cluster_members/192.0.2.1","value":{"address":"192.0.2.1","cluster":"web"}}"#;
    let edited =
        lines.replace(r#"{"end_of_backup""#, &format!("{member}\n{}", r#"{"end_of_backup""#));
    let edited = edited.as_bytes();
    let maps =
        ["transform", "--map-address", "192.0.2.0/24=198.51.100.0/24", "--map-cluster", "web=shop"];
    let (is_ok, output, error) = run(&other, &maps, edited);
    assert!(!is_ok && output.is_empty() && error.contains("transform --reseal"), "{error}");
    let options = [&maps[..], &["--reseal"]].concat();
    let (is_ok, diff, error) = run(&other, &[&options[..], &["--dry-run"]].concat(), edited);
    assert!(is_ok, "{error}");
    let diff = String::from_utf8(diff).unwrap();
    for part in [
        "- /commissaire/hosts/192.0.2.1\n+ /commissaire/hosts/198.51.100.1\n",
        "- /commissaire/clusters/web\n+ /commissaire/clusters/shop\n    name: \"web\" -> \"shop\"\n",
        "+ /commissaire/secrets/hosts/198.51.100.1  (sealed",
        " records unchanged, ",
    ] {
        assert!(diff.contains(part), "{diff}");
    }
    let (is_ok, transformed, error) = run(&other, &options, edited);
    assert!(is_ok && error.contains("transformed: "), "{error}");
    assert!(!other.exists(), "it needs no data directory");
    let restore = ["restore", "-", "--passphrase-file", passphrase];
    let (is_ok, _, error) = run(&other, &restore, &transformed);
    assert!(is_ok, "{error}");

    let _process = start(second.path()).await;
    let get = async |path: &str| call(second.path(), password, Method::GET, path, json!({})).await;
    let (status, cluster) = get("/cluster/shop").await;
    assert_eq!((status, &cluster["hostset"]), (StatusCode::OK, &json!(["198.51.100.1"])));
    let (status, creds) = get("/host/198.51.100.1/creds").await;
    assert_eq!((status, &creds["remote_user"]), (StatusCode::OK, &json!("ops")), "{creds}");
    assert_eq!(get("/host/198.51.100.2/creds").await.0, StatusCode::OK);
    assert_eq!(get("/host/192.0.2.1").await.0, StatusCode::NOT_FOUND);
    assert_eq!(get("/cluster/web").await.0, StatusCode::NOT_FOUND);
}
