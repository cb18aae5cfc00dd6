//! Replays all recorded exchanges in order. Responses have to equal the recorded ones except for values that differ
//! between any two servers: times, uids, resource versions and generated names.

mod amendments;
mod comparison;

use std::panic::Location;

use http_body_util::Full;
use hyper::body::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use simulated_kubernetes::{Certificate, Identity, MASTERS, SimulatedKubernetes};

use self::amendments::{EXCLUDED, accept, body, credentials};
use self::comparison::Comparison;
use crate::support::{ADMIN, Answered, kubernetes, send};

const RECORDED: &str = include_str!("../../../containermgr-svc/tests/data/kubernetes-api.jsonl");

#[derive(Debug, Deserialize)]
struct Exchange {
    id: String,
    method: String,
    path: String,
    request_content_type: Option<String>,
    request_json: Value,
    authorization: String,
    status: Option<u16>,
    content_type: Option<String>,
    headers: serde_json::Map<String, Value>,
    response: Value,
}

/// The exchanges, with other names in them.
fn exchanges(renamed: &[(&str, &str)]) -> Vec<Exchange> {
    let lines = RECORDED.lines().map(|line| {
        let original: Exchange = serde_json::from_str(line).unwrap();
        let line = renamed.iter().fold(line.to_owned(), |line, (from, to)| line.replace(from, to));
        let renamed: Exchange = serde_json::from_str(&line).unwrap();
        Exchange { id: original.id, ..renamed }
    });
    lines.collect()
}

/// The state of a replay.
struct Replay {
    kubernetes: SimulatedKubernetes,
    comparison: Comparison,
    renamed: Vec<(&'static str, &'static str)>,
    service_account_token: String,
}

fn new_kubernetes() -> SimulatedKubernetes {
    let kubernetes = kubernetes();
    kubernetes.add_user("noright-token", "noright-user", &[]);
    kubernetes.add_user("readonly-token", "readonly-user", &["node-readers"]);
    kubernetes
}

impl Replay {
    fn new(renamed: &[(&'static str, &'static str)]) -> Self {
        Self {
            kubernetes: new_kubernetes(),
            comparison: Comparison::new(renamed),
            renamed: renamed.to_vec(),
            service_account_token: String::new(),
        }
    }

    fn name(&self, name: &str) -> String {
        self.renamed.iter().fold(name.to_owned(), |name, (from, to)| name.replace(from, to))
    }

    /// Performs the unrecorded actions that precede this exchange.
    async fn prepare(&mut self, id: &str) {
        match id {
            "noanon-notoken-list-401" => self.kubernetes.reject_anonymous(true),
            "gone-list-page1-200" => {
                self.kubernetes = new_kubernetes();
                self.comparison = Comparison::new(&self.renamed);
                for number in 0..6 {
                    let name = self.name(&format!("gone-{number}"));
                    let node = json!({"metadata": {"name": name}});
                    self.admin("POST", "/api/v1/nodes", "application/json", &node).await;
                }
            }
            "gone-list-continue-expired-410" => {
                let path = format!("/api/v1/nodes/{}", self.name("gone-0"));
                for number in 0..40 {
                    let labels = json!({"metadata": {"labels": {"n": number.to_string()}}});
                    self.admin("PATCH", &path, "application/merge-patch+json", &labels).await;
                }
                self.kubernetes.compact();
            }
            "etcddown-get-1x-noanswer" => self.kubernetes.set_store_unavailable(true),
            "etcdback-readyz-200" => self.kubernetes.set_store_unavailable(false),
            _ => {}
        }
    }

    async fn admin(&self, method: &str, path: &str, content_type: &str, body: &Value) {
        let request = hyper::Request::builder().method(method).uri(path);
        let request = request.header("authorization", format!("Bearer {ADMIN}"));
        let request = request.header("content-type", content_type);
        let request = request.body(Full::new(Bytes::from(body.to_string()))).unwrap();
        let answer = send(self.kubernetes.service(), request).await.unwrap();
        assert!(answer.status < 300, "{answer:?}");
    }

