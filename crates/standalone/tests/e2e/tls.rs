//! TLS without being given a certificate: the first start makes an authority, and `commctl` pins it.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::first_start::{Running, commissaire};
use crate::server::eventually;

/// A server that speaks TLS, and the URL that it says.
async fn start(folder: &Path, arguments: &[&str]) -> (Running, String) {
    let address = folder.join("d/address");
    let _ = std::fs::remove_file(&address);
    let process = Running(commissaire(folder, "{}").args(arguments).spawn().unwrap());
    let read = || async { std::fs::read_to_string(&address).ok() };
    let url = eventually("it is ready", read).await;
    (process, url.trim().to_owned())
}

/// `commctl network list` with these members in its configuration: exit status and all that it says.
fn networks(folder: &Path, more: &Value) -> (i32, String) {
    let password = std::fs::read_to_string(folder.join("d/admin-password")).unwrap();
    let mut config = json!({"username": "admin", "password": password.trim()});
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let path = folder.join("commctl.json");
    std::fs::write(&path, config.to_string()).unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_commissaire")).with_file_name("commctl");
    assert!(program.exists(), "`cargo build -p commctl` first");
    let mut command = Command::new(program);
    let output = command.arg("-c").arg(path).args(["network", "list"]).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(said).unwrap())
}

/// This machine's addresses that are not loopback. Bridges of other tests come and go.
fn other_addresses() -> BTreeSet<String> {
    let all = if_addrs::get_if_addrs().unwrap();
    let others = all.into_iter().filter(|at| !at.is_loopback() && at.ip().is_ipv4());
    others.map(|at| at.ip().to_string()).collect()
}

fn files(folder: &Path) -> [PathBuf; 3] {
    ["ca-key.pem", "ca.pem", "server.pem"].map(|name| folder.join("d").join(name))
}

#[tokio::test]
async fn beyond_loopback_the_first_start_makes_an_authority_that_commctl_pins() {
    let folder = tempfile::Builder::new().prefix("c").tempdir().unwrap();
    let folder = folder.path();
    let there = other_addresses();
    let (process, url) = start(folder, &["-i", "0.0.0.0"]).await;
    let authority = || files(folder).map(|path| std::fs::read(path).unwrap())[..2].to_vec();
    let made = authority();
    for path in files(folder) {
        let bits = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(bits & 0o777, 0o600, "{}", path.display());
    }
    assert!(url.starts_with("https://127.0.0.1:"), "{url}");
    let port = url.rsplit_once(':').unwrap().1;
    let pinned = |host: &str| {
        let authority = &files(folder)[1];
        json!({"endpoint": format!("https://{host}:{port}"), "certificate_authority": authority})
    };
    for host in ["127.0.0.1", "localhost"].map(str::to_owned).into_iter().chain(there) {
        let (status, said) = networks(folder, &pinned(&host));
        let is_known = status == 0 && said.contains("default");
        let is_gone =
            host != "localhost" && host != "127.0.0.1" && !other_addresses().contains(&host);
        assert!(is_known || is_gone, "{host}: {said}");
    }
    let (status, said) = networks(folder, &json!({"endpoint": url}));
    assert!(status != 0 && said.contains("certificate"), "{said}");
    let (status, said) = networks(folder, &json!({"endpoint": url.replace("https", "http")}));
    assert!(status != 0 && said.contains("https://"), "{said}");

    drop(process);
    let (_process, url) = start(folder, &["-i", "0.0.0.0"]).await;
    assert_eq!(authority(), made, "the authority is kept");
    let port = url.rsplit_once(':').unwrap().1;
    let more = json!({"endpoint": format!("https://localhost:{port}"), "certificate_authority": files(folder)[1]});
    let (status, said) = networks(folder, &more);
    assert_eq!(status, 0, "{said}");
}

#[tokio::test]
async fn on_loopback_it_is_plain_http_unless_tls_is_wanted() {
    let folder = tempfile::Builder::new().prefix("c").tempdir().unwrap();
    let folder = folder.path();
    let (process, url) = start(folder, &[]).await;
    assert!(url.starts_with("http://127.0.0.1:"), "{url}");
    assert!(!files(folder).iter().any(|path| path.exists()));
    drop(process);
    let (_process, url) = start(folder, &["--tls"]).await;
    assert!(url.starts_with("https://127.0.0.1:"), "{url}");
    let more = json!({"endpoint": url, "certificate_authority": files(folder)[1]});
    let (status, said) = networks(folder, &more);
    assert_eq!(status, 0, "{said}");
}
