//! What came back, and the two things it can be: what was asked for, or a refusal.

use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

/// An answer, and the request that it answers.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) what: String,
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// Exactly this status and this JSON.
    #[track_caller]
    pub(crate) fn is(&self, status: u16, expected: &Value) {
        assert_eq!((self.status, &self.json()), (status, expected), "{}", self.what);
        assert_eq!(self.header("content-type"), "application/json", "{}", self.what);
    }

    /// A refusal with this status and, among its words, these.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16, words: &str) {
        let (what, problem) = (&self.what, self.json());
        let detail = problem["detail"].as_str().unwrap_or_default();
        let title = StatusCode::from_u16(status).unwrap().canonical_reason();
        let whole = json!({"title": title, "status": status, "detail": detail});
        assert_eq!((self.status, &problem), (status, &whole), "{what}");
        assert!(detail.len() > 10 && detail.contains(words), "{what}: {detail}");
        assert_eq!(self.header("content-type"), "application/problem+json", "{what}");
        if matches!(status, 429 | 503) {
            assert!(self.header("retry-after").parse::<u64>().unwrap() > 0, "{what}");
        }
        if status == 405 {
            assert_ne!(self.allowed(), [""], "{what}");
        }
    }

    /// The methods that the `Allow` header names, sorted.
    pub(crate) fn allowed(&self) -> Vec<&str> {
        let mut allowed: Vec<_> = self.header("allow").split(',').map(str::trim).collect();
        allowed.sort_unstable();
        allowed
    }

    /// A header, empty when it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; as text where it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| Value::String(self.text()))
    }
}
