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

#[test]
fn wrong_configurations_are_told() {
    let folder = tempfile::Builder::new().prefix("c").tempdir().unwrap();
    for (config, arguments, says) in [
        ("{\"listen-prot\": 1}", &[][..], "did you mean `listen_port`?"),
        ("[]", &[], "is not a JSON object"),
        ("{}", &["--tls-clientverifyfile", "/ca.pem"], "give both"),
        ("{}", &["--tls-pemfile", "/nowhere.pem"], "cannot read /nowhere.pem"),
        ("{\"authentication-plugins\": [{\"name\": \"x\"}]}", &[], "known are httpbasicauth"),
        ("{}", &["--authentication-plugin", "oidc:issuer=x"], "not part of this version yet"),
        ("{\"trusted-proxies\": [\"x\"]}", &[], "neither an IP address nor a network"),
        ("{\"audit-log\": \"/nonexistent/audit.log\"}", &[], "cannot open the audit log"),
    ] {
        let mut command = commissaire(folder.path(), config);
        command.args(arguments);
        let error = refused(command);
        assert!(error.contains(says), "{config} {arguments:?}: {error}");
    }
}
