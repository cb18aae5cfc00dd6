//! `tools/testbed/oidc` for Rust tests: a real OpenID provider, whose users and clients its `--help` lists.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tokio::process::Command;

const TOOL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tools/testbed/oidc");

/// The variable that has what `up` prints of a provider that tests share; tests that need one are skipped without it.
pub const SHARED: &str = "COMMISSAIRE_TEST_OIDC";

/// A provider that was started.
#[derive(Debug)]
pub struct OpenIdProvider {
    /// Its URL.
    pub issuer: String,
    /// The file of the authority that its certificate verifies by.
    pub authority: PathBuf,
    /// The state directory of one that this test has started.
    own: Option<tempfile::TempDir>,
}

impl OpenIdProvider {
    /// The one that tests share; `None` skips the test.
    ///
    /// # Panics
    /// When the skipped test cannot be noted.
    #[expect(
        clippy::disallowed_methods,
        reason = "tests have no configuration but the environment"
    )]
    pub fn shared(test: &str) -> Option<Self> {
        let Ok(printed) = std::env::var(SHARED) else {
            crate::skip(test, "needs an OpenID provider: tools/testbed/oidc up");
            return None;
        };
        Some(Self::of(&printed, None))
    }

    /// One of its own; `None` skips the test.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(test: &str) -> Option<Self> {
        Self::shared(test)?;
        let folder = tempfile::Builder::new()
            .prefix("oidc")
            .tempdir()
            .expect("what tools/testbed/oidc prints");
        let until = std::process::id().to_string();
        let printed = run(&folder.path().join("s"), &["up", "--until", &until]).await;
        Some(Self::of(&printed, Some(folder)))
    }

    fn of(printed: &str, own: Option<tempfile::TempDir>) -> Self {
        let (issuer, authority) =
            printed.trim().split_once(' ').expect("what tools/testbed/oidc prints");
        Self { issuer: issuer.to_owned(), authority: authority.into(), own }
    }

    /// What the tool prints.
    ///
    /// # Panics
    /// When it fails.
    pub async fn run(&self, arguments: &[&str]) -> String {
        let tls = self.authority.parent().expect("what tools/testbed/oidc prints");
        run(tls.parent().expect("what tools/testbed/oidc prints"), arguments).await
    }

    /// A token of the client-credentials flow.
    pub async fn token(&self, options: &[&str]) -> String {
        self.run(&[&["token"], options].concat()).await
    }

    /// What a user gets who logs in with `commctl`.
    ///
    /// # Panics
    /// When that fails.
    pub async fn login(&self, user: &str) -> Value {
        serde_json::from_str(&self.run(&["login", user]).await)
            .expect("what tools/testbed/oidc prints")
    }

    /// How often its keys were fetched.
    ///
    /// # Panics
    /// When it does not say.
    pub async fn key_fetches(&self) -> u64 {
        let requests: Value = serde_json::from_str(&self.run(&["requests"]).await)
            .expect("what tools/testbed/oidc prints");
        requests["/jwks"].as_u64().unwrap_or_default()
    }

    /// Stops one of a test's own.
    pub async fn down(self) {
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
