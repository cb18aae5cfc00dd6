//! Where a request comes from: the connection's peer, or whoever a trusted proxy says it asks for.
//!
//! What a proxy adds stands on the right, and what the client made up on the left. So the list is read
//! from the right until an address that is no trusted proxy's. What cannot be read ends the search,
//! and the peer stays: nothing further left can be believed. The same where two headers disagree, of
//! which a client may have sent one past a proxy that writes only the other.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::http::{HeaderMap, HeaderName, header};
use model::Networks;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The address of the client behind `peer`.
pub fn client(peer: IpAddr, headers: &HeaderMap, proxies: &Networks) -> IpAddr {
    let peer = peer.to_canonical();
    if !proxies.contains(peer) {
        return peer;
    }
    let rfc = named(headers, &header::FORWARDED, forwarded, proxies);
    let x_forwarded = named(headers, &X_FORWARDED_FOR, |text| Some(plain(text)), proxies);
    match (rfc, x_forwarded) {
        (Named::Client(one), Named::Client(other)) if one == other => one,
        (Named::Client(one), Named::Nobody) | (Named::Nobody, Named::Client(one)) => one,
        _ => peer,
    }
}

/// The source that limits are counted for: an IPv4 address, or the /64 network of an IPv6 address, since a client can use
/// any address of its network.
pub fn of_limits(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// Whom a header names.
enum Named {
    Client(IpAddr),
    /// It is not there.
    Nobody,
    /// It cannot be believed, or names proxies only.
    Unknown,
}

/// Its addresses, left to right; `None` in the place of one that cannot be read.
type Addresses = Vec<Option<IpAddr>>;

fn named(
    headers: &HeaderMap,
    name: &HeaderName,
    read: impl Fn(&str) -> Option<Addresses>,
    proxies: &Networks,
) -> Named {
    let mut lines = headers.get_all(name).iter().peekable();
    if lines.peek().is_none() {
        return Named::Nobody;
    }
    // Several lines are one list. Each is read for itself: a quote that is left open ends with its line.
    let lines: Option<Vec<_>> = lines.map(|line| line.to_str().ok().and_then(&read)).collect();
    let mut addresses = lines.unwrap_or_default().into_iter().flatten().rev();
    let is_proxy = |address: &Option<IpAddr>| address.is_some_and(|ip| proxies.contains(ip));
    match addresses.find(|address| !is_proxy(address)) {
        Some(Some(client)) => Named::Client(client),
        _ => Named::Unknown,
    }
}

/// `X-Forwarded-For`: addresses between commas.
fn plain(text: &str) -> Addresses {
    text.split(',').map(|item| node(item.trim())).collect()
}

/// `Forwarded` (RFC 7239): the `for` of every element. `None` when a quote is out of place: then
/// nobody knows where an element begins.
fn forwarded(text: &str) -> Option<Addresses> {
    let mut addresses = Vec::new();
    for element in split(text, ',')? {
        let mut client = None;
        for pair in split(element, ';')? {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = unquoted(value.trim())?;
            if name.trim().eq_ignore_ascii_case("for") {
                if client.is_some() {
                    return None;
                }
                client = Some(node(value));
            }
        }
        addresses.push(client.flatten());
    }
    Some(addresses)
}

/// The parts between separators that stand in no quotes. Quotes surround whole values and hold no
/// other: addresses need no escapes.
fn split(text: &str, separator: char) -> Option<Vec<&str>> {
    let mut quoted = false;
    let parts = text.split(|c| {
        quoted ^= c == '"';
        c == separator && !quoted
    });
    let parts: Vec<_> = parts.map(str::trim).collect();
    (!quoted && !text.contains('\\')).then_some(parts)
}

fn unquoted(value: &str) -> Option<&str> {
    let inner = match value.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"')?,
        None => value,
    };
    (!inner.contains('"')).then_some(inner)
}

/// An address, with or without a port; IPv6 may stand in brackets.
fn node(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok();
    let address = address.or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()));
    address.map(|ip: IpAddr| ip.to_canonical())
}

#[cfg(test)]
mod tests;
