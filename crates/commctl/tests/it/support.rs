//! A server to talk to, and running commctl.

pub(crate) mod flawed_tls;
pub(crate) mod issuer;
pub(crate) mod terminal;
pub(crate) mod tls;

use std::io::ErrorKind;
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};
use tokio::time::Instant;
use wiremock::matchers::{any, method, path};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

/// What takes longer hangs.
pub(crate) const HANG: Duration = Duration::from_mins(1);

/// What became of one run.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    /// It succeeded, with this output.
    #[track_caller]
    pub(crate) fn printed(&self, stdout: &str) {
        assert_eq!((self.status, self.stdout.as_str()), (0, stdout), "{self:?}");
    }

    /// It failed with this status and message, and without output.
    #[track_caller]
    pub(crate) fn failed(&self, status: i32, stderr: &str) {
        assert_eq!((self.status, self.stderr.as_str()), (status, stderr), "{self:?}");
        assert_eq!(self.stdout, "");
    }
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        Self {
            status: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// A directory that is commctl's home, with a configuration.
pub(crate) struct Home {
    pub(crate) dir: TempDir,
}

impl Home {
    pub(crate) fn empty() -> Self {
        Self { dir: TempDir::new().unwrap() }
    }

    pub(crate) fn with(config: &Value) -> Self {
        let home = Self::empty();
        home.write(".commissaire.json", &config.to_string());
        home
    }

    /// Writes a file that only its owner can read.
    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Its configuration, for messages.
    pub(crate) fn config(&self) -> String {
        self.dir.path().join(".commissaire.json").display().to_string()
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_commctl"));
        command
            .args(args)
            .env_clear()
            .env("HOME", self.dir.path())
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    pub(crate) async fn run(&self, args: &[&str]) -> Run {
        finish(self.command(args).spawn().unwrap()).await
    }

    /// Runs with something on standard input.
    pub(crate) async fn run_with_input(&self, args: &[&str], input: &str) -> Run {
        let mut child = self.command(args).stdin(Stdio::piped()).spawn().unwrap();
        // It may have ended without reading: what it says about that is what counts.
        match child.stdin.take().unwrap().write_all(input.as_bytes()).await {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => panic!("no input: {error}"),
            _ => {}
        }
        finish(child).await
    }
}

/// Waits for the end, but not for ever.
pub(crate) async fn finish(child: Child) -> Run {
    tokio::time::timeout(HANG, child.wait_with_output())
        .await
        .expect("commctl hangs")
        .unwrap()
        .into()
}

/// A server, and a home configured for it.
pub(crate) struct Fleet {
    pub(crate) server: MockServer,
    pub(crate) home: Home,
}

impl Fleet {
    pub(crate) async fn new() -> Self {
        let server = MockServer::start().await;
        // A server of ours has an error document for everything that does not exist.
        let missing = ResponseTemplate::new(404).set_body_json(problem(404, "there is nothing"));
        Mock::given(any()).respond_with(missing).with_priority(u8::MAX).mount(&server).await;
        let home = Home::with(&config(&[&server.uri()]));
        Self { server, home }
    }

    /// From now on this is the answer; `at` is the path below the API's root.
    pub(crate) async fn answers(&self, verb: &str, at: &str, status: u16, body: Value) {
        answer(verb, at, status, body).mount(&self.server).await;
    }

    /// As [`Self::answers`], but the next time only.
    pub(crate) async fn answers_once(&self, verb: &str, at: &str, status: u16, body: Value) {
        answer(verb, at, status, body).up_to_n_times(1).mount(&self.server).await;
    }

    /// From now on this is refused.
    pub(crate) async fn refuses(&self, verb: &str, at: &str, status: u16, detail: &str) {
        self.answers(verb, at, status, problem(status, detail)).await;
    }

    pub(crate) async fn run(&self, line: &str) -> Run {
        self.home.run(&line.split_whitespace().collect::<Vec<_>>()).await
    }

    /// The only request so far.
    pub(crate) async fn request(&self) -> Request {
        let mut requests = self.server.received_requests().await.unwrap();
        assert_eq!(requests.len(), 1, "{requests:?}");
        requests.remove(0)
    }

    /// The body of the only request that has one.
    pub(crate) async fn body(&self) -> Value {
        let mut requests = self.server.received_requests().await.unwrap();
        requests.retain(|request| !request.body.is_empty());
        assert_eq!(requests.len(), 1, "{requests:?}");
        requests[0].body_json().unwrap()
    }

    /// Method and path of each request.
    pub(crate) async fn requests(&self) -> Vec<String> {
        let requests = self.server.received_requests().await.unwrap();
        requests.iter().map(|r| format!("{} {}", r.method, r.url.path())).collect()
    }

    /// Waits until so many requests have come.
    pub(crate) async fn is_asked(&self, times: usize) {
        let begun = Instant::now();
        while self.requests().await.len() < times {
            assert!(begun.elapsed() < HANG, "{:?}", self.requests().await);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// An answer to every request of this kind.
fn answer(verb: &str, at: &str, status: u16, body: Value) -> Mock {
    Mock::given(method(verb))
        .and(path(format!("/api/v0/{at}")))
        .respond_with(ResponseTemplate::new(status).set_body_json(body))
}

/// A configuration with these endpoints.
pub(crate) fn config(endpoints: &[&str]) -> Value {
    json!({"username": "a", "password": "hunter2", "endpoint": endpoints})
}

/// The body of a refusal.
pub(crate) fn problem(status: u16, detail: &str) -> Value {
    let title = match status {
        403 => "Forbidden",
        404 => "Not Found",
        409 => "Conflict",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        other => panic!("no title for {other}"),
    };
    json!({"type": "about:blank", "title": title, "status": status, "detail": detail})
}

/// An address where nothing listens.
pub(crate) const NOWHERE: &str = "http://127.0.0.1:1";
