//! A server that speaks TLS, with an authority of its own.

use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// An authority that signs certificates of servers.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "authority of a test");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// Its SHA-256 fingerprint as openssl prints it.
    pub(crate) fn openssl_fingerprint(&self) -> String {
        let digest = Sha256::digest(self.0.der());
        let bytes: Vec<_> = digest.iter().map(|byte| format!("{byte:02X}")).collect();
        bytes.join(":")
    }

    /// The same in lower case and without colons.
    pub(crate) fn fingerprint(&self) -> String {
        self.openssl_fingerprint().replace(':', "").to_lowercase()
    }

    /// A certificate of a server with this name, and its key.
    fn certificate(&self, name: &str) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        (certificate.der().clone(), PrivateKeyDer::try_from(key.serialize_der()).unwrap())
    }
}

/// What the server sends along with its certificate.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Sends {
    ItsAuthority,
    Nothing,
}

/// It lists one cluster to all who ask, or refuses them.
pub(crate) struct TlsServer {
    port: u16,
    requests: Arc<Mutex<Vec<String>>>,
    serving: JoinHandle<()>,
}

impl TlsServer {
    pub(crate) async fn new(authority: &Authority) -> Self {
        Self::with(authority, "127.0.0.1", Sends::ItsAuthority, "200 OK", r#"["c1"]"#).await
    }

    pub(crate) async fn with(
        authority: &Authority,
        name: &str,
        sends: Sends,
        status: &'static str,
        body: &'static str,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (certificate, key) = authority.certificate(name);
        let mut chain = vec![certificate];
        if sends == Sends::ItsAuthority {
            chain.push(authority.0.der().clone());
        }
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let received = Arc::clone(&requests);
        let serving = tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let (acceptor, received) = (acceptor.clone(), Arc::clone(&received));
                tokio::spawn(serve(acceptor, tcp, received, status, body));
            }
        });
        Self { port, requests, serving }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// All that came over connections on which the handshake was completed, a request each. Those for the ways to log in are
    /// left out, unless it names providers.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(
    acceptor: TlsAcceptor,
    tcp: TcpStream,
    received: Arc<Mutex<Vec<String>>>,
    status: &'static str,
    body: &'static str,
) {
    // A client that does not trust the certificate ends it here.
    let Ok(mut stream) = acceptor.accept(tcp).await else { return };
    let mut request = Vec::new();
    let mut bytes = [0; 4096];
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut bytes).await {
            Ok(0) | Err(_) => break,
            Ok(count) => request.extend(&bytes[..count]),
        }
    }
    if request.is_empty() {
        return;
    }
    let request = String::from_utf8(request).unwrap();
    // A server of an earlier version, which names no identity providers.
    let is_about_logins = request.starts_with("GET /api/v0/login ") && !body.contains("providers");
    let (status, body) = if is_about_logins {
        ("404 Not Found", r#"{"title": "Not Found", "status": 404}"#)
    } else {
        received.lock().unwrap().push(request);
        (status, body)
    };
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{body}"
    );
    // What comes of it is the client's to say.
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}
