//! Addresses of servers.

use std::net::IpAddr;

use reqwest::Url;

/// An endpoint as its owner wrote it.
pub(crate) fn shown(endpoint: &Url) -> &str {
    endpoint.as_str().trim_end_matches('/')
}

/// The host of an endpoint; an IPv6 address has no brackets.
pub(crate) fn host(endpoint: &Url) -> &str {
    endpoint.host_str().unwrap_or_default().trim_matches(['[', ']'])
}

/// Whether an endpoint is on the machine that connects to it.
pub(crate) fn is_loopback(endpoint: &Url) -> bool {
    let host = host(endpoint);
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_localhost_and_its_addresses() {
        let loopback = |text: &str| is_loopback(&Url::parse(text).unwrap());
        assert!(loopback("http://localhost:8000") && loopback("http://127.0.0.2"));
        assert!(loopback("https://[::1]:8000"));
        assert!(!loopback("http://10.0.0.9:8000") && !loopback("https://localhost.example.com"));
    }
}
