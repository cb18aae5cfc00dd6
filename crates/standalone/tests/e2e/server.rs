//! A Commissaire of a test's own, in one of its forms, and its API.

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use testbed::Testbed;
use tokio::time::Instant;

use crate::processes::{Form, Ground, Processes};

/// Long enough for anything that works.
pub(crate) const LONG: Duration = Duration::from_secs(90);

/// Of the user `admin`.
pub(crate) const PASSWORD: &str = "se:cret";

pub(crate) struct Server {
    // Before the folder: their logs are shown when a test fails.
    pub(crate) processes: Processes,
    folder: tempfile::TempDir,
    client: Client,
}

impl Server {
    /// Starts Commissaire in a form, with the given members in its configuration.
    pub(crate) async fn start(form: Form, config: Value) -> Self {
        let mut server = Self::prepare(form, None, &config);
        server.start_again().await;
        server
    }

    /// The same, on this broker and store; nothing is started yet.
    pub(crate) fn prepare(form: Form, ground: Option<Ground>, config: &Value) -> Self {
        // A short path: control sockets are made below it.
        let folder = tempfile::Builder::new().prefix("c").tempdir().unwrap();
        let hash = bcrypt::hash(PASSWORD, 4).unwrap();
        let users = json!({"admin": {"hash": hash}}).to_string();
        std::fs::write(folder.path().join("users.json"), users).unwrap();
        // Beyond loopback its certificate is by an authority that it makes itself: commctl and hosts pin that.
        let client = Client::builder().tls_danger_accept_invalid_certs(true);
        let client = client.timeout(Duration::from_secs(20)).build().unwrap();
        let processes = Processes::new(folder.path(), form, ground, config);
        Self { processes, folder, client }
    }

    /// Starts what does not run, on the same data as before, and waits until all of it is ready.
    pub(crate) async fn start_again(&mut self) {
        self.processes.start().await;
        self.answers().await;
    }

    /// Waits until the API answers with something from the store.
    pub(crate) async fn answers(&self) {
        eventually("the storage service answers", || async {
            let (status, _) = self.try_call(Method::GET, "/network/default", json!({})).await?;
            (status == StatusCode::OK).then_some(())
        })
        .await;
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.folder.path().join("d")
    }

    pub(crate) fn run_dir(&self) -> PathBuf {
        self.folder.path().join("r")
    }

    pub(crate) fn log(&self) -> String {
        self.processes.log()
    }

