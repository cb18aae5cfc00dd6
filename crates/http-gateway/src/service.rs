//! The gateway as one service, without sockets.
//!
//! - `body`: a request's body, in time

mod body;

use std::convert::Infallible;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::{BoxError, Router};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use hyper::body::Body as HttpBody;
use tokio::time::timeout;
use tower::ServiceExt as _;

use crate::error::ApiError;
use crate::request;
use crate::routes;
use crate::server::limits::Limits;
use crate::state::AppState;

/// All that happens to a request between its head and its answer: its id and its span, the limits of its time and its
/// body, the log-in, the audit log, idempotency keys, the routes and their handlers.
///
/// A request carries the other end of its connection as an extension, [`ConnectInfo`](axum::extract::ConnectInfo) of a
/// [`Peer`](crate::peer::Peer). Clones share everything.
#[derive(Debug, Clone)]
pub struct Service {
    state: AppState,
    router: Router,
    body: Duration,
    request: Duration,
}

impl Service {
    /// The whole API.
    pub(crate) fn new(state: AppState, limits: &Limits) -> Self {
        let router = routes::router(state.clone());
        Self { state, router, body: limits.body, request: limits.request }
    }

    /// The state of health alone, of the same gateway.
    pub(crate) fn health(&self) -> Self {
        Self { router: routes::health_router(self.state.clone()), ..self.clone() }
    }

    pub(crate) fn state(&self) -> &AppState {
        &self.state
    }

    /// Answers a request.
    // Like the other functions around a handler, not an `async fn`: its future would hold the request several times.
    pub fn answer<B>(&self, request: Request<B>) -> impl Future<Output = Response> + Send + use<B>
    where
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
    {
        // Its end is where the parser says: nothing that comes after it is taken for a request.
        let is_last = request.headers().contains_key(header::TRANSFER_ENCODING);
        let (parts, body) = request.into_parts();
        let (body, late) = body::timely(body, self.body);
        let (request, id) = request::begin(Request::from_parts(parts, body));
        let app = self.router.clone().oneshot(request);
        let answered = timeout(self.request, app);
        async move {
            let mut response = match answered.await {
                Ok(Ok(response)) if !late.get() => response,
                Ok(_) => {
                    let detail = "the body did not arrive in time: send it at once";
                    ApiError::new(StatusCode::REQUEST_TIMEOUT, detail).into_response()
                }
                Err(_) => {
                    let detail = "the request takes too long: look with GET what became of it";
                    ApiError::new(StatusCode::GATEWAY_TIMEOUT, detail).into_response()
                }
            };
            let headers = response.headers_mut();
            headers.insert(request::REQUEST_ID, id);
            if is_last || late.get() {
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            response
        }
    }
}

impl<B> tower::Service<Request<B>> for Service
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        self.answer(request).map(Ok).boxed()
    }
}
