//! Who the operator is to the server, and how that is shown.

use std::path::PathBuf;

use secrecy::{ExposeSecret as _, SecretString};

use crate::error::Error;
use crate::plugin::Plugin;

/// What a request carries to say who asks.
#[derive(Debug)]
pub(crate) enum Login {
    /// Nothing: the client certificate says it.
    Certificate,
    Password(Password),
    /// A bearer token.
    Token(SecretString),
    /// One that is read for every request: it is replaced before it expires.
    TokenFile(PathBuf),
    /// Whatever a credential plugin says.
    Plugin(Box<Plugin>),
}

#[derive(Debug, Clone)]
pub(crate) struct Password {
    pub(crate) username: String,
    pub(crate) password: SecretString,
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
    pub(crate) fn read(&self) -> Result<SecretString, Error> {
        let (certificate, key) = (self.certificate.read()?, self.key.read()?);
        Ok([certificate.expose_secret(), "\n", key.expose_secret()].concat().into())
    }
}

impl Pem {
    pub(crate) fn read(&self) -> Result<SecretString, Error> {
        match self {
            Self::Text(text) => Ok(text.clone()),
            Self::File(path) => match std::fs::read_to_string(path) {
                Ok(text) => Ok(text.into()),
                Err(source) => Err(Error::Read { path: path.clone(), source }),
            },
        }
    }
}
