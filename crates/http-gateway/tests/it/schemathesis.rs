//! schemathesis against the document: whatever it makes of it, the answers are those that it says.

use std::process::Stdio;

use serde_json::json;
use tokio::process::Command;

use crate::support::{Executor, Managers, PASSWORD, Setup, USER};

const CONFIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/schemathesis.toml");

const HOOKS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/schemathesis_hooks.py");

/// The program, `tools/test` says where it is.
const PROGRAM: &str = "COMMISSAIRE_TEST_SCHEMATHESIS";

/// For `tools/test --full`.
mod full {
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn schemathesis_finds_nothing_that_the_document_does_not_say() {
        super::finds_nothing_that_the_document_does_not_say().await;
    }
}

#[expect(clippy::disallowed_methods, reason = "tests have no configuration but the environment")]
async fn finds_nothing_that_the_document_does_not_say() {
    let Ok(program) = std::env::var(PROGRAM) else {
        testbed::skip("schemathesis", "it is not installed: see tools/setup");
        return;
    };
    // Nothing dials what it invents: recorders stand for whatever reaches hosts and container managers.
    let setup = Setup {
        managers: Managers::Answers(Ok(json!({}))),
        executor: Executor::Answers(Err(bus::Error::not_found("there is no such cluster"))),
        public_key: Some("ssh-ed25519 AAAA commissaire"),
        trials: Some(Ok(json!({"ssh_host_key": ""}))),
        trusted_proxies: vec!["127.0.0.1".to_owned()],
        ..Setup::default()
    };
    let gateway = setup.start().await.with_everything().await;
    let folder = tempfile::tempdir().unwrap();
    let url = format!("http://{}/api/v0/openapi.json", gateway.address);
    let output = Command::new(program)
        .args(["--no-color", "--config-file", CONFIG, "run", &url])
        // Without a Custodia there is nothing there: what is then said is the concern of `secrets`.
        .args(["--exclude-path-regex", "^/api/v0/secrets"])
        .env("SCHEMATHESIS_HOOKS", HOOKS)
        .env("GATEWAY_USER", USER)
        .env("GATEWAY_PASSWORD", PASSWORD)
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(gateway.get("/clusters").await.status, 200);
}
