//! Requests to the API, and which of them are tried again.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use bus::{Error, Kind, Result};
use model::{Authority, KubernetesOptions, MASK};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Certificate, ClientBuilder, Identity, Method, Url};
use runtime::Files;
use runtime::retry::{Pauses, Schedule};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use tokio::time::Instant;

use super::answer::{Answer, classify};

/// The largest answer, in bytes: a page of nodes that hold many images takes some.
const BODY_MAX: usize = 64 * 1024 * 1024;

/// Retries of a request, until a deadline.
#[derive(Debug)]
pub(super) struct Retries {
    pauses: Pauses,
    until: Instant,
}

impl Retries {
    /// No pause lasts beyond `until`.
    pub(super) fn until(until: Instant) -> Self {
        Self { pauses: Schedule::KUBERNETES.pauses(), until }
    }

    /// Waits before the next try, `after` at least.
    ///
    /// # Errors
    /// `error`, when there is to be no next try.
    pub(super) async fn pause(&mut self, after: Option<Duration>, error: Error) -> Result<()> {
        let Some(pause) = self.pauses.next() else { return Err(error) };
        let pause = after.unwrap_or_default() + pause;
        if Instant::now() + pause >= self.until {
            return Err(error);
        }
        tracing::debug!(error = bus::error::chain(&error), ?pause, "trying again");
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

/// A request.
#[derive(Debug, Clone)]
pub(super) struct Request {
    method: Method,
    node: Option<String>,
    query: Vec<(&'static str, String)>,
    body: Option<Value>,
}

impl Request {
    /// To the collection of nodes.
    pub(super) fn nodes(method: Method) -> Self {
        Self { method, node: None, query: Vec::new(), body: None }
    }

    /// To one node.
    pub(super) fn node(method: Method, name: &str) -> Self {
        Self { node: Some(name.to_owned()), ..Self::nodes(method) }
    }

    pub(super) fn with_query(mut self, name: &'static str, value: &str) -> Self {
        self.query.push((name, value.to_owned()));
        self
    }

    pub(super) fn with_body(self, body: Value) -> Self {
        Self { body: Some(body), ..self }
    }
}

/// A client of one API server.
pub(super) struct Client {
    /// The container manager's name, for messages.
    pub(super) name: String,
    server_url: Url,
    http: reqwest::Client,
    /// Never to be seen in a message, even if the server sends it back.
    token: Option<SecretString>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("name", &self.name)
            .field("server_url", &self.server_url.as_str())
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Reads the files that the options name.
    ///
    /// # Errors
    /// A sentence that says what cannot be used.
    pub(super) async fn new(
        name: &str,
        options: &KubernetesOptions,
        connect_timeout: Duration,
        files: &Files,
    ) -> Result<Self, String> {
        let mut builder = reqwest::Client::builder()
            .connect_timeout(connect_timeout)
            // A token is for this server only.
            .redirect(Policy::none())
            .no_proxy()
            // A connection that hangs holds up one request, not all of them.
            .http1_only()
            .default_headers(headers(options.token.as_ref())?);
        if let Some(authority) = &options.authority {
            builder = trust(builder, authority, files).await?;
        }
        if let Some((certificate, key)) = &options.certificate {
            let pem = [read(files, certificate).await?, b"\n".to_vec(), read(files, key).await?];
            let pem = pem.concat();
            let identity = Identity::from_pem(&pem).map_err(|_| {
                format!(
                    "{} and {} are no certificate and its private key in PEM",
                    certificate.display(),
                    key.display()
                )
            })?;
            builder = builder.identity(identity);
        }
        if options.insecure_skip_tls_verify {
            tracing::warn!(
                container_manager.name = name,
                "insecure_skip_tls_verify: whoever is in between can read the token and act with it"
            );
            builder = builder.tls_danger_accept_invalid_certs(true);
        }
        let http = builder
            .build()
            .map_err(|e| format!("its client cannot be made: {}", bus::error::chain(&e)))?;
        let (server_url, token) = (options.server_url.clone(), options.token.clone());
        Ok(Self { name: name.to_owned(), server_url, http, token })
    }

    /// Sends a request that may be repeated, until it is answered or that is of no use any more.
    pub(super) async fn ask(&self, request: &Request, until: Instant) -> Result<Answer> {
        let mut retries = Retries::until(until);
        loop {
            match self.once(request).await {
                Ok(Answer::Again(after, why)) => retries.pause(after, self.away(&why)).await?,
                Err(error) if error.kind() == Kind::Unavailable => {
                    retries.pause(None, error).await?;
                }
                answered => return answered,
            }
        }
    }

    /// Sends a request once.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] when there is no answer; [`Kind::ContainerManager`] when there is no trust.
    pub(super) async fn once(&self, request: &Request) -> Result<Answer> {
        let sent = self.http.request(request.method.clone(), self.url(request));
        let sent = match &request.body {
            Some(body) => sent.header(CONTENT_TYPE, "application/json").body(body.to_string()),
            None => sent,
        };
        let mut response = sent.send().await.map_err(|e| self.failed(e))?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| self.failed(e))? {
            if body.len() + chunk.len() > BODY_MAX {
                return Ok(Answer::Refused("its answer is too large".to_owned()));
            }
            body.extend_from_slice(&chunk);
        }
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        Ok(self.redacted(classify(response.status().as_u16(), retry_after, &body)))
    }

    fn url(&self, request: &Request) -> Url {
        let mut url = self.server_url.clone();
        // Always there for http and https; each segment is encoded.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["api", "v1", "nodes"]).extend(request.node.as_deref());
        }
        if !request.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&request.query);
        }
        url
    }

    fn redacted(&self, answer: Answer) -> Answer {
        let Some(token) = &self.token else { return answer };
        let hide = |text: String| text.replace(token.expose_secret(), MASK);
        match answer {
            Answer::Exists(text) => Answer::Exists(hide(text)),
            Answer::Changed(text) => Answer::Changed(hide(text)),
            Answer::Expired(text) => Answer::Expired(hide(text)),
            Answer::Again(after, text) => Answer::Again(after, hide(text)),
            Answer::Refused(text) => Answer::Refused(hide(text)),
            answer @ (Answer::Done(_) | Answer::Missing) => answer,
        }
    }

    /// The error when the server says that it cannot now.
    pub(super) fn away(&self, why: &str) -> Error {
        Error::unavailable(format!("the container manager {} cannot answer now: {why}", self.name))
    }

    fn failed(&self, error: reqwest::Error) -> Error {
        let name = &self.name;
        if let Some(why) = distrust(&error) {
            let message = format!(
                "no trusted connection to the container manager {name}: {why}; see `certificate_authority_path` and `certificate_path` in its options"
            );
            return Error::new(Kind::ContainerManager, message).with_source(error);
        }
        let host = self.server_url.host_str().unwrap_or_default();
        let message = format!("the container manager {name} at {host} does not answer");
        Error::unavailable(message).with_source(error)
    }
}

