//! Failed requests: what they mean, and which of them are retried.

use std::error::Error as StdError;
use std::time::Duration;

use bus::error::chain;
use http::header::RETRY_AFTER;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use kube::client::Body;
use kube::core::Status;
use kube::core::response::{StatusDetails, reason};
use kube::{Client, Error};
use model::MASK;
use runtime::retry::{Pauses, Schedule};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::Instant;
use tower::{BoxError, service_fn};

/// Size limit of a response body, in bytes: a page of 500 nodes that hold many images has some megabytes.
const BODY_MAX: usize = 64 * 1024 * 1024;

/// Length limit of a message of the server that is passed on, in characters: some messages name every invalid field.
const MESSAGE_MAX: usize = 1000;

/// Adds to a client what the library leaves out: bodies have a size limit, and every response other than a success is an
/// [`Error::Api`] made by [`status`].
pub(super) fn checked(client: Client, token: Option<SecretString>) -> Client {
    let namespace = client.default_namespace().to_owned();
    let service = service_fn(move |request: Request<Body>| {
        let (client, token) = (client.clone(), token.clone());
        async move {
            let (head, body) = client.send(request).await?.into_parts();
            let body = Limited::new(body, BODY_MAX);
            if head.status.is_success() {
                return Ok(http::Response::from_parts(head, body));
            }
            let body = body.collect().await?.to_bytes();
            let status = status(head.status, &head.headers, &body, token.as_ref());
            Err(BoxError::from(Error::Api(status.boxed())))
        }
    });
    Client::new(service, namespace)
}

/// What a response other than a success says. The code is the HTTP status, `Retry-After` is in the details, and the
/// texts fit into a log: one line, bounded, without the token. A response that is not from the Kubernetes API has no reason.
fn status(
    code: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    token: Option<&SecretString>,
) -> Status {
    let parsed = serde_json::from_slice::<Status>(body).ok();
    let mut status = parsed.filter(|parsed| !parsed.message.is_empty()).unwrap_or_else(|| {
        let hint = if is_temporary(code.as_u16()) { "" } else { ": check `server_url`" };
        let code = code.as_u16();
        let message = format!("HTTP status {code} without an answer of the Kubernetes API{hint}");
        Status::failure(&message, reason::UNKNOWN)
    });
    status.code = code.as_u16();
    let fit = |text: &mut String| {
        let masked =
            token.map_or_else(|| text.clone(), |token| text.replace(token.expose_secret(), MASK));
        *text = masked.chars().filter(|c| !c.is_control()).take(MESSAGE_MAX).collect();
    };
    fit(&mut status.message);
    fit(&mut status.reason);
    for cause in status.details.iter_mut().flat_map(|details| &mut details.causes) {
        fit(&mut cause.message);
    }
    let retry_after = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    if let Some(seconds) = retry_after.and_then(|value| value.trim().parse().ok()) {
        status.details.get_or_insert_with(no_details).retry_after_seconds = seconds;
    }
    status
}

fn no_details() -> StatusDetails {
    StatusDetails {
        name: String::new(),
        group: String::new(),
        kind: String::new(),
        uid: String::new(),
        causes: Vec::new(),
        retry_after_seconds: 0,
    }
}

/// The server's message with its reason.
pub(super) fn text(status: &Status) -> String {
    match &*status.reason {
        reason::UNKNOWN => status.message.clone(),
        reason => format!("{} ({reason})", status.message),
    }
}

/// Whether the node does not exist. An unknown path is a 404 as well.
pub(super) fn is_missing_node(error: &Error) -> bool {
    is_missing(error, "nodes")
}

/// Whether the object does not exist, or its namespace does not. The kind is in the plural, as in a path.
pub(super) fn is_missing(error: &Error, kind: &str) -> bool {
    matches!(error, Error::Api(status) if is_missing_status(status, kind))
}

/// The same of the status of an answer.
pub(super) fn is_missing_status(status: &Status, kind: &str) -> bool {
    let missing = status.details.as_ref().map_or("", |details| &*details.kind);
    (status.code, &*status.reason) == (404, reason::NOT_FOUND)
        && (missing == kind || missing == "namespaces")
}

/// Whether the request failed because an object of that name exists.
pub(super) fn already_exists(error: &Error) -> bool {
    matches!(error, Error::Api(status) if status.is_already_exists())
}

/// Whether the object is not the one that the preconditions name.
pub(super) fn is_conflict(error: &Error) -> bool {
    matches!(error, Error::Api(status) if status.code == 409 && !status.is_already_exists())
}

