//! A lean HTTP client: one keep-alive connection, nothing that is not needed.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

/// See the module. Dropping it closes the connection.
#[derive(Debug)]
pub struct Client {
    sender: SendRequest<Full<Bytes>>,
    host: String,
    authorization: Option<String>,
    request_id: Option<String>,
    _connection: JoinSet<()>,
}

impl Client {
    /// Connects; every request will carry this `Authorization`.
    ///
    /// # Errors
    /// When nobody listens there.
    pub async fn connect(address: SocketAddr, authorization: Option<&str>) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.context("cannot connect")?;
        stream.set_nodelay(true).context("no TCP_NODELAY")?;
        Self::over(stream, address, authorization).await
    }

    /// The same over TLS, with a server of the authority in the file `ca`.
    ///
    /// # Errors
    /// When nobody listens there, or it is somebody else.
    pub async fn connect_tls(
        address: SocketAddr,
        authorization: Option<&str>,
        ca: &Path,
    ) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        let authority = CertificateDer::from_pem_file(ca)
            .with_context(|| format!("cannot read {}", ca.display()))?;
        roots.add(authority).context("no authority")?;
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let stream = TcpStream::connect(address).await.context("cannot connect")?;
        stream.set_nodelay(true).context("no TCP_NODELAY")?;
        let name = ServerName::from(address.ip());
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
        Self::over(stream.context("no TLS")?, address, authorization).await
    }

    async fn over(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        address: SocketAddr,
        authorization: Option<&str>,
    ) -> anyhow::Result<Self> {
        let (sender, connection) = handshake(TokioIo::new(stream)).await.context("no HTTP")?;
        let mut task = JoinSet::new();
        // However it ends, the request under way learns of it.
        task.spawn(async move { drop(connection.await) });
        let authorization = authorization.map(str::to_owned);
        let host = address.to_string();
        Ok(Self { sender, host, authorization, request_id: None, _connection: task })
    }

    /// From now on every request carries this id, which goes with all that comes of it.
    pub fn identify(&mut self, request_id: &str) {
        self.request_id = Some(request_id.to_owned());
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// When the connection fails.
    pub async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        let mut request = Request::builder().method(method).uri(path).header(HOST, &self.host);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        if let Some(id) = &self.request_id {
            request = request.header("x-request-id", id);
        }
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::new(body)).context("no request")?;
        self.sender.ready().await.context("the connection is closed")?;
        let response = self.sender.send_request(request).await.context("no answer")?;
        let status = response.status();
        let body = response.into_body().collect().await.context("half an answer")?;
        Ok((status, body.to_bytes()))
    }

    /// The answer to a `GET`.
    ///
    /// # Errors
    /// When it is not 200.
    pub async fn get(&mut self, path: &str) -> anyhow::Result<Bytes> {
        match self.send(Method::GET, path, Bytes::new()).await? {
            (StatusCode::OK, body) => Ok(body),
            (status, body) => bail!("GET {path}: {status} {}", String::from_utf8_lossy(&body)),
        }
    }

    /// The answer to a `GET`, understood.
    ///
    /// # Errors
    /// When it is not 200 or no JSON.
    pub async fn get_json(&mut self, path: &str) -> anyhow::Result<Value> {
        let body = self.get(path).await?;
        serde_json::from_slice(&body).with_context(|| format!("GET {path}: no JSON"))
    }

    /// A `PUT`.
    ///
    /// # Errors
    /// When it is not successful.
    pub async fn put(&mut self, path: &str, body: &Value) -> anyhow::Result<()> {
        match self.send(Method::PUT, path, body.to_string().into()).await? {
            (status, _) if status.is_success() => Ok(()),
            (status, body) => bail!("PUT {path}: {status} {}", String::from_utf8_lossy(&body)),
        }
    }
}
