//! Requests to the gateways; to those in this process without a network.

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http_gateway::peer::{ClientCertificate, Peer};
use reqwest::Client;
use reqwest::redirect::Policy;
use serde_json::Value;
use tower::ServiceExt as _;

use crate::fleet::{Fleet, Gateway, PASSWORD};

/// What a request is sent with besides.
#[derive(Debug, Clone)]
pub(crate) enum Credentials {
    /// Nothing.
    None,
    /// A user and its password.
    User(String),
    /// A user and this password.
    Password(String, String),
    /// A token.
    Bearer(String),
    /// A verified certificate with this name.
    Certificate(String),
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) location: Option<String>,
    pub(crate) text: String,
    /// Null if it is no JSON.
    pub(crate) body: Value,
}

/// How long a gateway may take for an answer.
const TIMEOUT: Duration = Duration::from_mins(5);

/// For gateways that are processes of their own.
pub(crate) fn client() -> &'static Client {
    static CLIENT: OnceLock<Client> = OnceLock::new();
    CLIENT.get_or_init(|| {
        Client::builder().redirect(Policy::none()).timeout(TIMEOUT).build().unwrap()
    })
}

impl Answer {
    /// Calls hosts as the scenario does.
    pub(crate) fn translate(&mut self, fleet: &Fleet) {
        self.text = fleet.to_scenario(std::mem::take(&mut self.text));
        self.body = serde_json::from_str(&self.text).unwrap_or(Value::Null);
        self.location = self.location.take().map(|location| fleet.to_scenario(location));
    }
}

/// Sends a request, and reads the whole answer.
pub(crate) async fn send(
    gateway: Gateway,
    credentials: &Credentials,
    (method, path): (&str, &str),
    headers: &[(String, String)],
    body: Option<&str>,
) -> Answer {
    let mut peer = Peer::from(SocketAddr::from(([192, 0, 2, 1], 4711)));
    let mut request = Request::builder().method(method).uri(path).header("host", "commissaire");
    let authorization = match credentials {
        Credentials::None => None,
        Credentials::User(name) => Some(basic(name, PASSWORD)),
        Credentials::Password(name, password) => Some(basic(name, password)),
        Credentials::Bearer(token) => Some(format!("Bearer {token}")),
        Credentials::Certificate(name) => {
            let common_name = Some(name.clone());
            peer.certificate = Some(ClientCertificate { common_name, issuer: "Example CA".into() });
            None
        }
    };
    if let Some(authorization) = authorization {
        request = request.header("authorization", authorization);
    }
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = request.body(body.unwrap_or_default().to_owned()).unwrap();
    let (status, headers, bytes) = match gateway {
        Gateway::Service(service) => {
            let mut request = request.map(Body::from);
            request.extensions_mut().insert(ConnectInfo(peer));
            let response = service.oneshot(request).await.unwrap();
            let (head, body) = response.into_parts();
            (head.status, head.headers, axum::body::to_bytes(body, usize::MAX).await.unwrap())
        }
        Gateway::Url(url) => {
            assert!(peer.certificate.is_none(), "the scenario cannot be @real");
            let mut request = request;
            *request.uri_mut() = format!("{url}{path}").parse().unwrap();
            let response = client().execute(request.try_into().unwrap()).await.unwrap();
            let (status, headers) = (response.status(), response.headers().clone());
            (status, headers, response.bytes().await.unwrap())
        }
    };
    let location = headers.get("location").map(|value| value.to_str().unwrap().to_owned());
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let body = serde_json::from_str(&text).unwrap_or(Value::Null);
    Answer { status: status.as_u16(), location, text, body }
}

fn basic(name: &str, password: &str) -> String {
    format!("Basic {}", BASE64.encode(format!("{name}:{password}")))
}