    /// Sends the request of an exchange, with our uids and versions in it.
    async fn send(&self, exchange: &Exchange) -> Option<Answered> {
        let path = self.comparison.translated_path(&exchange.path);
        let request = hyper::Request::builder().method(exchange.method.as_str()).uri(path);
        let (header, certificate) = credentials(&exchange.id, &exchange.authorization);
        let is_service_account =
            exchange.id.starts_with("sa-") && exchange.authorization == "other";
        let header = if is_service_account {
            Some(format!("Bearer {}", self.service_account_token))
        } else {
            header.map(str::to_owned)
        };
        let headers = [
            ("authorization", header),
            ("content-type", exchange.request_content_type.clone()),
            ("accept", accept(&exchange.id).map(str::to_owned)),
        ];
        let request = headers.into_iter().fold(request, |request, (name, value)| match value {
            Some(value) => request.header(name, value),
            None => request,
        });
        let body = body(&exchange.id, &exchange.request_json).unwrap_or_else(|| {
            match self.comparison.translated(&exchange.request_json) {
                Value::Null => String::new(),
                Value::String(text) => text,
                other => other.to_string(),
            }
        });
        let request = request.body(Full::new(Bytes::from(body))).unwrap();
        let service = self.kubernetes.service_for(identity(certificate));
        send(service, request).await.ok()
    }

    /// Replays one exchange; the error describes the difference from the recording.
    async fn play(&mut self, exchange: &Exchange) -> Result<(), String> {
        self.prepare(&exchange.id).await;
        let answer = self.send(exchange).await;
        let status = answer.as_ref().map(|answer| answer.status);
        if status != exchange.status {
            let text = answer.map(|answer| answer.text).unwrap_or_default();
            return Err(format!("status {status:?} instead of {:?}: {text}", exchange.status));
        }
        let Some(answer) = answer else { return Ok(()) };
        let content_type = answer.header("content-type");
        if content_type != exchange.content_type.as_deref() {
            return Err(format!("content type {content_type:?}"));
        }
        for name in ["warning", "retry-after"] {
            let mut headers = exchange.headers.iter();
            let wanted = headers.find(|(known, _)| known.eq_ignore_ascii_case(name));
            let wanted = wanted.and_then(|(_, value)| value.as_str());
            if answer.header(name) != wanted {
                return Err(format!("{name}: {:?} instead of {wanted:?}", answer.header(name)));
            }
        }
        if exchange.id == "sa-tokenrequest-201" {
            let token = answer.json()["status"]["token"].take();
            token.as_str().unwrap().clone_into(&mut self.service_account_token);
        }
        // Texts and streams of several events were not recorded.
        if exchange.response.is_null() {
            return Ok(());
        }
        self.comparison.compare_response(&exchange.response, &answer.json())
    }
}

fn identity(certificate: amendments::ClientCertificate) -> Certificate {
    use amendments::ClientCertificate::{Admin, Foreign, Limited, None};
    let fingerprint = "X509SHA256=dc6f3d38700c72bcb9e05512b9cc71231e6948ca1eab608ea5719524ebfc5425";
    match certificate {
        None => Certificate::None,
        Foreign => Certificate::Untrusted,
        Admin => Certificate::Trusted(Identity::new("admin", "", &[MASTERS], fingerprint)),
        Limited => Certificate::Trusted(Identity::new("limited-cert-user", "", &[], "")),
    }
}

/// Replays all exchanges; returns ids and differences.
async fn differences(renamed: &[(&'static str, &'static str)]) -> Vec<(String, String)> {
    let mut replay = Replay::new(renamed);
    let mut differences = Vec::new();
    for exchange in exchanges(renamed) {
        if let Err(difference) = replay.play(&exchange).await {
            differences.push((exchange.id, difference));
        }
    }
    differences
}

#[track_caller]
fn assert_only_excluded_differ(differences: &[(String, String)]) {
    let is_excluded = |id: &str| EXCLUDED.iter().any(|(excluded, _)| *excluded == id);
    let unexpected = differences.iter().filter(|(id, _)| !is_excluded(id));
    let unexpected: Vec<_> = unexpected.map(|(id, what)| format!("{id}: {what}")).collect();
    let count = unexpected.len();
    assert!(
        unexpected.is_empty(),
        "{count} differ:\n{}\n{}",
        unexpected.join("\n"),
        Location::caller()
    );
    let passes =
        EXCLUDED.iter().filter(|(id, _)| !differences.iter().any(|(other, _)| other == id));
    let passes: Vec<_> = passes.map(|(id, _)| *id).collect();
    assert!(passes.is_empty(), "excluded, but not different: {passes:?}");
}

#[tokio::test(start_paused = true)]
async fn answers_are_the_recorded_ones() {
    assert_only_excluded_differ(&differences(&[]).await);
}

#[tokio::test(start_paused = true)]
async fn answers_are_the_recorded_ones_under_other_names() {
    let renamed = [("worker", "wanderer"), ("web", "wax"), ("gone-", "gown-"), ("rack", "room")];
    assert_only_excluded_differ(&differences(&renamed).await);
}
