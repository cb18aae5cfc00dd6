//! `tools/testbed/keystone` for Rust tests: a real Keystone, whose users its `--help` lists.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

const TOOL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tools/testbed/keystone");

/// The variable that has the URL of a Keystone that tests share; tests that need one are skipped without it.
pub const SHARED: &str = "COMMISSAIRE_TEST_KEYSTONE";

/// A Keystone: one that tests share, or one of a test's own, which is taken down when this is dropped and when the
/// process ends.
#[derive(Debug)]
pub struct Keystone {
    url: String,
    /// The directory of one of a test's own.
    folder: Option<tempfile::TempDir>,
}

impl Keystone {
    /// The one that tests share: add users of your own to change them. Without one the test is skipped.
    ///
    /// # Panics
    /// When the skipped test cannot be noted.
    #[expect(
        clippy::disallowed_methods,
        reason = "tests have no configuration but the environment"
    )]
    pub fn shared(test: &str) -> Option<Self> {
        let Ok(url) = std::env::var(SHARED) else {
            crate::skip(test, "needs a Keystone: tools/testbed/keystone up");
            return None;
        };
        Some(Self { url, folder: None })
    }

    /// Starts one with these options of `up`, which takes some seconds. Where tests share none the test is skipped.
    ///
    /// # Panics
    /// When it does not work.
    pub fn up(test: &str, options: &[&str]) -> Option<Self> {
        Self::shared(test)?;
        let folder = tempfile::Builder::new().prefix("ks").tempdir().expect("a temporary folder");
        let until = std::process::id().to_string();
        let up = [&["up", "--until", &until], options].concat();
        let url = run("--state", &state(&folder), &up);
        Some(Self { url, folder: Some(folder) })
    }

    /// Where it listens, without a path.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where it listens, for a proxy in front of it.
    ///
    /// # Panics
    /// When its URL is not that of this machine.
    pub fn address(&self) -> SocketAddr {
        let address = self.url.split('/').nth(2).and_then(|address| address.parse().ok());
        address.expect("a URL with a numeric address")
    }

    /// With `--tls`, the file with the authority of its certificate.
    ///
    /// # Panics
    /// When it has no TLS.
    pub fn authority(&self) -> PathBuf {
        PathBuf::from(self.own(&["authority"]))
    }

    /// Stops one of a test's own.
    ///
    /// # Panics
    /// When it does not work.
    pub fn stop(&self) {
        self.own(&["stop"]);
    }

    /// Starts it after [`Self::stop`], with the data it had.
    ///
    /// # Panics
    /// When it does not work.
    pub fn start(&self) {
        self.own(&["start"]);
    }

    /// Adds, disables, enables or deletes a user.
    ///
    /// # Panics
    /// When it does not work.
    pub fn user(&self, verb: &str, name: &str) {
        self.run(&["user", verb, name]);
    }

    /// A token of a user of this domain for this project (`-`: for none).
    ///
    /// # Panics
    /// When the user cannot log in.
    pub fn token(&self, user: &str, domain: &str, project: &str) -> String {
        self.run(&["token", user, domain, project])
    }

    /// Revokes a token.
    ///
    /// # Panics
    /// When it does not work.
    pub fn revoke(&self, token: &str) {
        self.run(&["revoke", token]);
    }

    fn run(&self, arguments: &[&str]) -> String {
        run("--url", Path::new(&self.url), arguments)
    }

    fn own(&self, arguments: &[&str]) -> String {
        let folder = self.folder.as_ref().expect("a Keystone of the test's own");
        run("--state", &state(folder), arguments)
    }
}

impl Drop for Keystone {
    fn drop(&mut self) {
        if self.folder.is_some() && !std::thread::panicking() {
            self.own(&["down"]);
        }
    }
}

/// The password of a user.
pub fn password(user: &str) -> String {
    format!("{user}-password")
}

fn state(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("s")
}

fn run(option: &str, value: &Path, arguments: &[&str]) -> String {
    let output = Command::new(TOOL).arg(option).arg(value).args(arguments).output();
    let output = output.expect("tools/testbed/keystone can be started");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "keystone {} failed: {error}", arguments.join(" "));
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}