fn headers(token: Option<&SecretString>) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    if let Some(token) = token {
        let bearer = format!("Bearer {}", token.expose_secret());
        let mut value = HeaderValue::try_from(bearer)
            .map_err(|_| "its token has characters that no token has".to_owned())?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    Ok(headers)
}

async fn trust(
    builder: ClientBuilder,
    authority: &Authority,
    files: &Files,
) -> Result<ClientBuilder, String> {
    let (pem, place) = match authority {
        Authority::Path(path) => (read(files, path).await?, path.display().to_string()),
        Authority::Pem(pem) => (pem.clone().into_bytes(), "certificate_authority_data".to_owned()),
    };
    let certificates = Certificate::from_pem_bundle(&pem).unwrap_or_default();
    if certificates.is_empty() {
        return Err(format!("{place} holds no certificate in PEM"));
    }
    Ok(builder.tls_certs_only(certificates))
}

async fn read(files: &Files, path: &Path) -> Result<Vec<u8>, String> {
    files.read(path).await.map_err(|e| format!("cannot read {}: {e}", path.display()))
}

/// What TLS has against the server, or the server against our certificate, if that is why it failed.
fn distrust(error: &reqwest::Error) -> Option<String> {
    let mut cause = std::error::Error::source(error);
    while let Some(current) = cause {
        // An I/O error hides what it wraps from `source`.
        let wrapped = current.downcast_ref::<std::io::Error>().and_then(|io| io.get_ref());
        let found = wrapped
            .and_then(|wrapped| wrapped.downcast_ref::<rustls::Error>())
            .or_else(|| current.downcast_ref::<rustls::Error>());
        if let Some(found) = found {
            return Some(found.to_string());
        }
        cause = match wrapped {
            Some(wrapped) => Some(wrapped as &(dyn std::error::Error + 'static)),
            None => current.source(),
        };
    }
    None
}
