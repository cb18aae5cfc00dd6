//! The tower service: asynchronous shell around the pure core.

use std::error::Error;
use std::fmt;
use std::future::pending;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use serde_json::json;
use tokio::sync::watch::Receiver;
use tokio::time::{Instant, sleep, sleep_until};
use tower::Service;

use crate::answer::{Answer, Outcome};
use crate::fault::FaultAction;
use crate::request::Request;
use crate::status::Failure;
use crate::users::Certificate;
use crate::watch::Watch;
use crate::{SimulatedKubernetes, control};

/// Interval of bookmarks in a watch.
const BOOKMARK_PERIOD: Duration = Duration::from_mins(1);

/// The server closed the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionClosed;

impl fmt::Display for ConnectionClosed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the API server closed the connection")
    }
}

impl Error for ConnectionClosed {}

/// The body of an answer; the stream of a watch fails when the connection is closed.
pub type AnswerBody = UnsyncBoxBody<Bytes, ConnectionClosed>;

/// The API as a tower service, for connections with one client certificate.
#[derive(Debug, Clone)]
pub struct KubernetesService {
    kubernetes: SimulatedKubernetes,
    certificate: Certificate,
}

type Answering =
    Pin<Box<dyn Future<Output = Result<Response<AnswerBody>, ConnectionClosed>> + Send>>;

impl KubernetesService {
    pub(crate) fn new(kubernetes: SimulatedKubernetes, certificate: Certificate) -> Self {
        Self { kubernetes, certificate }
    }
}

impl<B> Service<http::Request<B>> for KubernetesService
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Response = Response<AnswerBody>;
    type Error = ConnectionClosed;
    type Future = Answering;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let Self { kubernetes, certificate } = self.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.map_err(|_| ConnectionClosed)?.to_bytes();
            answer(kubernetes, &Request::new(&head, certificate, body)).await
        })
    }
}

async fn answer(
    kubernetes: SimulatedKubernetes,
    request: &Request,
) -> Result<Response<AnswerBody>, ConnectionClosed> {
    if request.path.starts_with(control::PREFIX) {
        return Ok(response(request, control::handle(&kubernetes, request)));
    }
    let fault = kubernetes.with(|cluster| {
        if cluster.is_api_unavailable {
            return Some(FaultAction::CloseBefore);
        }
        let user = cluster.users.authenticate(request).map(|user| user.name).unwrap_or_default();
        cluster.faults.meet(request.method.as_str(), &request.target, &user)
    });
    match &fault {
        Some(FaultAction::Answer { status, headers, body }) => {
            let mut answer = Answer::text(*status, body);
            answer.headers.clone_from(headers);
            return Ok(response(request, answer));
        }
        Some(FaultAction::Throttle { retry_after }) => {
            let message = "Too many requests, please try again later.";
            let throttled = Failure::new(429, "TooManyRequests", message)
                .with_details(json!({}))
                .with_retry_after(*retry_after);
            return Ok(response(request, throttled.into()));
        }
        Some(FaultAction::CloseBefore) => return Err(ConnectionClosed),
        Some(FaultAction::Hang) => return pending().await,
        Some(FaultAction::Delay(time)) => sleep(*time).await,
        Some(FaultAction::CloseAfter) | None => {}
    }
    let (outcome, changes) = kubernetes.with(|cluster| {
        let outcome = cluster.handle(request);
        (outcome, kubernetes.changes())
    });
    if fault == Some(FaultAction::CloseAfter) {
        return Err(ConnectionClosed);
    }
    match outcome {
        Outcome::Answer(answer) => Ok(response(request, answer)),
        Outcome::After(time, answer) => {
            sleep(time).await;
            Ok(response(request, answer))
        }
        Outcome::Watch(watch) => {
            let json = HeaderValue::from_static("application/json");
            let mut response = Response::new(events(kubernetes, *watch, changes));
            response.headers_mut().insert(http::header::CONTENT_TYPE, json);
            Ok(response)
        }
    }
}

fn response(request: &Request, answer: Answer) -> Response<AnswerBody> {
    let body = if request.method == Method::HEAD { Bytes::new() } else { answer.body };
    let body = Full::new(body).map_err(|infallible| match infallible {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() =
        StatusCode::from_u16(answer.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in answer.headers {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse()) {
            response.headers_mut().append(name, value);
        }
    }
    response
}

/// A stream of events.
struct Events {
    kubernetes: SimulatedKubernetes,
    watch: Watch,
    changes: Receiver<u64>,
    end: Instant,
    bookmark: Instant,
    is_closed: bool,
}

fn events(kubernetes: SimulatedKubernetes, watch: Watch, changes: Receiver<u64>) -> AnswerBody {
    let now = Instant::now();
    let (end, bookmark) = (now + watch.timeout, now + BOOKMARK_PERIOD);
    let events = Events { kubernetes, watch, changes, end, bookmark, is_closed: false };
    let frames = stream::unfold(events, |mut events| async {
        let frame = events.next().await?;
        Some((frame.map(Frame::data), events))
    });
    StreamBody::new(frames).boxed_unsync()
}

impl Events {
    async fn next(&mut self) -> Option<Result<Bytes, ConnectionClosed>> {
        loop {
            if self.is_closed {
                return None;
            }
            let now = Instant::now();
            let is_bookmark_due = now >= self.bookmark;
            if is_bookmark_due {
                self.bookmark = now + BOOKMARK_PERIOD;
            }
            let watch = &mut self.watch;
            let events = self.kubernetes.with(|cluster| {
                let is_up = !cluster.is_api_unavailable;
                is_up.then(|| cluster.next_events(watch, is_bookmark_due))
            });
            let Some(events) = events else {
                self.is_closed = true;
                return Some(Err(ConnectionClosed));
            };
            if !events.is_empty() {
                return Some(Ok(events));
            }
            if self.watch.is_over || now >= self.end {
                return None;
            }
            let until = self.end.min(self.bookmark);
            tokio::select! {
                changed = self.changes.changed() => changed.ok()?,
                () = sleep_until(until) => {}
            }
        }
    }
}
