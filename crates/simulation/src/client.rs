//! Clients and operators: requests to any gateway, repeated with the same `Idempotency-Key` until there is an answer.

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request as HttpRequest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http_gateway::Service;
use http_gateway::peer::Peer;
use model::OperationKind;
use serde_json::{Value, json};
use tokio::time::timeout;
use tower::ServiceExt as _;

use crate::scenario::{Request, address, cluster_name};

/// How long a client waits for an answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The number of clients: each sends one request, under a name of its own.
pub(crate) const CLIENTS: usize = 64;

/// The password of all clients.
pub(crate) const PASSWORD: &str = "secret";

/// The paths of the API.
const V0: &str = "/api/v0";

/// An HTTP request of a client.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) body: Value,
    client: String,
}

/// An answer to a client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    /// The operation that was started.
    pub(crate) operation: Option<String>,
}

/// The name of a client.
pub(crate) fn client_name(number: usize) -> String {
    format!("client-{number}")
}

impl Sent {
    /// The HTTP request for a request of a scenario; `operation` is the latest one of its cluster. `None` if there is
    /// nothing that it could be about.
    pub(crate) fn new(request: &Request, number: usize, operation: Option<&str>) -> Option<Self> {
        let about = |word: &str| Some(format!("/operation/{}/{word}", operation?));
        let (method, path, body) = match request {
            Request::Start { cluster, kind, options } => {
                let cluster = cluster_name(*cluster);
                let path = format!("/cluster/{cluster}/{kind}");
                let mut body = options.clone();
                if *kind == OperationKind::Deploy {
                    body["version"] = json!("42.1");
                }
                ("PUT", path, body)
            }
            Request::Pause(_) => ("POST", about("pause")?, json!({})),
            Request::Resume(_) => ("POST", about("resume")?, json!({})),
            Request::Abort(_) => ("POST", about("abort")?, json!({})),
            Request::Continue(_) => ("POST", about("continue")?, json!({"retry_failed": true})),
            Request::Freeze => ("PUT", "/freeze".to_owned(), json!({"reason": "storm"})),
            Request::Unfreeze => ("DELETE", "/freeze".to_owned(), json!({})),
            Request::Leave(host) => ("DELETE", member(*host), json!({})),
            Request::Join(host) => ("PUT", member(*host), json!({})),
            Request::Delete(host) => ("DELETE", format!("/host/{}", address(*host)), json!({})),
            Request::Create(host) => ("PUT", format!("/host/{}", address(*host)), json!({})),
            Request::Cordon(host) => ("PUT", of_host(*host, "cordon"), json!({})),
            Request::Uncordon(host) => ("DELETE", of_host(*host, "cordon"), json!({})),
            Request::Drain(host) => {
                let options = json!({"drain": {"check": "later", "timeout": 60}});
                ("POST", of_host(*host, "drain"), options)
            }
        };
        Some(Self { method, path, body, client: client_name(number) })
    }

    /// Sends it once. `None`: there was no answer in time.
    pub(crate) async fn send(&self, gateway: Service) -> Option<Answered> {
        let peer = SocketAddr::from(([192, 0, 2, 1], 4711));
        let credentials = BASE64.encode(format!("{}:{PASSWORD}", self.client));
        let request = HttpRequest::builder()
            .method(self.method)
            .uri(format!("{V0}{}", self.path))
            .extension(ConnectInfo(Peer::from(peer)))
            .header("host", "simulation")
            .header("authorization", format!("Basic {credentials}"))
            .header("idempotency-key", format!("request-of-{}", self.client))
            .body(Body::from(self.body.to_string()))
            .ok()?;
        let response = timeout(TIMEOUT, gateway.oneshot(request)).await.ok()?.ok()?;
        let location = response.headers().get("location").and_then(|value| value.to_str().ok());
        let operation = location.and_then(|path| path.split_once("/operation/"));
        Some(Answered {
            status: response.status().as_u16(),
            operation: operation.map(|(_, id)| id.to_owned()),
        })
    }
}

fn of_host(host: usize, what: &str) -> String {
    format!("/host/{}/{what}", address(host))
}

fn member(host: usize) -> String {
    // The first cluster is the only one that hosts join: one host belongs to one cluster.
    format!("/cluster/{}/hosts/{}", cluster_name(0), address(host))
}
