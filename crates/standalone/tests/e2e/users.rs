//! `commissaire user`, and the server that notices what it changes.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

use crate::processes::Form;
use crate::server::{Server, eventually};

/// `commissaire user` on a file, with a password as its standard input.
fn user(file: &Path, arguments: &[&str], password: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_commissaire"));
    let command = command.args(["user", "--file"]).arg(file).args(arguments);
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // It may refuse the arguments before it reads.
    let _ = child.stdin.take().unwrap().write_all(password.as_bytes());
    child.wait_with_output().unwrap()
}

fn succeeds(file: &Path, arguments: &[&str], password: &str) -> String {
    let output = user(file, arguments, password);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn the_server_notices_users_who_are_added_changed_and_removed() {
    let server = Server::start(Form::OneProcess, json!({})).await;
    let file = server.folder().join("users.json");
    let url = server.processes.urls().remove(0);
    let client = Client::builder().tls_danger_accept_invalid_certs(true).build().unwrap();
    let status = async |password: &str| {
        let request = client.get(format!("{url}/api/v0/hosts")).basic_auth("ann", Some(password));
        request.send().await.unwrap().status()
    };
    let until = async |password: &str, wanted: StatusCode| {
        let what = format!("{wanted} for {password}");
        let found = || async { (status(password).await == wanted).then_some(()) };
        eventually(&what, found).await;
    };

    succeeds(&file, &["add", "ann", "--role", "reader"], "first\n");
    until("first", StatusCode::OK).await;
    succeeds(&file, &["passwd", "ann"], "second");
    until("second", StatusCode::OK).await;
    assert_eq!(status("first").await, StatusCode::FORBIDDEN);
    assert_eq!(succeeds(&file, &["list"], ""), "admin admin\nann reader\n");

    for name in ["ann", "admin"] {
        succeeds(&file, &["remove", name], "");
    }
    eventually("no usable user", || async {
        let answer = client.get(format!("{url}/readyz")).send().await.unwrap();
        let answer: Value = answer.json().await.unwrap();
        (answer["degraded"] == json!(["no usable user"])).then_some(())
    })
    .await;
    assert_eq!(status("second").await, StatusCode::FORBIDDEN);
    assert!(server.log().contains("`commissaire user add NAME`"));
}

#[test]
fn a_mistake_is_named_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("users.json");
    succeeds(&file, &["add", "ann"], "secret\n");
    let before = std::fs::read(&file).unwrap();
    assert!(!String::from_utf8_lossy(&before).contains("secret"));
    let long = "x".repeat(73);
    for (arguments, password, says) in [
        (&["add", "ann"][..], "x", "there is a user \"ann\" already"),
        (&["add", "a:b"], "x", "without colons"),
        (&["add", ""], "x", "1 to 64 characters"),
        (&["add", "bob"], "", "the password is empty"),
        (&["add", "bob"], "\n", "the password is empty"),
        (&["add", "bob"], &long, "longer than 72 bytes"),
        (&["add", "bob", "--role", "root"], "x", "root"),
        (&["passwd", "bob"], "x", "there is no user \"bob\"; there are: ann"),
        (&["remove", "bob"], "", "there is no user \"bob\"; there are: ann"),
    ] {
        let output = user(&file, arguments, password);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{arguments:?}");
        assert!(error.contains(says), "{arguments:?}: {error}");
        assert_eq!(std::fs::read(&file).unwrap(), before, "{arguments:?}");
    }
    std::fs::write(&file, "{").unwrap();
    let output = user(&file, &["add", "bob"], "x");
    assert!(String::from_utf8_lossy(&output.stderr).contains("is no users file"));
    assert_eq!(std::fs::read(&file).unwrap(), b"{");
}

#[test]
fn without_a_file_the_gateways_configuration_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let [file, config, program] =
        ["users.json", "http.conf", "commissaire-server"].map(|name| folder.path().join(name));
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_commissaire"), &program).unwrap();
    let server = || {
        let mut command = Command::new(&program);
        command.arg("--config-file").arg(&config).args(["user", "list"]).output().unwrap()
    };
    succeeds(&file, &["add", "ann"], "x");
    // No broker is needed, and no account at one.
    let plugins = json!([{"name": "httpbasicauth", "filepath": file}]);
    let named = json!({"bus-uri-file": "/nowhere", "authentication-plugins": plugins});
    std::fs::write(&config, named.to_string()).unwrap();
    assert_eq!(String::from_utf8_lossy(&server().stdout), "ann admin\n");
    std::fs::write(&config, "{}").unwrap();
    let error = server().stderr;
    assert!(String::from_utf8_lossy(&error).contains("http.conf names no users file"));
}

/// The file may be a link, and belongs to who it belonged to.
#[test]
fn the_mode_stays_and_a_link_stays_one() {
    let folder = tempfile::tempdir().unwrap();
    let (file, link) = (folder.path().join("users.json"), folder.path().join("link"));
    std::fs::write(&file, "{}").unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o604)).unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    succeeds(&link, &["add", "ann"], "x");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o604);
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(succeeds(&file, &["list"], ""), "ann admin\n");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left");
}
