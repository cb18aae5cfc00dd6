//! A client without `kube`: requests and answers as JSON.

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::{Request, Response};
use serde_json::Value;
use simulated_kubernetes::{
    AnswerBody, ConnectionClosed, KubernetesService, MASTERS, Settings, SimulatedKubernetes,
};
use tower::ServiceExt as _;

/// The token of the administrator.
pub(crate) const ADMIN: &str = "admin-token";

pub(crate) fn kubernetes() -> SimulatedKubernetes {
    let start = "2026-12-01T10:00:00Z".parse().unwrap();
    let kubernetes = SimulatedKubernetes::new(Settings { seed: 1, start });
    kubernetes.add_user(ADMIN, "admin", &[MASTERS]);
    kubernetes
}

/// An answer that has arrived.
#[derive(Debug, Clone)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) text: String,
}

impl Answered {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }
}

pub(crate) async fn send(
    service: KubernetesService,
    request: Request<Full<Bytes>>,
) -> Result<Answered, ConnectionClosed> {
    let response: Response<AnswerBody> = service.oneshot(request).await?;
    let (head, body) = response.into_parts();
    let body = body.collect().await?.to_bytes();
    let headers = head.headers.iter();
    let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
    Ok(Answered {
        status: head.status.as_u16(),
        headers: headers.collect(),
        text: String::from_utf8(body.to_vec()).unwrap(),
    })
}
