//! Requests to the pure core.

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::request::Parts;
use http::{HeaderName, Method};

use crate::users::Certificate;

/// A request, as the pure core needs it.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// The method.
    pub(crate) method: Method,
    /// The path, percent-decoded.
    pub(crate) path: String,
    /// The path and the query as they came.
    pub(crate) target: String,
    /// The parameters of the query, decoded.
    pub(crate) query: Vec<(String, String)>,
    /// The media type of the body, without parameters; empty without the header.
    pub(crate) content_type: String,
    /// The media types that the client accepts.
    pub(crate) accept: String,
    /// The header `Authorization`.
    pub(crate) authorization: Option<String>,
    /// The name of the client program: the header `User-Agent` up to the slash.
    pub(crate) agent: String,
    /// The client's certificate.
    pub(crate) certificate: Certificate,
    /// The body.
    pub(crate) body: Bytes,
}

impl Request {
    pub(crate) fn new(head: &Parts, certificate: Certificate, body: Bytes) -> Self {
        let header = |name: HeaderName| {
            head.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        let media = header(CONTENT_TYPE).unwrap_or_default();
        let query = head.uri.query().unwrap_or_default().as_bytes();
        let agent = header(USER_AGENT).unwrap_or_default();
        let agent = agent.split(['/', ' ']).next().unwrap_or_default();
        Self {
            method: head.method.clone(),
            path: percent_decoded(head.uri.path()),
            target: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
            query: url::form_urlencoded::parse(query).into_owned().collect(),
            content_type: media.split(';').next().unwrap_or_default().trim().to_owned(),
            accept: header(ACCEPT).unwrap_or_default(),
            authorization: header(AUTHORIZATION),
            agent: if agent.is_empty() { "unknown".to_owned() } else { agent.to_owned() },
            certificate,
            body,
        }
    }

    /// A parameter of the query; empty when it is absent.
    pub(crate) fn parameter(&self, name: &str) -> &str {
        self.query.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    /// Whether a parameter of the query says `true` or `1`.
    pub(crate) fn is_set(&self, name: &str) -> bool {
        matches!(self.parameter(name), "true" | "1")
    }

    pub(crate) fn is_dry_run(&self) -> bool {
        self.parameter("dryRun") == "All"
    }

    /// The name under which the changes of this request are recorded in `metadata.managedFields`.
    pub(crate) fn manager(&self) -> &str {
        match self.parameter("fieldManager") {
            "" => &self.agent,
            manager => manager,
        }
    }
}

fn percent_decoded(path: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = path.as_bytes();
    while let [first, tail @ ..] = rest {
        let digits = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let code = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        if let (b'%', Some(code)) = (first, code) {
            bytes.push(code);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
