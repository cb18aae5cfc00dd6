//! A provider that tests start, or share.

use std::path::{Path, PathBuf};

use identity_providers::oidc::Oidc;
use runtime::{Clock, Files, Lifecycle};
use serde_json::{Value, json};
use tokio::process::Command;

const TOOL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tools/testbed/oidc");

/// A provider that was started.
pub(super) struct Provider {
    issuer: String,
    authority: PathBuf,
    /// The state directory of one that this test has started.
    own: Option<tempfile::TempDir>,
}

impl Provider {
    /// The one that tests share; `None` skips the test.
    #[expect(
        clippy::disallowed_methods,
        reason = "tests have no configuration but the environment"
    )]
    pub(super) fn shared(test: &str) -> Option<Self> {
        let Ok(printed) = std::env::var("COMMISSAIRE_TEST_OIDC") else {
            testbed::skip(test, "needs COMMISSAIRE_TEST_OIDC, which tools/testbed/oidc up prints");
            return None;
        };
        Some(Self::of(&printed, None))
    }

    /// One of its own; `None` skips the test.
    pub(super) async fn start(test: &str) -> Option<Self> {
        Self::shared(test)?;
        let folder = tempfile::Builder::new().prefix("oidc").tempdir().unwrap();
        let until = std::process::id().to_string();
        let printed = run(&folder.path().join("s"), &["up", "--until", &until]).await;
        Some(Self::of(&printed, Some(folder)))
    }

    fn of(printed: &str, own: Option<tempfile::TempDir>) -> Self {
        let (issuer, authority) = printed.trim().split_once(' ').unwrap();
        Self { issuer: issuer.to_owned(), authority: authority.into(), own }
    }

    pub(super) async fn run(&self, arguments: &[&str]) -> String {
        let tls = self.authority.parent().unwrap();
        run(tls.parent().unwrap(), arguments).await
    }

    pub(super) async fn token(&self, options: &[&str]) -> String {
        self.run(&[&["token"], options].concat()).await
    }

    /// What a user gets who logs in with `commctl`.
    pub(super) async fn login(&self, user: &str) -> Value {
        serde_json::from_str(&self.run(&["login", user]).await).unwrap()
    }

    /// A verifier of its tokens, with other options than the usual ones.
    pub(super) async fn verifier(&self, others: Value) -> Oidc {
        let mut options = json!({
            "issuer": self.issuer, "audience": "commissaire", "prefix": "corp",
            "certificate-authority-path": self.authority,
        });
        for (name, value) in others.as_object().unwrap() {
            options[name] = value.clone();
        }
        let options = serde_json::from_value(options).unwrap();
        Oidc::new(options, &Files::System, Clock::System, &Lifecycle::new()).await.unwrap()
    }

    pub(super) async fn key_fetches(&self) -> u64 {
        let requests: Value = serde_json::from_str(&self.run(&["requests"]).await).unwrap();
        requests["/jwks"].as_u64().unwrap_or_default()
    }

    pub(super) async fn down(self) {
        if let Some(folder) = self.own {
            run(&folder.path().join("s"), &["down"]).await;
        }
    }
}

async fn run(state: &Path, arguments: &[&str]) -> String {
    let output = Command::new(TOOL).arg("--state").arg(state).args(arguments).output();
    let output = output.await.expect("tools/testbed/oidc can be started");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "oidc {} failed: {error}", arguments.join(" "));
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}
