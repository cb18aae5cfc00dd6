//! Protection against cross-site requests: a browser attaches its user's credentials to requests that any page makes.
//! Clients other than browsers do not send these headers.

use std::str::FromStr;

use axum::http::uri::{Authority, Scheme};
use axum::http::{HeaderMap, HeaderName, Uri, header};
use serde::Deserialize;

use crate::error::ApiError;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The origin of a page: `https://HOST[:PORT]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Origin {
    scheme: Scheme,
    /// In lower case.
    host: String,
    port: u16,
}

impl FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("invalid origin {text:?}: use https://HOST or https://HOST:PORT");
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let (scheme, authority) = uri.scheme().zip(uri.authority()).ok_or_else(wrong)?;
        let ends = text.len() == scheme.as_str().len() + "://".len() + authority.as_str().len();
        let is_http = [Scheme::HTTP, Scheme::HTTPS].contains(scheme);
        let (host, port) =
            host_and_port(authority, scheme).filter(|_| ends && is_http).ok_or_else(wrong)?;
        Ok(Self { scheme: scheme.clone(), host, port })
    }
}

impl TryFrom<String> for Origin {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl Origin {
    /// Whether this `Host` is the origin's.
    fn has_host(&self, host: &str) -> bool {
        host.trim().parse().is_ok_and(|authority: Authority| {
            host_and_port(&authority, &self.scheme) == Some((self.host.clone(), self.port))
        })
    }
}

/// `None` if there is anything else in it.
fn host_and_port(authority: &Authority, scheme: &Scheme) -> Option<(String, u16)> {
    let default = if *scheme == Scheme::HTTPS { 443 } else { 80 };
    let rest = authority.as_str().strip_prefix(authority.host())?;
    let port = if rest.is_empty() { default } else { rest.strip_prefix(':')?.parse().ok()? };
    Some((authority.host().to_ascii_lowercase(), port))
}

/// Rejects a request without `Host`, or with several, of which a proxy may have used another one.
///
/// # Errors
/// 400.
pub fn check_host(headers: &HeaderMap) -> Result<(), ApiError> {
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(_), None) => Ok(()),
        _ => Err(ApiError::bad_request("a request needs exactly one Host header")),
    }
}

/// Rejects a cross-site request. `proxied`: the peer is a trusted proxy, whose `X-Forwarded-Host` counts as `Host`.
///
/// # Errors
/// 403.
pub fn check_origin(
    headers: &HeaderMap,
    proxied: bool,
    allowed: &[Origin],
) -> Result<(), ApiError> {
    let cross_site =
        || ApiError::forbidden("cross-site request: its origin is not in `allowed-origins`");
    let is_cross_site = headers.get(SEC_FETCH_SITE).is_some_and(|site| site == "cross-site");
    let Some(origin) = headers.get(header::ORIGIN) else {
        return if is_cross_site { Err(cross_site()) } else { Ok(()) };
    };
    // `null`, the origin of sandboxed pages and local files, does not parse.
    let origin = origin.to_str().ok().and_then(|origin| origin.parse::<Origin>().ok());
    let origin = origin.ok_or_else(cross_site)?;
    if allowed.contains(&origin) {
        return Ok(());
    }
    let forwarded = proxied.then(|| headers.get_all(X_FORWARDED_HOST)).into_iter().flatten();
    let mut hosts = headers
        .get_all(header::HOST)
        .iter()
        .chain(forwarded)
        .filter_map(|host| host.to_str().ok())
        .flat_map(|hosts| hosts.split(','));
    if is_cross_site || !hosts.any(|host| origin.has_host(host)) {
        return Err(cross_site());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn is_accepted(lines: &[(&'static str, &str)], proxied: bool) -> bool {
        let allowed = ["https://ops.example.com".parse().unwrap()];
        check_origin(&headers(lines), proxied, &allowed).is_ok()
    }

    #[test]
    fn origin_is_a_scheme_a_host_and_a_port() {
        let of = |text: &str| text.parse::<Origin>();
        assert_eq!(of("https://A.example"), of("https://a.example:443"));
        assert_eq!(of("http://a"), of("http://a:80"));
        assert_ne!(of("http://a"), of("https://a"));
        assert_ne!(of("https://a"), of("https://a:8443"));
        assert!(of("https://[2001:db8::1]:8000").is_ok());
        for wrong in [
            "",
            "null",
            "a",
            "a:443",
            "/",
            "*",
            "https://",
            "https://a/",
            "https://a/x",
            "https://a?x",
            "https://u@a",
            "ftp://a",
            "https://a b",
            "https://a:x",
        ] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn same_origin_requests_and_other_programs_are_accepted() {
        for lines in [
            &[("host", "a:8000")][..],
            &[("host", "a"), ("sec-fetch-site", "none")],
            &[("host", "a"), ("sec-fetch-site", "same-origin")],
            &[("host", "a:8000"), ("origin", "http://a:8000"), ("sec-fetch-site", "same-origin")],
            &[("host", "A"), ("origin", "https://a")],
            &[("host", "a:443"), ("origin", "https://a")],
            &[("host", "[::1]:8000"), ("origin", "http://[::1]:8000")],
            &[
                ("host", "a"),
                ("origin", "https://ops.example.com"),
                ("sec-fetch-site", "cross-site"),
            ],
        ] {
            assert!(is_accepted(lines, false), "{lines:?}");
        }
    }

    #[test]
    fn cross_site_requests_are_rejected() {
        for lines in [
            &[("host", "a"), ("sec-fetch-site", "cross-site")][..],
            &[("host", "a"), ("origin", "https://a"), ("sec-fetch-site", "cross-site")],
            &[("host", "a"), ("origin", "https://b")],
            &[("host", "a"), ("origin", "https://a.b")],
            &[("host", "a"), ("origin", "https://a:8443")],
            &[("host", "a:8000"), ("origin", "https://a")],
            &[("host", "a"), ("origin", "null")],
            &[("host", "a"), ("origin", "")],
            &[("host", "a"), ("origin", "https://b"), ("sec-fetch-site", "same-site")],
            &[("host", "a"), ("origin", "http://ops.example.com")],
            &[("host", "a"), ("origin", "https://b"), ("x-forwarded-host", "b")],
            &[("origin", "https://b")],
        ] {
            assert!(!is_accepted(lines, false), "{lines:?}");
        }
    }

    #[test]
    fn forwarded_host_of_a_trusted_proxy_counts() {
        let lines = |forwarded| {
            [
                ("host", "10.0.0.1:8000"),
                ("origin", "https://fleet.example.com"),
                ("x-forwarded-host", forwarded),
            ]
        };
        assert!(is_accepted(&lines("fleet.example.com"), true));
        assert!(is_accepted(&lines("fleet.example.com, inner"), true));
        assert!(!is_accepted(&lines("other.example.com"), true));
        assert!(!is_accepted(&lines("fleet.example.com"), false));
    }

    #[test]
    fn there_is_exactly_check_host() {
        assert!(check_host(&headers(&[("host", "a")])).is_ok());
        assert!(check_host(&headers(&[])).is_err());
        assert!(check_host(&headers(&[("host", "a"), ("host", "a")])).is_err());
    }
}
