//! The Custodia server behind the gateway, over HTTP on a Unix socket.
//!
//! Custodia may take whoever holds its socket, or says `REMOTE_USER`, for the storage service. So only
//! headers that are known to be harmless, and those of its own authentication, reach it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};
use bus::error::chain;
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder};
use runtime::Outage;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::error::ApiError;

/// It is a process of this machine: what takes longer does not work.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The largest answer, in bytes.
pub const ANSWER_MAX: usize = 1024 * 1024;

/// Requests at a time, their bodies included: Custodia may leave it to strangers to come as they like.
const AT_A_TIME: usize = 64;

/// What the headers of Custodia's own authentication begin with.
const OWN_HEADERS: &str = "custodia";

/// Its client.
#[derive(Debug)]
pub struct Custodia {
    client: Client,
    slots: Arc<Semaphore>,
    outage: Outage,
}

/// What it says.
#[derive(Debug)]
pub struct Answer {
    /// Whether it did it.
    pub status: StatusCode,
    /// With what headers.
    pub headers: HeaderMap,
    /// What was asked for.
    pub body: Bytes,
}

impl Custodia {
    /// The server behind `socket`; it need not be there yet.
    ///
    /// # Errors
    /// When the client cannot be made.
    pub fn new(socket: &Path) -> Result<Self, reqwest::Error> {
        let client = Client::builder()
            .unix_socket(socket)
            .no_proxy()
            .tls_certs_only([])
            .redirect(Policy::none())
            // A connection that Custodia has closed meanwhile would fail what may not be repeated.
            .pool_max_idle_per_host(0)
            .build()?;
        let what = format!("Custodia at {} (`custodia-socket-path`)", socket.display());
        Ok(Self { client, slots: Arc::new(Semaphore::new(AT_A_TIME)), outage: Outage::new(what) })
    }

    /// A turn, to be kept until the answer is there.
    ///
    /// # Errors
    /// 503 when too many others wait.
    pub async fn turn(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        let turn = timeout(TIMEOUT, Arc::clone(&self.slots).acquire_owned()).await;
        let busy = || ApiError::unavailable("too many ask for secrets at a time: try again");
        turn.map_err(|_| busy())?.map_err(|_| busy())
    }

    /// Passes a request on; of its headers only those that are Custodia's concern.
    ///
    /// # Errors
    /// 503 when nobody listens, 504 when it takes too long, 502 when the answer is none.
    pub async fn ask(
        &self,
        method: Method,
        path_and_query: &str,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Answer, ApiError> {
        let request = self.client.request(method, format!("http://localhost{path_and_query}"));
        let request = request.headers(concerning(headers)).body(body);
        let exchange = timeout(TIMEOUT, self.exchange(request)).await;
        exchange.unwrap_or_else(|_| {
            self.outage.failed("", &format!("no answer within {} s", TIMEOUT.as_secs()));
            let detail =
                "no answer in time; it may still be carried out: look before you repeat it";
            Err(ApiError::new(StatusCode::GATEWAY_TIMEOUT, detail))
        })
    }

    async fn exchange(&self, request: RequestBuilder) -> Result<Answer, ApiError> {
        let response = request.send().await.map_err(|error| {
            if !error.is_connect() {
                return broken(&error);
            }
            self.outage.failed("", &chain(&error));
            ApiError::unavailable("the keeper of secrets does not answer: try again shortly")
        })?;
        let (parts, body) = axum::http::Response::from(response).into_parts();
        let body = to_bytes(Body::new(body), ANSWER_MAX).await.map_err(|error| broken(&error))?;
        self.outage.succeeded();
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    }
}

fn concerning(headers: &HeaderMap) -> HeaderMap {
    let concerns = |name: &HeaderName| {
        [header::ACCEPT, header::CONTENT_TYPE].contains(name)
            || name.as_str().starts_with(OWN_HEADERS)
    };
    let known = headers.iter().filter(|(name, _)| concerns(name));
    known.map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn broken(error: &(dyn std::error::Error + 'static)) -> ApiError {
    tracing::warn!(error = chain(error), "the answer of custodia cannot be used");
    bad_gateway()
}

/// 502: what it answers is of no use.
pub fn bad_gateway() -> ApiError {
    let detail = "the keeper of secrets fails: the server's log, or Custodia's, says why";
    ApiError::new(StatusCode::BAD_GATEWAY, detail)
}
