//! Advice for an endpoint that cannot be reached.

use std::error::Error;
use std::io;
use std::path::Path;

use rustls::{CertificateError, InvalidMessage};

/// The advice for an endpoint of this configuration file.
pub(super) fn advice(failure: &reqwest::Error, endpoint: &str, configuration: &Path) -> String {
    let file = configuration.display();
    match tls_error(failure) {
        Some(rustls::Error::InvalidCertificate(problem)) => {
            format!("the certificate of {endpoint} {}", certificate(problem, configuration))
        }
        Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
            format!("no TLS is spoken there; should the \"endpoint\" in {file} begin with http://?")
        }
        _ if !failure.is_connect() && !failure.is_timeout() && endpoint.starts_with("http://") => {
            format!("is TLS spoken there? then the \"endpoint\" in {file} begins with https://")
        }
        _ => format!("is Commissaire running there? its address is the \"endpoint\" in {file}"),
    }
}

/// Goes on after "the certificate of URL".
fn certificate(problem: &CertificateError, configuration: &Path) -> String {
    use CertificateError as E;
    let file = configuration.display();
    match problem {
        // An authority that was made again has the name of the former one and another key.
        E::UnknownIssuer | E::BadSignature => format!(
            "is signed by an authority that is not trusted: put \"certificate_authority\": \
             \"ca.pem\" into {file}, with a copy of the file of that name in the server's data \
             directory, or run: commctl login"
        ),
        E::Expired | E::ExpiredContext { .. } => {
            "has expired: it has to be renewed at the server, unless the clock of this machine is \
             wrong"
                .to_owned()
        }
        E::NotValidYet | E::NotValidYetContext { .. } => {
            "is not valid yet: is the clock of this machine or that of the server wrong?".to_owned()
        }
        E::NotValidForName | E::NotValidForNameContext { .. } => format!(
            "is for other names: write one of them into the \"endpoint\" in {file}, or renew the \
             certificate with this one"
        ),
        _ => "is not accepted: it has to be replaced at the server".to_owned(),
    }
}

/// The TLS error among the causes, if there is one.
fn tls_error<'a>(failure: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut cause = Some(failure);
    while let Some(error) = cause {
        if let Some(tls) = error.downcast_ref() {
            return Some(tls);
        }
        // The source of an `io::Error` is that of the error in it, not that error.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        cause = match inner {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}
