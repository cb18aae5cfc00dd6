//! Whether the server is the one that is meant, before anything is sent to it.

use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;
use secrecy::ExposeSecret as _;

use super::{NOTHING_DONE, cannot_ask};
use crate::config::ConfigFile;
use crate::config::ask::{Asker, prompt};
use crate::error::Error;
use crate::pem::{self, Pem};
use crate::text::printable;
use crate::trust::{Chain, Fingerprint, NoAuthority};

/// The command that prints the fingerprint.
const WHERE: &str = "on the server, this prints its fingerprint: commissaire ca-fingerprint";

/// A server that shows certificates.
pub(super) struct Server<'a> {
    pub(super) endpoint: &'a str,
    pub(super) chain: Chain,
    pub(super) file: &'a ConfigFile,
}

impl Server<'_> {
    /// Its own authority, which must have this fingerprint.
    pub(super) fn confirmed(&self, expected: &Fingerprint) -> Result<Pem, Error> {
        let authority = self.chain.own_authority().map_err(|reason| self.untrusted(&reason))?;
        let fingerprint = Fingerprint::of(authority);
        if fingerprint == *expected {
            return Ok(Pem::Text(pem::to_pem(authority).into()));
        }
        Err(Error::Failed(format!(
            "the authority of {} has the fingerprint {fingerprint}, not {expected}: it is another \
             server, or has another authority now; {WHERE}. {NOTHING_DONE}",
            self.endpoint
        )))
    }

    /// The authority that the configuration names, if the server still has a certificate of it.
    pub(super) fn unchanged(&self, path: PathBuf) -> Result<Pem, Error> {
        let pinned = authorities(&path)?;
        let Err(cause) = self.chain.verify_by(&pinned) else { return Ok(Pem::File(path)) };
        let (endpoint, file) = (self.endpoint, self.file.path.display());
        let named = path.display();
        Err(Error::Failed(match self.chain.own_authority() {
            Ok(authority) => {
                let now = Fingerprint::of(authority);
                let pinned = pinned.iter().map(|pinned| Fingerprint::of(pinned).to_string());
                let pinned: Vec<_> = pinned.collect();
                format!(
                    "the authority of {endpoint} has changed: its fingerprint is {now} now, and \
                     {} in {named}. If that is expected, pass --ca-fingerprint, or remove the field \
                     certificate_authority from {file}; {WHERE}. {NOTHING_DONE}",
                    pinned.join(", ")
                )
            }
            Err(_) => format!(
                "the certificate of {endpoint} does not verify by the authority in {named}: {}. If \
                 it is of another authority now, remove the field certificate_authority from {file}. \
                 {NOTHING_DONE}",
                printable(&cause.to_string())
            ),
        }))
    }

    /// Its own authority, of whose fingerprint the operator types the beginning.
    pub(super) fn recognized(&self, cause: &rustls::Error, asker: &Asker) -> Result<Pem, Error> {
        let endpoint = self.endpoint;
        let authority = self.chain.own_authority().map_err(|reason| match reason {
            NoAuthority::Missing => self.untrusted(cause),
            NoAuthority::Invalid(_) => self.untrusted(&reason),
        })?;
        if !asker.is_at_a_terminal() {
            return Err(Error::Failed(format!(
                "{endpoint} has a certificate of its own authority, which this machine does not \
                 know: pass that authority's fingerprint with --ca-fingerprint; {WHERE}. {NOTHING_DONE}"
            )));
        }
        // The fingerprint is not shown: it would only be copied from here.
        eprintln!(
            "{endpoint} has a certificate of its own authority, which this machine does not know.\n\
             The server has printed the authority's fingerprint at its start;\n{WHERE}"
        );
        let typed = prompt("first eight characters of the fingerprint")
            .map_err(|error| cannot_ask(&error))?;
        if Fingerprint::of(authority).is_typed(&typed) {
            return Ok(Pem::Text(pem::to_pem(authority).into()));
        }
        Err(Error::Failed(format!(
            "the authority of {endpoint} has another fingerprint than the one that was typed: is it \
             the server that is meant? {NOTHING_DONE}"
        )))
    }

    fn untrusted(&self, reason: &dyn std::error::Error) -> Error {
        Error::Failed(format!(
            "the certificate of {} is not trusted: {}. If it is of an authority whose PEM file you \
             have, put \"certificate_authority\": \"FILE\" into {}. {NOTHING_DONE}",
            self.endpoint,
            printable(&reason.to_string()),
            self.file.path.display()
        ))
    }
}

fn authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let text = Pem::File(path.to_owned()).read()?;
    pem::certificates(text.expose_secret()).map_err(|error| {
        Error::Usage(format!("{} holds no certificates in PEM: {error}", path.display()))
    })
}