    /// The private keys of hosts that lie in files now.
    pub(crate) fn keys_in_use(&self) -> Vec<PathBuf> {
        let (mut found, mut folders) = (Vec::new(), vec![self.run_dir()]);
        while let Some(folder) = folders.pop() {
            // One that is removed at this moment holds no keys.
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    folders.push(entry.path());
                } else if entry.file_name() == "key" {
                    found.push(entry.path());
                }
            }
        }
        found
    }

    /// A request, its status and its JSON body.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Value,
    ) -> (StatusCode, Value) {
        self.try_call(method, path, body).await.unwrap()
    }

    /// The same; `None` when no gateway can be reached, or the connection broke.
    pub(crate) async fn try_call(
        &self,
        method: Method,
        path: &str,
        body: Value,
    ) -> Option<(StatusCode, Value)> {
        for url in self.processes.urls() {
            let url = format!("{url}/api/v0{path}");
            let request = self.client.request(method.clone(), url);
            let request = request.basic_auth("admin", Some(PASSWORD)).json(&body);
            if let Ok(answer) = request.send().await {
                let status = answer.status();
                return Some((status, answer.json().await.ok()?));
            }
        }
        None
    }

    /// The answer to a GET once there is one: whatever is just being killed comes back.
    pub(crate) async fn get_at_last(&self, path: &str) -> Value {
        eventually(path, || async {
            let (status, body) = self.try_call(Method::GET, path, json!({})).await?;
            (status == StatusCode::OK).then_some(body)
        })
        .await
    }

    /// A PUT until it is acknowledged.
    pub(crate) async fn put_at_last(&self, path: &str, body: Value) -> Value {
        eventually(path, || async {
            let (status, body) = self.try_call(Method::PUT, path, body.clone()).await?;
            (status == StatusCode::CREATED).then_some(body)
        })
        .await
    }

    /// A DELETE until what it deletes is gone.
    pub(crate) async fn delete_at_last(&self, path: &str) {
        eventually(path, || async {
            let (status, _) = self.try_call(Method::DELETE, path, json!({})).await?;
            [StatusCode::OK, StatusCode::NOT_FOUND].contains(&status).then_some(())
        })
        .await;
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
            let status = self.get_at_last(&format!("/host/{address}/status")).await;
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
        self.ended("restart").await
    }

    /// Waits for the end of the operation of this kind on `c1`.
    pub(crate) async fn ended(&self, kind: &str) -> Value {
        eventually("the operation ends", || async {
            let record = self.get_at_last(&format!("/cluster/c1/{kind}")).await;
            (record["status"] != "in_process").then_some(record)
        })
        .await
    }

    /// The newest operation on `c1`, with all its hosts.
    pub(crate) async fn operation(&self) -> Value {
        let all = self.get("/cluster/c1/operations").await;
        self.get(&format!("/operation/{}", all[0]["id"].as_str().unwrap())).await
    }

    /// Waits until the newest operation on `c1` is in this state.
    pub(crate) async fn state(&self, state: &str) -> Value {
        eventually(state, || async {
            let operation = self.operation().await;
            (operation["state"] == state).then_some(operation)
        })
        .await
    }

    /// The log of the newest operation on `c1`, as far as it has come.
    pub(crate) async fn events(&self) -> Vec<Value> {
        let id = self.operation().await["id"].as_str().unwrap().to_owned();
        let url = format!("{}/api/v0/operation/{id}/events?follow=false", self.processes.urls()[0]);
        let answer = self.client.get(url).basic_auth("admin", Some(PASSWORD)).send().await.unwrap();
        let lines = answer.text().await.unwrap();
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Waits until the log of the newest operation on `c1` has a line with this outcome.
    pub(crate) async fn event(&self, outcome: &str) -> Value {
        eventually(outcome, || async {
            self.events().await.into_iter().find(|event| event["outcome"] == outcome)
        })
        .await
    }

    /// Tells the newest operation on `c1` to pause, resume or abort.
    pub(crate) async fn tell(&self, what: &str) {
        let id = self.operation().await["id"].as_str().unwrap().to_owned();
        let path = format!("/operation/{id}/{what}");
        let (status, body) = self.call(Method::POST, &path, json!({})).await;
        assert_eq!(status, StatusCode::OK, "{what}: {body}");
    }

    /// The newest record whose key begins with `prefix`, read from the store behind the server's back.
    pub(crate) async fn stored(&self, prefix: &str) -> Option<Value> {
        let text = match &self.processes.ground {
            None => self.stored_in_sqlite(prefix)?,
            Some(ground) => ground.newest(prefix, 1).await?.pop()?,
        };
        serde_json::from_str(&text).ok()
    }

    /// Writes over a record, behind the server's back.
    pub(crate) fn overwrite(&self, key: &str, value: &str) {
        if let Some(ground) = &self.processes.ground {
            ground.etcd.ctl(&["put", key, value]);
            return;
        }
        let path = self.data_dir().join("commissaire.db");
        let database = rusqlite::Connection::open(path).unwrap();
        let update = "UPDATE records SET value = ? WHERE key = ?";
        assert_eq!(database.execute(update, [value, key]).unwrap(), 1);
    }

    fn stored_in_sqlite(&self, prefix: &str) -> Option<String> {
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
        let path = self.data_dir().join("commissaire.db");
        let database = rusqlite::Connection::open_with_flags(path, flags).unwrap();
        let sql = "SELECT value FROM records WHERE key GLOB ? ORDER BY revision DESC LIMIT 1";
        database.query_row(sql, [format!("{prefix}*")], |row| row.get(0)).ok()
    }

    /// `commctl` against this server: exit status, standard output and standard error.
    pub(crate) fn commctl(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut config = json!({"endpoint": self.processes.urls()[0], "username": "admin", "password": PASSWORD});
        let authority = self.data_dir().join("ca.pem");
        if authority.exists() {
            config["certificate_authority"] = json!(authority);
        }
        let path = self.folder.path().join("commctl.json");
        std::fs::write(&path, config.to_string()).unwrap();
        let program = Path::new(env!("CARGO_BIN_EXE_commissaire")).with_file_name("commctl");
        assert!(program.exists(), "`cargo build -p commctl` first");
        let output = Command::new(program).arg("-c").arg(path).args(arguments).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
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
    poll(what, Duration::from_millis(100), LONG, ask).await
}

/// Asks at short intervals until there is an answer: for moments that pass quickly.
pub(crate) async fn soon<T: Debug, F: Future<Output = Option<T>>>(
    what: &str,
    ask: impl FnMut() -> F,
) -> T {
    poll(what, Duration::from_millis(2), LONG, ask).await
}

/// Asks at this interval until there is an answer, and for this long.
pub(crate) async fn poll<T: Debug, F: Future<Output = Option<T>>>(
    what: &str,
    every: Duration,
    limit: Duration,
    mut ask: impl FnMut() -> F,
) -> T {
    let begin = Instant::now();
    let mut ticks = tokio::time::interval(every);
    while begin.elapsed() < limit {
        ticks.tick().await;
        if let Some(answer) = ask().await {
            return answer;
        }
    }
    panic!("not within {limit:?}: {what}");
}
