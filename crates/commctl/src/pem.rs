//! Certificates and keys in PEM.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject as _};
use secrecy::{ExposeSecret as _, SecretString};

use crate::files::{self, ReadError};

/// The certificates in a PEM file, which may hold a private key, too.
pub(crate) fn certificates(text: &str) -> Result<Vec<CertificateDer<'static>>, pem::Error> {
    CertificateDer::pem_slice_iter(text.as_bytes()).collect()
}

/// A certificate in PEM, in lines of 64 characters.
pub(crate) fn to_pem(certificate: &CertificateDer<'_>) -> String {
    let (text, mut lines) = (BASE64.encode(certificate), String::new());
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, others) = rest.split_at(rest.len().min(64));
        lines += line;
        lines.push('\n');
        rest = others;
    }
    format!("-----BEGIN CERTIFICATE-----\n{lines}-----END CERTIFICATE-----\n")
}

/// A client certificate and its key.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) certificate: Pem,
    pub(crate) key: Pem,
}

/// Something in PEM, or the file that holds it.
#[derive(Debug, Clone)]
pub(crate) enum Pem {
    File(PathBuf),
    Text(SecretString),
}

impl Identity {
    /// Both, one after the other.
    pub(crate) fn read(&self) -> Result<SecretString, ReadError> {
        let (certificate, key) = (self.certificate.read()?, self.key.read()?);
        Ok([certificate.expose_secret(), "\n", key.expose_secret()].concat().into())
    }
}

impl Pem {
    pub(crate) fn read(&self) -> Result<SecretString, ReadError> {
        match self {
            Self::Text(text) => Ok(text.clone()),
            Self::File(path) => files::read_text(path).map(SecretString::from),
        }
    }
}
