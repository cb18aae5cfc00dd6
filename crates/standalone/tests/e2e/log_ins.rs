//! Users of a real OpenID provider, who log in with `commctl`.

use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use testbed::oidc::OpenIdProvider;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use crate::processes::Form;
use crate::program::Commissaire;
use crate::server::{LONG, PASSWORD, Server};

/// `commctl` with this home.
fn commctl(home: &Path, arguments: &[&str]) -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_commissaire")).with_file_name("commctl");
    assert!(program.exists(), "`cargo build -p commctl` first");
    let mut command = Command::new(program);
    command.args(arguments).env_clear().env("HOME", home).current_dir(home).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Its exit status, and what it printed.
async fn run(home: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = timeout(LONG, commctl(home, arguments).output()).await.unwrap().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// Logs in with a device, as this user of the provider.
async fn log_in(
    home: &Path,
    url: &str,
    provider: &OpenIdProvider,
    user: &str,
) -> (Option<i32>, String) {
    let mut login = commctl(home, &["login", url, "--device"]).spawn().unwrap();
    let mut lines = BufReader::new(login.stderr.take().unwrap()).lines();
    let mut written = String::new();
    while let Some(line) = timeout(LONG, lines.next_line()).await.unwrap().unwrap() {
        if let Some((_, code)) = line.split_once("enter the code ") {
            provider.run(&["approve", code, user]).await;
        }
        written += &line;
    }
    (login.wait().await.unwrap().code(), written)
}

/// A server whose users are an administrator, and those of the provider.
async fn server(provider: &OpenIdProvider) -> Server {
    let plugin = json!({
        "name": "oidc", "issuer": provider.issuer, "audience": "commissaire", "prefix": "corp",
        "client-id": "commctl", "login-scopes": ["openid", "offline_access", "groups", "fleet.operate"],
        "certificate-authority-path": provider.authority, "roles": {"corp:operators": "operator"},
    });
    let users = json!({"admin": {"hash": bcrypt::hash(PASSWORD, 4).unwrap()}});
    let plugins = json!([{"name": "httpbasicauth", "users": users}, plugin]);
    Server::start(Form::OneProcess, json!({"authentication-plugins": plugins})).await
}

#[tokio::test(flavor = "multi_thread")]
async fn users_of_an_identity_provider_log_in_list_hosts_and_log_out() {
    let Some(provider) = OpenIdProvider::shared("e2e oidc") else { return };
    let server = server(&provider).await;
    let url = server.processes.urls().remove(0);
    let home = tempfile::tempdir().unwrap();
    let home = home.path();

    // The provider knows bob, who has no role here.
    let (status, written) = log_in(home, &url, &provider, "bob").await;
    assert_eq!(status, Some(1), "{written}");
    assert!(
        written.contains("you are corp:bob with no groups, and have no role here"),
        "{written}"
    );
    assert!(!home.join(".commissaire.json").exists());

    let (status, written) = log_in(home, &url, &provider, "ann").await;
    assert_eq!(status, Some(0), "{written}");
    assert!(written.contains("as \"corp:ann\""), "{written}");
    let (status, hosts, error) = run(home, &["host", "list"]).await;
    assert_eq!((status, hosts.as_str()), (Some(0), "[]\n"), "{error}");
    let (_, caller, _) = run(home, &["-o", "json", "whoami"]).await;
    let caller: Value = serde_json::from_str(&caller).unwrap();
    assert_eq!((&caller["name"], &caller["role"]), (&json!("corp:ann"), &json!("operator")));

    let (status, _, said) = run(home, &["logout"]).await;
    assert!(status == Some(0) && said.starts_with("revoked the log-in at corp\n"), "{said}");
    let (status, hosts, error) = run(home, &["host", "list"]).await;
    assert_eq!((status, hosts.as_str()), (Some(1), ""), "{error}");
}

/// The binding might have been deleted after the backup.
#[tokio::test(flavor = "multi_thread")]
async fn users_with_bindings_log_in_after_a_restore_once_these_are_accepted() {
    let Some(provider) = OpenIdProvider::shared("e2e oidc restore") else { return };
    let mut server = server(&provider).await;
    let binding = ["--user", "corp:ann", "--role", "admin", "--cluster", "*"];
    let (status, _, said) = server.commctl(&[&["access", "create", "ann"], &binding[..]].concat());
    assert_eq!(status, 0, "{said}");
    let url = server.processes.urls().remove(0);
    let home = tempfile::tempdir().unwrap();
    let (status, written) = log_in(home.path(), &url, &provider, "ann").await;
    assert_eq!(status, Some(0), "{written}");

    let backup = server.folder().join("backup.jsonl");
    let backup = backup.to_str().unwrap();
    let commissaire = Commissaire { server: &server, form: Form::OneProcess };
    commissaire.succeeds("backup", &["-o", backup]);
    server.processes.kill_all();
    let commissaire = Commissaire { server: &server, form: Form::OneProcess };
    let report = commissaire.succeeds("restore", &["--replace", backup]);
    assert!(report.contains("commctl access accept"), "{report}");
    server.start_again().await;

    // The log-in from before has no rights, and neither has the role of its group.
    let url = server.processes.urls().remove(0);
    let (status, written) = log_in(home.path(), &url, &provider, "ann").await;
    assert_eq!(status, Some(1), "{written}");
    assert!(written.contains("your bindings were restored from a backup"), "{written}");
    let (status, _, said) = server.commctl(&["access", "accept", "ann"]);
    assert_eq!(status, 0, "{said}");
    let (status, written) = log_in(home.path(), &url, &provider, "ann").await;
    assert_eq!(status, Some(0), "{written}");
    let (status, hosts, error) = run(home.path(), &["host", "list"]).await;
    assert_eq!((status, hosts.as_str()), (Some(0), "[]\n"), "{error}");
}
