//! TLS without being given a certificate: the first start makes an authority, and `commctl` pins it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};
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
    let password = std::fs::read_to_string(folder.join("d/admin-password"));
    // With a plugin of its own a server makes no administrator.
    let password = password.unwrap_or_else(|_| "none".to_owned());
    let mut config = json!({"username": "admin", "password": password.trim()});
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let path = folder.join("commctl.json");
    std::fs::write(&path, config.to_string()).unwrap();
    let output = commctl().arg("-c").arg(path).args(["network", "list"]).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(said).unwrap())
}

fn commctl() -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_commissaire")).with_file_name("commctl");
    assert!(program.exists(), "`cargo build -p commctl` first");
    Command::new(program)
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

#[tokio::test]
async fn commctl_logs_in_by_the_fingerprint_that_the_server_prints() {
    let folder = tempfile::Builder::new().prefix("c").tempdir().unwrap();
    let folder = folder.path();
    let print = |config: &str| {
        let mut command = commissaire(folder, config);
        let output = command.arg("ca-fingerprint").stdout(Stdio::piped()).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8(text).unwrap())
    };
    let (status, error) = print("{}");
    assert!(status == 1 && error.contains("--tls"), "{error}");
    let (mut process, url) = start(folder, &["--tls"]).await;
    let (status, printed) = print("{}");
    assert_eq!(status, 0, "while the server runs: {printed}");
    let configured = json!({"tls-pemfile": files(folder)[2]}).to_string();
    assert_eq!(print(&configured), (0, printed.clone()));
    let fingerprint = printed.trim();

    let login = |fingerprint: &str| {
        let password = File::open(folder.join("d/admin-password")).unwrap();
        let mut command = commctl();
        command.env("HOME", folder).stdin(password);
        command.args(["login", &url, "--username", "admin", "--ca-fingerprint", fingerprint]);
        command.output().unwrap()
    };
    let output = login(&"00".repeat(32));
    let error = String::from_utf8(output.stderr).unwrap();
    // The authority that the server sends is the one whose fingerprint it prints.
    assert!(!output.status.success() && error.contains(fingerprint), "{error}");
    assert!(!folder.join(".commissaire.json").exists());
    let output = login(fingerprint);
    assert!(output.status.success(), "{output:?}");
    let output = commctl().env("HOME", folder).args(["network", "list"]).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "- default\n");
    let pinned = std::fs::read_to_string(folder.join(".commissaire-ca.pem")).unwrap();
    assert_eq!(pinned, std::fs::read_to_string(&files(folder)[1]).unwrap());

    process.0.kill().unwrap();
    let mut log = String::new();
    process.0.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert!(log.contains(fingerprint), "{log}");
}

/// An authority, and a certificate of it with this name: three times PEM, the key last.
fn client(name: &str) -> [String; 3] {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    [authority.pem(), certificate.pem(), key.serialize_pem()]
}

#[tokio::test]
async fn a_credential_plugin_has_a_certificate() {
    let folder = tempfile::Builder::new().prefix("c").tempdir().unwrap();
    let folder = folder.path();
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        path.display().to_string()
    };
    let [authority, certificate, key] = client("ada");
    let authority = write("clients.pem", &authority);
    let plugin = "httpauthclientcert:cn=ada";
    let verified = ["--tls-clientverifyfile", &authority, "--authentication-plugin", plugin];
    let (_process, url) = start(folder, &[&["--tls"], &verified[..]].concat()).await;

    let answer = json!({
        "apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",
        "status": {"clientCertificateData": certificate, "clientKeyData": key},
    });
    let answer = write("answer.json", &answer.to_string());
    write("login", &format!("#!/bin/sh\nexec cat '{answer}'\n"));
    let exec = json!({"apiVersion": "client.authentication.k8s.io/v1", "command": "./login"});
    let mut more = json!({"endpoint": url, "certificate_authority": files(folder)[1],
                          "kubeconfig": "kubeconfig"});
    let kubeconfig = |user: Value| {
        let text = json!({
            "current-context": "here", "contexts": [{"name": "here", "context": {"user": "me"}}],
            "users": [{"name": "me", "user": user}],
        });
        write("kubeconfig", &text.to_string());
    };
    kubeconfig(json!({"exec": exec}));
    let (status, said) = networks(folder, &more);
    assert!(status == 0 && said.starts_with("- default\n"), "{said}");

    // And as files and data of the kubeconfig itself.
    let data = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &key);
    write("client.pem", &certificate);
    kubeconfig(json!({"client-certificate": "client.pem", "client-key-data": data}));
    let (status, said) = networks(folder, &more);
    assert!(status == 0 && said.starts_with("- default\n"), "{said}");

    more.as_object_mut().unwrap().remove("kubeconfig");
    let (status, said) = networks(folder, &more);
    assert!(status != 0 && !said.contains("default"), "{said}");
}