/// Whether the object has changed since it was read: a test of a JSON Patch fails with 422.
pub(super) fn is_stale(error: &Error) -> bool {
    matches!(error, Error::Api(status) if matches!(status.code, 409 | 422))
}

/// Whether a list was started too long ago to be continued.
pub(super) fn is_expired(error: &Error) -> bool {
    matches!(error, Error::Api(status) if status.code == 410)
}

/// Whether the same request may succeed later.
pub(super) fn is_transient(error: &Error) -> bool {
    match error {
        Error::Api(status) => is_temporary(status.code),
        Error::Service(_) | Error::HyperError(_) => {
            tls_error(error).is_none() && !is_too_large(error)
        }
        _ => false,
    }
}

fn is_temporary(code: u16) -> bool {
    code == 429 || code >= 500
}

/// Whether the response exceeds the size limit.
pub(super) fn is_too_large(error: &Error) -> bool {
    cause::<LengthLimitError>(error).is_some()
}

/// Why there is no trusted connection: the server's certificate was rejected, or the server rejected the client's.
pub(super) fn tls_error(error: &Error) -> Option<&rustls::Error> {
    cause(error)
}

fn cause<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(current) = next {
        if let Some(found) = current.downcast_ref() {
            return Some(found);
        }
        // `source` of an I/O error skips the error that it wraps.
        let wrapped = current.downcast_ref::<std::io::Error>().and_then(|io| io.get_ref());
        next = match wrapped {
            Some(wrapped) => Some(wrapped),
            None => current.source(),
        };
    }
    None
}

/// The causes of an error of the library, whose own text repeats the first one.
pub(super) fn causes(error: &Error) -> String {
    error.source().map_or_else(|| error.to_string(), chain)
}

/// Retries with exponential back-off, until a deadline.
#[derive(Debug)]
pub(super) struct Retries {
    pauses: Pauses,
    deadline: Instant,
}

impl Retries {
    pub(super) fn until(deadline: Instant) -> Self {
        Self { pauses: Schedule::KUBERNETES.pauses(), deadline }
    }

