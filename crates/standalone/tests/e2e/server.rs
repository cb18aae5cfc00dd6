//! A `commissaire` process of a test's own, and its API.

use std::fmt::Debug;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use testbed::Testbed;

/// Long enough for anything that works.
pub(crate) const LONG: Duration = Duration::from_secs(90);

const PASSWORD: &str = "se:cret";

pub(crate) struct Server {
    folder: tempfile::TempDir,
    process: Option<Child>,
    client: Client,
}

impl Server {
    /// Starts a server with the given members in its configuration.
    pub(crate) async fn start(config: Value) -> Self {
        // A short path: control sockets are made below it.
        let folder = tempfile::Builder::new().prefix("c").tempdir().unwrap();
        let hash = bcrypt::hash(PASSWORD, 4).unwrap();
        let users = json!({"admin": {"hash": hash}}).to_string();
        std::fs::write(folder.path().join("users.json"), users).unwrap();
        std::fs::write(folder.path().join("conf"), config.to_string()).unwrap();
        let client = Client::builder().timeout(Duration::from_secs(20)).build().unwrap();
        let mut server = Self { folder, process: None, client };
        server.start_again().await;
        server
    }

    /// Starts the process on the same data as before, and waits until it is ready.
    pub(crate) async fn start_again(&mut self) {
        let path = |name: &str| self.folder.path().join(name);
        let _ = std::fs::remove_file(self.address_file());
        let log = File::options().append(true).create(true).open(path("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_commissaire"));
        command.arg("--data-dir").arg(path("d")).arg("--run-dir").arg(path("r"));
        command.arg("--users").arg(path("users.json")).arg("-c").arg(path("conf"));
        command.args(["-p", "0", "--debug"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let mut process = command.spawn().unwrap();
        eventually("the server is ready", || {
            let ended = process.try_wait().unwrap();
            assert!(ended.is_none(), "it ended with {ended:?}: {}", self.log());
            let ready = self.address_file().exists();
            async move { ready.then_some(()) }
        })
        .await;
        self.process = Some(process);
    }

    fn address_file(&self) -> PathBuf {
        self.data_dir().join("address")
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.folder.path().join("d")
    }

    pub(crate) fn run_dir(&self) -> PathBuf {
        self.folder.path().join("r")
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.as_ref().unwrap().id()
    }

    pub(crate) fn kill(&mut self) {
        let mut process = self.process.take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// SIGTERM, and how it ended.
    pub(crate) async fn terminate(&mut self) -> ExitStatus {
        let pid = rustix::process::Pid::from_child(self.process.as_ref().unwrap());
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let mut process = self.process.take().unwrap();
        eventually("the process ends", || {
            let ended = process.try_wait().unwrap();
            async move { ended }
        })
        .await
    }

    /// A request, its status and its JSON body.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Value,
    ) -> (StatusCode, Value) {
        let address = std::fs::read_to_string(self.address_file()).unwrap();
        let url = format!("{}/api/v0{path}", address.trim());
        let request = self.client.request(method, url).basic_auth("admin", Some(PASSWORD));
        let answer = request.json(&body).send().await.unwrap();
        (answer.status(), answer.json().await.unwrap())
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let (status, body) = self.call(Method::GET, path, json!({})).await;
        assert_eq!(status, StatusCode::OK, "GET {path}: {body}");
        body
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Value {
        let (status, body) = self.call(Method::PUT, path, body).await;
        assert_eq!(status, StatusCode::CREATED, "PUT {path}: {body}");
        body
    }

    /// Registers a host of the testbed with the key that it lets in, and further members of the body.
    pub(crate) async fn register(&self, testbed: &Testbed, host: usize, more: Value) -> Value {
        let (address, port) = testbed.address(host);
        let mut body =
            json!({"ssh_port": port, "remote_user": testbed.user(), "ssh_priv_key": key(testbed)});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.put(&format!("/host/{address}"), body).await
    }

    /// Waits until a host is set up, or has failed, and returns its status document.
    pub(crate) async fn settled(&self, address: &str) -> Value {
        eventually("the host is settled", || async {
            let status = self.get(&format!("/host/{address}/status")).await;
            let word = status["host"]["status"].as_str().unwrap().to_owned();
            matches!(word.as_str(), "disassociated" | "active" | "failed").then_some(status)
        })
        .await
    }

    /// A cluster `c1` of all hosts of the testbed, set up.
    pub(crate) async fn cluster(&self, testbed: &Testbed) {
        self.put("/cluster/c1", json!({})).await;
        for host in 0..testbed.hosts().len() {
            self.register(testbed, host, json!({"cluster": "c1"})).await;
        }
        for host in 0..testbed.hosts().len() {
            let status = self.settled(testbed.address(host).0).await;
            assert_eq!(status["host"]["status"], "disassociated", "{status}");
        }
    }

    /// An empty cluster `c1` whose hosts get flannel.
    pub(crate) async fn flannel_cluster(&self) {
        let options = json!({"address": "192.168.152.1:8888"});
        self.put("/network/fl", json!({"type": "flannel_server", "options": options})).await;
        self.put("/cluster/c1", json!({"network": "fl"})).await;
    }

    /// Waits for the end of the restart of `c1`.
    pub(crate) async fn restarted(&self) -> Value {
        eventually("the restart ends", || async {
            let record = self.get("/cluster/c1/restart").await;
            (record["status"] != "in_process").then_some(record)
        })
        .await
    }

    /// The newest record whose key begins with `prefix`, read from the store behind the server's back.
    pub(crate) fn stored(&self, prefix: &str) -> Option<Value> {
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
        let path = self.data_dir().join("commissaire.db");
        let database = rusqlite::Connection::open_with_flags(path, flags).unwrap();
        let sql = "SELECT value FROM records WHERE key GLOB ? ORDER BY revision DESC LIMIT 1";
        let value = database.query_row(sql, [format!("{prefix}*")], |row| row.get::<_, String>(0));
        value.ok().map(|text| serde_json::from_str(&text).unwrap())
    }

    /// `commctl` against this server: exit status, standard output and standard error.
    pub(crate) fn commctl(&self, arguments: &[&str]) -> (i32, String, String) {
        let address = std::fs::read_to_string(self.address_file()).unwrap();
        let config = json!({"endpoint": address.trim(), "username": "admin", "password": PASSWORD});
        let path = self.folder.path().join("commctl.json");
        std::fs::write(&path, config.to_string()).unwrap();
        let program = Path::new(env!("CARGO_BIN_EXE_commissaire")).with_file_name("commctl");
        assert!(program.exists(), "`cargo build -p commctl` first");
        let output = Command::new(program).arg("-c").arg(path).args(arguments).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
        if std::thread::panicking() {
            eprintln!("---- log of commissaire ----\n{}", self.log());
        }
    }
}

/// The private key that the testbed's hosts let in, as the API takes it.
pub(crate) fn key(testbed: &Testbed) -> String {
    BASE64.encode(std::fs::read(testbed.key()).unwrap())
}

/// Asks until there is an answer.
pub(crate) async fn eventually<T: Debug, F: Future<Output = Option<T>>>(
    what: &str,
    ask: impl FnMut() -> F,
) -> T {
    poll(what, Duration::from_millis(100), ask).await
}

/// Asks at short intervals until there is an answer: for moments that pass quickly.
pub(crate) async fn soon<T: Debug>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    poll(what, Duration::from_millis(2), || {
        let answer = ask();
        async { answer }
    })
    .await
}

async fn poll<T: Debug, F: Future<Output = Option<T>>>(
    what: &str,
    every: Duration,
    mut ask: impl FnMut() -> F,
) -> T {
    let begin = Instant::now();
    let mut ticks = tokio::time::interval(every);
    while begin.elapsed() < LONG {
        ticks.tick().await;
        if let Some(answer) = ask().await {
            return answer;
        }
    }
    panic!("not within {LONG:?}: {what}");
}
