//! Secrets in a Custodia server, as the original keeps them: each as JSON text at `/secrets/hosts/{address}`,
//! over HTTP on a Unix socket.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bus::error::chain;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use runtime::Outage;
use zeroize::Zeroizing;

/// It is a process of this machine: what takes longer does not work.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Where Custodia has its secrets; what follows is the same as in a store, below this prefix.
const PREFIX: &str = "/commissaire/secrets/";

/// Why Custodia does not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CustodiaError {
    /// The client cannot be made.
    #[error("cannot use the socket of Custodia")]
    Client(#[source] reqwest::Error),
    /// It does not answer.
    #[error("Custodia does not answer: cannot {doing} a secret")]
    Silent {
        /// What was tried.
        doing: &'static str,
        /// Why.
        source: reqwest::Error,
    },
    /// It will not do it.
    #[error(
        "Custodia answers {status}: cannot {doing} a secret; is the user `commissaire` allowed to?"
    )]
    Refused {
        /// What was tried.
        doing: &'static str,
        /// Its answer.
        status: StatusCode,
    },
    /// What it has is no text.
    #[error("Custodia has something else than text")]
    NoText,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Custodia {
    client: Client,
    outage: Arc<Outage>,
}

impl Custodia {
    /// The server behind `socket`; it need not be there yet.
    ///
    /// # Errors
    /// [`CustodiaError::Client`].
    pub fn new(socket: &Path) -> Result<Self, CustodiaError> {
        let mut headers = HeaderMap::new();
        // By it Custodia's header authentication knows the original.
        headers.insert("REMOTE_USER", HeaderValue::from_static("commissaire"));
        let client = Client::builder()
            .unix_socket(socket)
            .no_proxy()
            .tls_certs_only([])
            .default_headers(headers)
            .timeout(TIMEOUT)
            .build();
        let client = client.map_err(CustodiaError::Client)?;
        let what = format!("Custodia at {} (`custodia-socket-path`)", socket.display());
        Ok(Self { client, outage: Arc::new(Outage::new(what)) })
    }

    /// The secret that belongs to a key in the store, if there is one.
    ///
    /// # Errors
    /// [`CustodiaError`].
    pub async fn get(&self, key: &str) -> Result<Option<Zeroizing<String>>, CustodiaError> {
        let doing = "read";
        let request = self.request(Method::GET, key).header(ACCEPT, "application/octet-stream");
        let silent = |source: reqwest::Error| CustodiaError::Silent { doing, source };
        let answer = self.send(request, doing).await?;
        match answer.status() {
            StatusCode::NOT_FOUND => Ok(None),
            StatusCode::OK => {
                let body = Zeroizing::new(Vec::from(answer.bytes().await.map_err(silent)?));
                let text = std::str::from_utf8(&body).map_err(|_| CustodiaError::NoText)?;
                Ok(Some(Zeroizing::new(text.to_owned())))
            }
            status => Err(CustodiaError::Refused { doing, status }),
        }
    }

    /// Keeps a secret, whatever was there before.
    ///
    /// # Errors
    /// [`CustodiaError`].
    pub async fn put(&self, key: &str, secret: &str) -> Result<(), CustodiaError> {
        const THERE: StatusCode = StatusCode::CONFLICT;
        let container = key.rsplit_once('/').map_or("", |(container, _)| container);
        let create = self.request(Method::POST, &format!("{container}/"));
        let put = || {
            let request = self.request(Method::PUT, key);
            request.header(CONTENT_TYPE, "application/octet-stream").body(secret.to_owned())
        };
        self.answer("make room for", create, &[THERE]).await?;
        // It replaces nothing.
        if self.answer("write", put(), &[THERE]).await? == THERE {
            self.delete(key).await?;
            self.answer("write", put(), &[]).await?;
        }
        Ok(())
    }

    /// Removes a secret; one that is gone already is no error.
    ///
    /// # Errors
    /// [`CustodiaError`].
    pub async fn delete(&self, key: &str) -> Result<(), CustodiaError> {
        let request = self.request(Method::DELETE, key);
        self.answer("remove", request, &[StatusCode::NOT_FOUND]).await.map(drop)
    }

    fn request(&self, method: Method, key: &str) -> RequestBuilder {
        let path = key.strip_prefix(PREFIX).unwrap_or(key);
        self.client.request(method, format!("http://localhost/secrets/{path}"))
    }

    /// Sends a request whose answer is success, or one of `also`.
    async fn answer(
        &self,
        doing: &'static str,
        request: RequestBuilder,
        also: &[StatusCode],
    ) -> Result<StatusCode, CustodiaError> {
        match self.send(request, doing).await?.status() {
            status if status.is_success() || also.contains(&status) => Ok(status),
            status => Err(CustodiaError::Refused { doing, status }),
        }
    }

    /// Sends a request. Whether there is an answer is the outage.
    async fn send(
        &self,
        request: RequestBuilder,
        doing: &'static str,
    ) -> Result<Response, CustodiaError> {
        let sent = request.send().await.map_err(|source| CustodiaError::Silent { doing, source });
        match &sent {
            Ok(_) => self.outage.succeeded(),
            Err(error) => self.outage.failed("", &chain(error)),
        }
        sent
    }
}