    /// Waits before the next attempt: the back-off, in addition to the time that the server asks for.
    ///
    /// # Errors
    /// `error`, when there is no further attempt before the deadline.
    pub(super) async fn pause(&mut self, error: Error) -> kube::Result<()> {
        let Some(pause) = self.pauses.next() else { return Err(error) };
        let pause = pause + retry_after(&error);
        if Instant::now() + pause >= self.deadline {
            return Err(error);
        }
        tracing::debug!(
            error = chain(&error),
            ?pause,
            "request to the Kubernetes API failed; retrying"
        );
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

fn retry_after(error: &Error) -> Duration {
    let Error::Api(status) = error else { return Duration::ZERO };
    let seconds = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
    Duration::from_secs(seconds.into())
}

/// Sends an idempotent request until it succeeds or fails for good, or the deadline is near.
pub(super) async fn retried<T, F>(deadline: Instant, send: impl Fn() -> F) -> kube::Result<T>
where
    F: Future<Output = kube::Result<T>>,
{
    let mut retries = Retries::until(deadline);
    loop {
        match send().await {
            Err(error) if is_transient(&error) => retries.pause(error).await?,
            result => return result,
        }
    }
}

/// The error of a recorded exchange.
#[cfg(test)]
pub(super) fn recorded_error(id: &str) -> Error {
    Error::Api(tests::recorded(&super::recorded::one(id)).boxed())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::recorded_error as error;
    use super::*;
    use crate::kubernetes::recorded::{Exchange, all, one};

    /// The status of a recorded exchange that is no success.
    pub(super) fn recorded(exchange: &Exchange) -> Status {
        let code = StatusCode::from_u16(exchange.status.unwrap()).unwrap();
        let mut headers = HeaderMap::new();
        if let Some(seconds) = exchange.headers["Retry-After"].as_str() {
            headers.insert(RETRY_AFTER, seconds.parse().unwrap());
        }
        status(code, &headers, &exchange.body(), None)
    }

    fn forbidden(body: &str, token: Option<&str>) -> String {
        let token = token.map(SecretString::from);
        text(&status(StatusCode::FORBIDDEN, &HeaderMap::new(), body.as_bytes(), token.as_ref()))
    }

    #[test]
    fn recorded_failures_are_told_apart() {
        for id in ["node-get-missing-404", "delete-again-404", "delete-missing-404"] {
            assert!(is_missing_node(&error(id)), "{id}");
        }
        for id in ["unknown-resource-404", "unknown-path-404"] {
            assert!(!is_missing_node(&error(id)), "{id}");
        }
        for id in ["node-create-again-409", "fin-create-while-terminating-409"] {
            assert!(already_exists(&error(id)) && !is_conflict(&error(id)), "{id}");
        }
        assert!(is_conflict(&error("delete-uid-mismatch-409")));
        assert!(is_expired(&error("gone-list-continue-expired-410")));
        for exchange in all().iter().filter(|exchange| exchange.status >= Some(300)) {
            let error = Error::Api(recorded(exchange).boxed());
            let transient = exchange.status == Some(429) || exchange.status >= Some(500);
            assert_eq!(is_transient(&error), transient, "{}", exchange.id);
        }
    }

    #[test]
    fn messages_are_those_of_the_server() {
        let no_status =
            |code| format!("HTTP status {code} without an answer of the Kubernetes API");
        for (id, seconds, message) in [
            ("node-create-again-409", 0, "nodes \"worker-1\" already exists (AlreadyExists)".into()),
            (
                "node-create-rv-set-500",
                0,
                "resourceVersion should not be set on objects to be created".into(),
            ),
            (
                "evict-pdb-unprocessed-429",
                10,
                "Cannot evict pod as it would violate the pod's disruption budget. (TooManyRequests)".into(),
            ),
            (
                "node-list-rv-future-504",
                1,
                "Timeout: Too large resource version: 99999999, current: 222 (Timeout)".into(),
            ),
            (
                "etcddown-list-1x-504",
                0,
                "Timeout: request did not complete within the allotted timeout (Timeout)".into(),
            ),
            ("etcddown-healthz-500", 0, no_status(500)),
            ("auth-badtoken-401", 0, "Unauthorized (Unauthorized)".into()),
            ("unknown-path-404", 0, format!("{}: check `server_url`", no_status(404))),
            ("plain-http-400", 0, format!("{}: check `server_url`", no_status(400))),
        ] {
            let recorded = recorded(&one(id));
            assert_eq!(text(&recorded), message, "{id}");
            assert_eq!(retry_after(&Error::Api(recorded.boxed())).as_secs(), seconds, "{id}");
        }
    }

    #[test]
    fn messages_are_bounded_single_lines_without_the_token() {
        let body = format!(r#"{{"message": "a\u001b[2J\nb{}", "reason": "X"}}"#, "c".repeat(5000));
        let text = forbidden(&body, None);
        assert!(text.starts_with("a[2Jbc") && text.ends_with("c (X)") && text.len() < 1010);
        let body = r#"{"message": "no canary", "reason": "canary"}"#;
        assert_eq!(forbidden(body, Some("canary")), format!("no {MASK} ({MASK})"));
    }

    #[test]
    fn retry_after_that_is_no_number_is_ignored() {
        let headers = HeaderMap::from_iter([(RETRY_AFTER, "soon".parse().unwrap())]);
        let status = status(StatusCode::SERVICE_UNAVAILABLE, &headers, b"<html>", None);
        assert!(retry_after(&Error::Api(status.boxed())).is_zero());
    }

    /// A client whose server always sends this response.
    fn client(status: u16, body: Vec<u8>) -> Client {
        let service = service_fn(move |_: Request<Body>| {
            let response = http::Response::builder().status(status).body(Body::from(body.clone()));
            std::future::ready(response)
        });
        checked(Client::new(service, "default"), None)
    }

    async fn request(status: u16, body: impl Into<Vec<u8>>) -> kube::Result<Value> {
        client(status, body.into()).request(Request::get("/").body(Vec::new()).unwrap()).await
    }

    #[tokio::test]
    async fn only_a_success_with_json_is_a_success() {
        for exchange in all() {
            let Some(status) = exchange.status else { continue };
            let is_success = status < 300 && !exchange.response.is_null();
            let response = request(status, exchange.body()).await;
            assert_eq!(response.ok(), is_success.then_some(exchange.response), "{}", exchange.id);
        }
        for (status, body) in [(200, "<html>"), (302, "{}")] {
            assert!(!is_transient(&request(status, body).await.unwrap_err()), "{status}");
        }
    }

    #[tokio::test]
    async fn a_response_that_is_too_large_is_rejected_without_a_retry() {
        for status in [200, 500] {
            let error = request(status, vec![b' '; BODY_MAX + 1]).await.unwrap_err();
            assert!(is_too_large(&error) && !is_transient(&error), "{status}: {error}");
        }
    }
}
