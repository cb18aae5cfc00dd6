//! Requests to an issuer: without redirects, and with limits of their time and the size of their responses.

use std::pin::Pin;
use std::time::Duration;

use oauth2::{AsyncHttpClient, HttpRequest, HttpResponse};
use reqwest::{Certificate, StatusCode, Url, redirect};

use super::{LoginError, Provider};
use crate::endpoint::is_loopback;
use crate::error::root_cause;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(30);

/// Size limit of a response, in bytes.
const BODY_MAX: usize = 256 * 1024;

/// Why there is no response that can be used.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum HttpError {
    #[error("{0}")]
    Transport(String),
    #[error("it answers with a redirect, which is not followed")]
    Redirect,
    #[error("it answers {0}")]
    Server(StatusCode),
    #[error("its answer has more than {BODY_MAX} bytes")]
    TooLarge,
}

/// A client of one issuer.
#[derive(Debug)]
pub(super) struct Http(reqwest::Client);

impl Http {
    /// Sets it up; nothing is sent.
    pub(super) fn new(provider: &Provider) -> Result<Self, LoginError> {
        let url = url(&provider.issuer).map_err(|problem| provider.unusable(problem))?;
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("commctl/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .redirect(redirect::Policy::none());
        if is_loopback(&url) {
            builder = builder.no_proxy();
        }
        let setup = |error: reqwest::Error| {
            let cause = root_cause(&error);
            provider.unusable(format!("its certificate authority cannot be used: {cause}"))
        };
        if let Some(pem) = &provider.certificate_authority {
            let authorities = Certificate::from_pem_bundle(pem.as_bytes()).map_err(setup)?;
            builder = builder.tls_certs_only(authorities);
        } else if url.scheme() == "http" {
            // A machine without authorities is no reason to fail.
            builder = builder.tls_certs_only([]);
        }
        Ok(Self(builder.build().map_err(setup)?))
    }

    /// Sends a request. Errors name no URL, which may hold secrets.
    pub(super) async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let transport =
            |error: reqwest::Error| HttpError::Transport(root_cause(&error.without_url()));
        let request = reqwest::Request::try_from(request).map_err(transport)?;
        let mut response = self.0.execute(request).await.map_err(transport)?;
        let status = response.status();
        if status.is_redirection() {
            return Err(HttpError::Redirect);
        }
        if status.is_server_error() {
            return Err(HttpError::Server(status));
        }
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await.map_err(transport)? {
            if body.len() + part.len() > BODY_MAX {
                return Err(HttpError::TooLarge);
            }
            body.extend_from_slice(&part);
        }
        let mut answer = HttpResponse::new(body);
        *answer.status_mut() = status;
        *answer.headers_mut() = response.headers().clone();
        Ok(answer)
    }
}

impl<'c> AsyncHttpClient<'c> for Http {
    type Error = HttpError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.send(request))
    }
}

/// A URL that tokens and codes may be sent to: `https://`, or `http://` on loopback.
pub(super) fn url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("{text:?} is not a URL: {error}"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a URL with a user name or a password is not accepted".to_owned());
    }
    match url.scheme() {
        "https" if url.has_host() => Ok(url),
        "http" if is_loopback(&url) => Ok(url),
        _ => Err(format!("{text:?} does not begin with https://")),
    }
}

/// A URL that an issuer names: `http://` is accepted only from an issuer on this machine.
pub(super) fn url_of_issuer(issuer: &str, text: &str) -> Result<Url, String> {
    let (issuer, url) = (url(issuer)?, url(text)?);
    if url.scheme() == "http" && !is_loopback(&issuer) {
        return Err(format!("{text:?} does not begin with https://"));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remote_issuer_cannot_name_plain_http_on_this_machine() {
        let (remote, local) = ("https://id.example.com", "http://127.0.0.1:5556");
        assert!(url_of_issuer(remote, "http://127.0.0.1:80/token").is_err());
        assert!(url_of_issuer(remote, "https://other.example.com/token").is_ok());
        assert!(url_of_issuer(local, "http://127.0.0.1:80/token").is_ok());
        assert!(url_of_issuer(local, "http://id.example.com/token").is_err());
    }

    #[test]
    fn plain_http_is_for_loopback_only() {
        for good in [
            "https://id.example.com/realms/a",
            "http://127.0.0.1:80",
            "http://[::1]/",
            "http://localhost",
        ] {
            assert!(url(good).is_ok(), "{good}");
        }
        for bad in [
            "http://id.example.com",
            "http://localhost.example.com",
            "ftp://localhost",
            "id",
            "https://a:b@h",
            "file:///x",
        ] {
            assert!(url(bad).is_err(), "{bad}");
        }
        assert!(!url("https://ann:canary@h").unwrap_err().contains("canary"));
    }
}
