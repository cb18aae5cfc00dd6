//! TLS: certificates from files, which may change while they are used.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::X509Name;

use crate::peer::ClientCertificate;

/// The first byte of every TLS connection: a handshake record.
const HANDSHAKE: u8 = 22;

/// What somebody is told who speaks plain HTTP.
const PLAIN: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/problem+json\r\n\
    Content-Length: 89\r\nConnection: close\r\n\r\n\
    {\"title\":\"Bad Request\",\"status\":400,\"detail\":\"this port speaks TLS: use an https:// URL\"}";

/// Whether clients show certificates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientVerify {
    /// All of them; others are not talked to.
    #[default]
    Required,
    /// Those that have one; others authenticate by something else.
    Optional,
}

/// The files that it takes.
#[derive(Debug, Clone)]
pub struct Files {
    /// The server's key, its certificate, and those between that and its authority's.
    pub pem: PathBuf,
    /// The authorities of clients' certificates.
    pub clients: Option<(PathBuf, ClientVerify)>,
}

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file holds something else.
    #[error("no PEM that can be used in {}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// Why.
        source: pem::Error,
    },
    /// The key and the certificate do not fit, or are of an unknown kind.
    #[error("cannot use the key and certificate in {}", path.display())]
    Rejected {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// There is no authority of clients in its file.
    #[error("cannot use the authorities in {}", path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// Why.
        source: VerifierBuilderError,
    },
}

/// See the module.
#[derive(Debug)]
pub struct Tls {
    files: Files,
    current: RwLock<Arc<ServerConfig>>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn load(files: Files) -> Result<Self, TlsError> {
        let current = RwLock::new(read(&files)?);
        Ok(Self { files, current })
    }

    /// Reads the files again, for connections to come; where that fails, nothing changes.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn reload(&self) -> Result<(), TlsError> {
        let new = read(&self.files)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }

    /// Shakes hands with a client, which may prove to own a certificate.
    ///
    /// # Errors
    /// When that fails.
    pub(crate) async fn accept(
        &self,
        mut tcp: TcpStream,
    ) -> io::Result<(TlsStream<TcpStream>, Option<ClientCertificate>)> {
        let mut first = [0];
        if tcp.peek(&mut first).await? == 1 && first[0] != HANDSHAKE {
            // Read first: a connection that is closed with something unread takes the answer with it.
            tcp.readable().await?;
            drop(tcp.try_read(&mut vec![0; 4096]));
            tcp.write_all(PLAIN).await?;
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not TLS"));
        }
        let config = Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner));
        let stream = TlsAcceptor::from(config).accept(tcp).await?;
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let certificate = shown.map(|der| client_certificate(der));
        Ok((stream, certificate))
    }
}

fn client_certificate(der: &[u8]) -> ClientCertificate {
    let certificate = X509Certificate::from_der(der).ok().map(|(_, certificate)| certificate);
    let certificate = certificate.as_ref();
    ClientCertificate {
        common_name: certificate.and_then(|certificate| common_name(certificate.subject())),
        issuer: certificate.and_then(|c| common_name(c.issuer())).unwrap_or_default(),
    }
}

/// The common name of a subject or an issuer; `None` if it has several.
fn common_name(name: &X509Name<'_>) -> Option<String> {
    let mut names = name.iter_common_name();
    let name = names.next()?.as_str().ok()?.to_owned();
    names.next().is_none().then_some(name)
}

fn read(files: &Files) -> Result<Arc<ServerConfig>, TlsError> {
    let path = || files.pem.clone();
    let text = contents(&files.pem)?;
    let unusable = |source| TlsError::Pem { path: path(), source };
    let key = PrivateKeyDer::from_pem_slice(&text).map_err(unusable)?;
    warn_if_readable(&files.pem);
    let chain = certificates(&files.pem, &text)?;

    let provider = Arc::new(aws_lc_rs::default_provider());
    let rejected = |source| TlsError::Rejected { path: path(), source };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(rejected)?;
    let builder = match &files.clients {
        None => builder.with_no_client_auth(),
        Some((file, verify)) => {
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots(file)?), provider);
            let verifier = match verify {
                ClientVerify::Required => verifier,
                ClientVerify::Optional => verifier.allow_unauthenticated(),
            };
            let path = file.clone();
            let verifier =
                verifier.build().map_err(|source| TlsError::Authorities { path, source })?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(rejected)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn roots(file: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file, &contents(file)?)? {
        let path = file.to_owned();
        roots.add(certificate).map_err(|source| TlsError::Rejected { path, source })?;
    }
    Ok(roots)
}

fn contents(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })
}

fn certificates(path: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unusable = |source| TlsError::Pem { path: path.to_owned(), source };
    let all: Vec<_> =
        CertificateDer::pem_slice_iter(text).collect::<Result<_, _>>().map_err(unusable)?;
    if all.is_empty() { Err(unusable(pem::Error::NoItemsFound)) } else { Ok(all) }
}

/// Not refused: where secrets are mounted into containers, all files are like that. A group is common,
/// too, for certificates that several daemons use.
fn warn_if_readable(path: &Path) {
    let mode = std::fs::metadata(path).map_or(0, |file| file.permissions().mode());
    if mode & 0o004 != 0 {
        tracing::warn!(path = %path.display(), "every user can read this key: chmod o= it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_of_plain_http_says_how_long_it_is() {
        let text = std::str::from_utf8(PLAIN).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{}", body.len());
        assert!(serde_json::from_str::<serde_json::Value>(body).is_ok());
    }
}
