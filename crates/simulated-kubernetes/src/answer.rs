//! Responses of the pure core.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use crate::status::Failure;
use crate::watch::Watch;

/// A complete answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The HTTP status.
    pub(crate) code: u16,
    /// The headers, `content-type` included.
    pub(crate) headers: Vec<(String, String)>,
    /// The body.
    pub(crate) body: Bytes,
}

impl Answer {
    /// A JSON body.
    pub(crate) fn json(code: u16, body: &Value) -> Self {
        Self::new(code, "application/json", body.to_string())
    }

    /// A text.
    pub(crate) fn text(code: u16, body: &str) -> Self {
        Self::new(code, "text/plain; charset=utf-8", body.to_owned())
    }

    fn new(code: u16, content_type: &str, body: String) -> Self {
        let headers = vec![("content-type".to_owned(), content_type.to_owned())];
        Self { code, headers, body: body.into() }
    }

    /// The same with a header.
    #[must_use]
    pub(crate) fn with_header(mut self, name: &str, value: String) -> Self {
        self.headers.push((name.to_owned(), value));
        self
    }

    /// The same with warnings, as clients print them.
    #[must_use]
    pub(crate) fn with_warnings(self, warnings: &[String]) -> Self {
        warnings.iter().fold(self, |answer, warning| {
            let escaped = warning.replace('\\', "\\\\").replace('"', "\\\"");
            answer.with_header("warning", format!("299 - \"{escaped}\""))
        })
    }
}

impl From<Failure> for Answer {
    fn from(failure: Failure) -> Self {
        let answer = Self::json(failure.code, &failure.body);
        match failure.retry_after {
            Some(seconds) => answer.with_header("retry-after", seconds.to_string()),
            None => answer,
        }
    }
}

/// The outcome of a request.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// An answer.
    Answer(Answer),
    /// An answer after some time.
    After(Duration, Answer),
    /// A stream of events.
    Watch(Box<Watch>),
}

impl Outcome {
    /// The HTTP status.
    pub(crate) fn code(&self) -> u16 {
        match self {
            Self::Answer(answer) | Self::After(_, answer) => answer.code,
            Self::Watch(_) => 200,
        }
    }
}

impl From<Answer> for Outcome {
    fn from(answer: Answer) -> Self {
        Self::Answer(answer)
    }
}
