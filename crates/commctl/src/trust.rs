//! Whether a server is the one that is meant. Its certificates are taken from a handshake that ends
//! before any request, and are then verified: by the roots of the system, by authorities in a file, or
//! by the server's own authority, which the operator knows by its fingerprint.

mod fingerprint;

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::Url;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

pub(crate) use self::fingerprint::Fingerprint;
use crate::endpoint::{host, shown};
use crate::error::{Error, root_cause};

/// Timeout for the connection and the handshake together.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The certificates that a server shows.
#[derive(Debug, Clone)]
pub(crate) struct Chain {
    /// The server's name, as the endpoint has it.
    name: ServerName<'static>,
    /// The server's own certificate.
    server: CertificateDer<'static>,
    /// The certificates that it sends along.
    others: Vec<CertificateDer<'static>>,
}

/// Why a server is not to be trusted by an authority of its own.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoAuthority {
    #[error("the server sends no certificate of an authority along")]
    Missing,
    #[error("it does not verify by the authority that the server sends along: {0}")]
    Invalid(rustls::Error),
}

impl Chain {
    /// Takes the certificates of an `https` endpoint; no request is sent.
    pub(crate) async fn of(endpoint: &Url) -> Result<Self, Error> {
        let recorder = Arc::new(Recorder::default());
        let ended = handshake(endpoint, Arc::clone(&recorder)).await;
        recorder.chain.get().cloned().ok_or_else(|| {
            let failure =
                ended.err().unwrap_or_else(|| io::Error::other("it shows no certificate"));
            explained(endpoint, failure)
        })
    }

    /// Verifies them by the roots of the system, as all other requests do.
    pub(crate) fn verify_by_system(&self) -> Result<(), rustls::Error> {
        self.verify(&rustls_platform_verifier::Verifier::new(provider())?)
    }

    /// Verifies them by these authorities alone.
    pub(crate) fn verify_by(
        &self,
        authorities: &[CertificateDer<'static>],
    ) -> Result<(), rustls::Error> {
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots.add(authority.clone())?;
        }
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider());
        let verifier =
            verifier.build().map_err(|error| rustls::Error::General(error.to_string()))?;
        self.verify(verifier.as_ref())
    }

    /// The server's own authority: one that the server sends along, that signed itself, and that
    /// verifies the server's certificate and name.
    pub(crate) fn own_authority(&self) -> Result<&CertificateDer<'static>, NoAuthority> {
        let mut reason = NoAuthority::Missing;
        for authority in self.others.iter().filter(|certificate| is_authority(certificate)) {
            match self.verify_by(std::slice::from_ref(authority)) {
                Ok(()) => return Ok(authority),
                Err(error) => reason = NoAuthority::Invalid(error),
            }
        }
        Err(reason)
    }

    fn verify(&self, verifier: &dyn ServerCertVerifier) -> Result<(), rustls::Error> {
        let (server, others) = (&self.server, &self.others);
        verifier.verify_server_cert(server, others, &self.name, &[], UnixTime::now()).map(drop)
    }
}

/// Begins a handshake, which ends when the recorder has the certificates, or fails before that.
async fn handshake(endpoint: &Url, recorder: Arc<Recorder>) -> io::Result<()> {
    let host = host(endpoint);
    let port = endpoint.port_or_known_default().unwrap_or_default();
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(recorder)
        .with_no_client_auth();
    let connect = async {
        let tcp = TcpStream::connect((host, port)).await?;
        TlsConnector::from(Arc::new(config)).connect(name, tcp).await
    };
    let no_answer = |_| io::Error::other(format!("no answer within {} s", TIMEOUT.as_secs()));
    timeout(TIMEOUT, connect).await.map_err(no_answer)?.map(drop)
}

fn explained(endpoint: &Url, failure: io::Error) -> Error {
    let speaks_no_tls = root_cause(&failure).contains("InvalidContentType");
    let endpoint = shown(endpoint).to_owned();
    let advice = speaks_no_tls.then(|| {
        let plain = endpoint.replacen("https", "http", 1);
        format!("no TLS is spoken there; is it {plain}?")
    });
    let error = Error::Connect { endpoint, source: failure };
    match advice {
        Some(advice) => error.advise(advice),
        None => error,
    }
}

fn is_authority(certificate: &CertificateDer<'_>) -> bool {
    X509Certificate::from_der(certificate).is_ok_and(|(_, certificate)| {
        certificate.is_ca()
            && certificate.subject().as_raw() == certificate.issuer().as_raw()
            && certificate.verify_signature(None).is_ok()
    })
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Takes the certificates of a server, and ends the handshake there.
#[derive(Debug, Default)]
struct Recorder {
    chain: OnceLock<Chain>,
}

impl Recorder {
    fn end<T>() -> Result<T, rustls::Error> {
        Err(rustls::Error::General("the handshake is for the certificates only".to_owned()))
    }
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        server: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.chain.get_or_init(|| Chain {
            name: name.to_owned(),
            server: server.clone().into_owned(),
            others: others.iter().map(|other| other.clone().into_owned()).collect(),
        });
        Self::end()
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Self::end()
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Self::end()
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
