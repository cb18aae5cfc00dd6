//! Certificates and keys in PEM.

use std::path::PathBuf;

use secrecy::{ExposeSecret as _, SecretString};

use crate::files::{self, ReadError};

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
