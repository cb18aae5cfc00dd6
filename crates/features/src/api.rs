//! Requests to the gateways, without a network.

use std::net::SocketAddr;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http_gateway::Service;
use http_gateway::peer::{ClientCertificate, Peer};
use serde_json::Value;
use tower::ServiceExt as _;

use crate::fleet::PASSWORD;

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

/// Sends a request, and reads the whole answer.
pub(crate) async fn send(
    gateway: Service,
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
    let body = body.unwrap_or_default().to_owned();
    let request = request.extension(ConnectInfo(peer)).body(Body::from(body)).unwrap();
    let response = gateway.oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let location = response.headers().get("location");
    let location = location.map(|value| value.to_str().unwrap().to_owned());
    let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let body = serde_json::from_str(&text).unwrap_or(Value::Null);
    Answer { status, location, text, body }
}

fn basic(name: &str, password: &str) -> String {
    format!("Basic {}", BASE64.encode(format!("{name}:{password}")))
}
