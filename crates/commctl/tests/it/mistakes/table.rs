//! Rows, and how one is carried out.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;
use wiremock::matchers::{any, path_regex};
use wiremock::{Mock, ResponseTemplate};

use crate::support::{Fleet, problem};

/// A configuration in which nothing is wrong; `{url}` is the server's.
pub(super) const CONFIG: &str = r#"{"username": "a", "password": "hunter2", "endpoint": "{url}"}"#;

pub(super) struct Mistake {
    line: &'static str,
    exit: i32,
    says: &'static [&'static str],
    config: Option<String>,
    /// Whether others can read the configuration.
    is_open: bool,
    /// Files in the home directory, by their names; of two with the same name the last counts.
    files: Vec<(&'static str, String)>,
    /// The requests that would change something; the server refuses them, except that it leaves a known host as it is.
    sends: &'static [&'static str],
}

/// A row: the line behind `commctl`, the exit status, and words of the message.
pub(super) fn mistake(line: &'static str, exit: i32, says: &'static [&'static str]) -> Mistake {
    Mistake {
        line,
        exit,
        says,
        config: Some(CONFIG.to_owned()),
        is_open: false,
        files: Vec::new(),
        sends: &[],
    }
}

impl Mistake {
    pub(super) fn with(self, config: &str) -> Self {
        Self { config: Some(config.to_owned()), ..self }
    }

    pub(super) fn without_configuration(self) -> Self {
        Self { config: None, ..self }
    }

    pub(super) fn readable_by_others(self) -> Self {
        Self { is_open: true, ..self }
    }

    pub(super) fn over_tls(self) -> Self {
        let config = self.config.map(|config| config.replace("{url}", "{tls}"));
        Self { config, ..self }
    }

    pub(super) fn beside(mut self, name: &'static str, text: &str) -> Self {
        self.files.push((name, text.to_owned()));
        self
    }

    pub(super) fn sending(self, sends: &'static [&'static str]) -> Self {
        Self { sends, ..self }
    }
}

/// Makes every mistake, each in a home and with a server of its own.
pub(super) async fn check(mistakes: &[Mistake]) {
    for Mistake { line, exit, says, config, is_open, files, sends } in mistakes {
        let fleet = fleet().await;
        let url = fleet.server.uri();
        match config {
            None => std::fs::remove_file(fleet.home.config()).unwrap(),
            Some(text) => {
                let tls = url.replace("http:", "https:");
                fleet.home.write(
                    ".commissaire.json",
                    &text.replace("{url}", &url).replace("{tls}", &tls),
                );
            }
        }
        if *is_open {
            let mode = std::fs::Permissions::from_mode(0o644);
            std::fs::set_permissions(fleet.home.config(), mode).unwrap();
        }
        for (name, text) in files {
            fleet.home.write(name, text);
        }
        let run = fleet.run(line).await;
        assert_eq!(run.status, *exit, "commctl {line}: {run:?}");
        assert!(run.status == 0 || run.stdout.is_empty(), "commctl {line}: {run:?}");
        for words in *says {
            assert!(
                run.stderr.contains(words),
                "commctl {line}: {words:?} is not in\n{}",
                run.stderr
            );
        }
        assert!(!run.stderr.contains("hunter2"), "commctl {line}: {run:?}");
        let requests = fleet.requests().await;
        assert!(run.status != 2 || requests.is_empty(), "commctl {line}: {requests:?}");
        let changes: Vec<_> =
            requests.iter().filter(|request| !request.starts_with("GET ")).collect();
        assert_eq!(changes, *sends, "commctl {line}");
    }
}

/// A server with a host in a cluster, which answers as the real one does.
async fn fleet() -> Fleet {
    let fleet = Fleet::new().await;
    let host = json!({"address": "10.0.0.1", "status": "active"});
    let creds = json!({"address": "10.0.0.1", "remote_user": "root", "ssh_priv_key": ""});
    fleet.answers("GET", "hosts", 200, json!([host])).await;
    fleet.answers("GET", "host/10.0.0.1", 200, host.clone()).await;
    fleet.answers("GET", "host/10.0.0.1/creds", 200, creds).await;
    fleet.answers("PUT", "host/10.0.0.1", 201, host).await;
    fleet.answers("GET", "networks", 200, json!(["default", "internal"])).await;
    fleet.answers("GET", "cluster/web/hosts/10.0.0.1", 200, json!(["10.0.0.1"])).await;
    fleet.answers("GET", "cluster/web/operations", 200, json!([])).await;
    let managed = json!({"name": "managed", "container_manager": "k1"});
    fleet.answers("GET", "cluster/managed", 200, managed).await;
    for (path, status, detail) in [
        ("^/api/v0/cluster/web/hosts/", 404, "10.0.0.9 is no member of the cluster web"),
        ("^/api/v0/cluster/nowhere(/|$)", 404, "there is no cluster nowhere"),
        ("^/api/v0/cluster/c1$", 409, "there is no container manager nobody"),
        ("^/api/v0/host/10.0.0.8(/|$)", 404, "there is no host 10.0.0.8"),
        ("^/api/v0/host/localhost$", 404, "there is no host localhost"),
        ("^/api/v0/operation/nowhere$", 404, "there is no operation nowhere"),
        ("^/api/v0/enrollments$", 403, "give a user name and password that this server knows"),
        ("^/else/", 404, "there is nothing at this path"),
    ] {
        refuse(&fleet, path, status, detail).await;
    }
    let unknown =
        Mock::given(wiremock::matchers::method("PUT")).and(path_regex("^/api/v0/host/10.0.0.9$"));
    let no_cluster = problem(409, "there is no cluster nowhere: create it first");
    unknown
        .respond_with(ResponseTemplate::new(409).set_body_json(no_cluster))
        .mount(&fleet.server)
        .await;
    refuse(&fleet, "^/api/v0/host/10.0.0.9(/|$)", 404, "there is no host 10.0.0.9").await;
    let page = ResponseTemplate::new(200).set_body_string("<html>");
    Mock::given(path_regex("^/page/")).respond_with(page).mount(&fleet.server).await;
    // Everything else is missing.
    let rest = ResponseTemplate::new(404).set_body_json(problem(404, "there is no such thing"));
    Mock::given(any()).respond_with(rest).mount(&fleet.server).await;
    fleet
}

async fn refuse(fleet: &Fleet, path: &str, status: u16, detail: &str) {
    let refusal = ResponseTemplate::new(status).set_body_json(problem(status, detail));
    Mock::given(path_regex(path)).respond_with(refusal).mount(&fleet.server).await;
}
