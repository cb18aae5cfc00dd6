//! What the first start makes, and what the next ones leave alone. No hosts are needed.

use std::fs::File;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use crate::server::eventually;

/// A server on the data in `folder` that reads `config` from its standard input.
pub(crate) fn commissaire(folder: &Path, config: &str) -> Command {
    std::fs::write(folder.join("conf"), config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_commissaire"));
    command.arg("--data-dir").arg(folder.join("d")).arg("--run-dir").arg(folder.join("r"));
    command.args(["-p", "0", "-c", "-"]).stdin(File::open(folder.join("conf")).unwrap());
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn start(folder: &Path) -> Running {
    let process = Running(commissaire(folder, "{}").spawn().unwrap());
    eventually("it is ready", || async { folder.join("d/address").exists().then_some(()) }).await;
    process
}

fn refused(mut command: Command) -> String {
    let Output { status, stderr, .. } = command.output().unwrap();
    assert_eq!(status.code(), Some(1));
    String::from_utf8(stderr).unwrap()
}

#[tokio::test]
async fn the_first_start_makes_what_it_needs_and_the_second_keeps_it() {
    let folder = tempfile::Builder::new().prefix("c").tempdir().unwrap();
    let data = folder.path().join("d");
    let kept = ["secret.key", "id_ed25519", "users.json", "admin-password", "id_ed25519.pub"];
    let read = || kept.map(|name| std::fs::read_to_string(data.join(name)).unwrap());
    let process = start(folder.path()).await;
    let made = read();
    let permissions = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for name in &kept[..4] {
        assert_eq!(permissions(&data.join(name)), 0o600, "{name}");
    }
    assert_eq!(permissions(&data), 0o700, "nobody else looks into the data directory");

    let address = std::fs::read_to_string(data.join("address")).unwrap();
    let url = format!("{}/api/v0/network/default", address.trim());
    let client = reqwest::Client::builder().build().unwrap();
    let answer = client.get(&url).basic_auth("admin", Some(made[3].trim())).send().await.unwrap();
    let network: serde_json::Value = answer.json().await.unwrap();
    assert_eq!(network["type"], "none", "there is no etcd for flannel in this form");

    let error = refused(commissaire(folder.path(), "{}"));
    assert!(error.contains("in use by another process"), "{error}");
    drop(process);
    let _ = std::fs::remove_file(data.join("address"));
    let _process = start(folder.path()).await;
    assert_eq!(read(), made);
}

#[tokio::test]
async fn a_lost_sealing_key_is_not_replaced() {
    let folder = tempfile::Builder::new().prefix("c").tempdir().unwrap();
    let process = start(folder.path()).await;
    let data = folder.path().join("d");
    let address = std::fs::read_to_string(data.join("address")).unwrap();
    let password = std::fs::read_to_string(data.join("admin-password")).unwrap();
    let client = reqwest::Client::builder().build().unwrap();
    let request = client.put(format!("{}/api/v0/host/192.0.2.1", address.trim()));
    let answer = request.basic_auth("admin", Some(password.trim())).send().await.unwrap();
    assert_eq!(answer.status(), 201);
    drop(process);
    std::fs::remove_file(data.join("secret.key")).unwrap();
    let error = refused(commissaire(folder.path(), "{}"));
    assert!(error.contains("restore it"), "{error}");
    assert!(!data.join("secret.key").exists());
}

/// A host that a server on the data in `folder` knows, or the status of the answer.
async fn call(folder: &Path, method: reqwest::Method, path: &str) -> reqwest::StatusCode {
    let read = |name| std::fs::read_to_string(folder.join("d").join(name)).unwrap();
    let url = format!("{}/api/v0{path}", read("address").trim());
    let client = reqwest::Client::builder().build().unwrap();
    let request = client.request(method, url);
    let answer = request.basic_auth("admin", Some(read("admin-password").trim())).send();
    answer.await.unwrap().status()
}

#[tokio::test]
async fn a_lost_database_is_refused_and_a_copy_of_it_restores_every_record() {
    let folder = tempfile::Builder::new().prefix("c").tempdir().unwrap();
    let (data, copy) = (folder.path().join("d"), folder.path().join("copy.db"));
    let copy_database = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_commissaire"));
        command.arg("--data-dir").arg(&data).arg("copy-database").arg(&copy);
        command
    };
    let process = start(folder.path()).await;
    assert_eq!(call(folder.path(), reqwest::Method::PUT, "/host/192.0.2.1").await, 201);
    assert!(copy_database().output().unwrap().status.success(), "while the server runs");
    let error = refused(copy_database());
    assert!(error.contains("already exists"), "{error}");
    drop(process);

    std::fs::remove_file(data.join("address")).unwrap();
    for name in ["commissaire.db", "commissaire.db-wal", "commissaire.db-shm"] {
        std::fs::remove_file(data.join(name)).unwrap();
    }
    let error = refused(commissaire(folder.path(), "{}"));
    assert!(error.contains("--new-store") && error.contains("copy-database"), "{error}");
    assert!(!data.join("commissaire.db").exists(), "nothing was made");

    std::fs::copy(&copy, data.join("commissaire.db")).unwrap();
    let _process = start(folder.path()).await;
    assert_eq!(call(folder.path(), reqwest::Method::GET, "/host/192.0.2.1/creds").await, 200);
}

#[tokio::test]
async fn a_lost_ssh_key_that_hosts_trust_ends_the_start_until_it_is_back() {
    let folder = tempfile::Builder::new().prefix("c").tempdir().unwrap();
    let (data, put) = (folder.path().join("d"), reqwest::Method::PUT);
    let process = start(folder.path()).await;
    assert_eq!(call(folder.path(), put, "/host/192.0.2.1").await, 201);
    drop(process);
    std::fs::remove_file(data.join("address")).unwrap();
    let (key, aside) = (data.join("id_ed25519"), folder.path().join("aside"));
    std::fs::rename(&key, &aside).unwrap();
    let error = refused(commissaire(folder.path(), "{}"));
    for part in ["id_ed25519 is missing", "192.0.2.1", "SHA256:", "backup", "--accept-new-key"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(!key.exists() && !data.join("address").exists(), "no new key, and nothing was served");

    std::fs::rename(&aside, &key).unwrap();
    let _process = start(folder.path()).await;
    let get = reqwest::Method::GET;
    assert_eq!(call(folder.path(), get, "/host/192.0.2.1/creds").await, 200);
}

#[tokio::test]
async fn a_new_store_is_made_where_the_operator_says_so() {
    let folder = tempfile::Builder::new().prefix("c").tempdir().unwrap();
    let process = start(folder.path()).await;
    let error = refused({
        let mut command = commissaire(folder.path(), "{}");
        command.arg("--new-store");
        command
    });
    assert!(error.contains("in use by another process"), "{error}");
    drop(process);
    let data = folder.path().join("d");
    std::fs::remove_file(data.join("address")).unwrap();
    std::fs::write(data.join("commissaire.db"), "").unwrap();
    let mut command = commissaire(folder.path(), "{}");
    let _process = Running(command.arg("--new-store").spawn().unwrap());
    eventually("it is ready", || async { data.join("address").exists().then_some(()) }).await;
}

#[test]
fn wrong_configurations_are_told() {
    let folder = tempfile::Builder::new().prefix("c").tempdir().unwrap();
    for (config, arguments, says) in [
        ("{\"listen-prot\": 1}", &[][..], "did you mean `listen_port`?"),
        ("[]", &[], "is not a JSON object"),
        ("{", &[], "is not a JSON object: EOF while parsing"),
        ("{\"listen-port\": \"http\"}", &[], "listen_port: invalid type: string \"http\""),
        ("{\"limits\": {\"connections\": -1}}", &[], "limits.connections: invalid value"),
        ("{\"limits\": {\"conections\": 1}}", &[], "did you mean `connections`?"),
        ("{\"watcher\": 5}", &[], "the member watcher is an object"),
        ("{\"storage\": {}}", &[], "unknown member `storage`, expected one of"),
        ("{}", &["--tls-clientverifyfile", "/ca.pem"], "give both"),
        ("{}", &["--tls-pemfile", "/nowhere.pem"], "cannot read /nowhere.pem"),
        ("{\"authentication-plugins\": [{\"name\": \"x\"}]}", &[], "known are httpbasicauth"),
        ("{}", &["--authentication-plugin", "oidc:issuer=x"], "missing field `audience`"),
        ("{\"trusted-proxies\": [\"x\"]}", &[], "neither an IP address nor a network"),
        ("{\"audit-log\": \"/nonexistent/audit.log\"}", &[], "cannot open the audit log"),
    ] {
        let mut command = commissaire(folder.path(), config);
        command.args(arguments);
        let error = refused(command);
        assert!(error.contains(says), "{config} {arguments:?}: {error}");
    }
}
