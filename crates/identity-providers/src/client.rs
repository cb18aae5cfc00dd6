//! Requests to an identity provider: with verified TLS, without redirects and proxies, and with limits of their time,
//! their size and their number.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::redirect::Policy;
use reqwest::{Certificate, RequestBuilder, StatusCode};
use runtime::Files;
use runtime::error_text::chain;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use url::{Host, Url};

use crate::{ProviderError, Result};

/// How long a request may take, with its wait for a place.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Size limit of a response body, in bytes.
const BODY_MAX: usize = 1024 * 1024;

/// The most requests at a time.
const CONCURRENCY: usize = 32;

/// Why no client of a provider can be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Something is wrong with an option.
    #[error("{0}")]
    Option(String),
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// TLS cannot be set up.
    #[error("cannot set up requests to {url}")]
    Setup {
        /// Where the provider is.
        url: Url,
        /// Why.
        source: reqwest::Error,
    },
}

/// A client of one provider.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    /// The provider in messages: scheme, host and port.
    place: String,
    places: Semaphore,
}

/// A response.
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    body: Vec<u8>,
}

impl Client {
    /// A client of the provider at `url`, whose certificate is verified by the authorities in this file, or by those of
    /// the system.
    ///
    /// # Errors
    /// When the URL has another scheme, no host or credentials, or the file has no certificates.
    pub async fn new(
        url: &Url,
        authorities: Option<&Path>,
        files: &Files,
    ) -> Result<Self, ClientError> {
        if !["http", "https"].contains(&url.scheme()) || url.host().is_none() {
            return Err(ClientError::Option(format!("{url} is no URL with https://")));
        }
        if !url.username().is_empty() || url.password().is_some() {
            let message = "a URL with a user name or a password is not accepted".to_owned();
            return Err(ClientError::Option(message));
        }
        // Requests are rare, and a kept connection that the provider has closed would fail the next one.
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("commissaire/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .no_proxy()
            .pool_max_idle_per_host(0)
            .timeout(TIMEOUT);
        if let Some(path) = authorities {
            let file = |source| ClientError::File { path: path.to_owned(), source };
            let pem = files.read(path).await.map_err(file)?;
            let setup = |source| ClientError::Setup { url: url.clone(), source };
            let authorities = Certificate::from_pem_bundle(&pem).map_err(setup)?;
            if authorities.is_empty() {
                let message = format!("{} holds no certificate in PEM", path.display());
                return Err(ClientError::Option(message));
            }
            builder = builder.tls_certs_only(authorities);
        } else if url.scheme() == "http" {
            // A machine without authorities is no reason to fail.
            builder = builder.tls_certs_only([]);
        }
        let setup = |source| ClientError::Setup { url: url.clone(), source };
        let http = builder.build().map_err(setup)?;
        let place = url.origin().ascii_serialization();
        Ok(Self { http, place, places: Semaphore::new(CONCURRENCY) })
    }

    /// A `GET` of this URL.
    pub fn get(&self, url: Url) -> RequestBuilder {
        self.http.get(url)
    }

    /// A `POST` to this URL.
    pub fn post(&self, url: Url) -> RequestBuilder {
        self.http.post(url)
    }

    /// Sends a request of this client.
    ///
    /// # Errors
    /// [`ProviderError::Unavailable`] when there is no complete response in time. It names no header and no query, which
    /// may hold secrets.
    pub async fn send(&self, request: RequestBuilder) -> Result<Response> {
        let sent = async {
            let _place = self.places.acquire().await.map_err(|error| error.to_string())?;
            let response = request.send().await.map_err(cause)?;
            let (status, headers) = (response.status(), response.headers().clone());
            let body = read(response).await?;
            Ok(Response { status, headers, body })
        };
        let late = || Err(format!("no answer within {} s", TIMEOUT.as_secs()));
        let sent = timeout(TIMEOUT, sent).await.unwrap_or_else(|_| late());
        sent.map_err(|why| self.unavailable(&why))
    }

    /// The error that the provider does not say what it is asked for.
    pub fn unavailable(&self, why: &str) -> ProviderError {
        let place = &self.place;
        ProviderError::Unavailable(format!(
            "the identity provider at {place} does not answer: {why}"
        ))
    }
}

/// Whether requests to this URL do not leave the machine.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

async fn read(mut response: reqwest::Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await.map_err(cause)? {
        if body.len() + part.len() > BODY_MAX {
            return Err(format!("its answer has more than {BODY_MAX} bytes"));
        }
        body.extend_from_slice(&part);
    }
    Ok(body)
}

fn cause(error: reqwest::Error) -> String {
    chain(&error.without_url())
}

// Neither headers nor body, which may hold tokens.
impl std::fmt::Debug for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Response").field("status", &self.status).finish_non_exhaustive()
    }
}

impl Response {
    /// The body as JSON; `None` if it is something else.
    pub fn json<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_slice(&self.body).ok()
    }
}
