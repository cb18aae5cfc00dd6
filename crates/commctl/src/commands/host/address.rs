//! Addresses of hosts that are called by a name.

use std::net::IpAddr;

use crate::client::Client;
use crate::error::Error;

/// The address of a known host: its record's where that has exactly this name, else the IPv4 address that the name
/// resolves to, as [`resolve`] had it when the host was created.
pub(super) async fn known(client: &Client, name: &str) -> Result<String, Error> {
    if is_literal(name) || client.find(&["host", name]).await?.is_some() {
        return Ok(name.to_owned());
    }
    let address = resolve(name).await.map_err(|error| {
        Error::Failed(format!("there is no host {name}, and {error}; commctl host list shows all"))
    })?;
    if client.find(&["host", &address]).await?.is_none() {
        return Err(Error::Failed(format!(
            "there is no host {name}, nor one with the address {address} that it resolves to; \
             commctl host list shows all"
        )));
    }
    eprintln!("{name} is the host {address}");
    Ok(address)
}

/// Addresses stay as they are; a name becomes its first IPv4 address.
pub(super) async fn resolve(name: &str) -> Result<String, Error> {
    if is_literal(name) {
        return Ok(name.to_owned());
    }
    let found = tokio::net::lookup_host((name, 0))
        .await
        .map_err(|error| Error::Failed(format!("cannot resolve {name}: {error}")))?;
    let ipv4 = found.map(|socket| socket.ip()).find(IpAddr::is_ipv4);
    ipv4.map(|ip| ip.to_string())
        .ok_or_else(|| Error::Failed(format!("{name} has no IPv4 address")))
}

fn is_literal(name: &str) -> bool {
    name.parse::<IpAddr>().is_ok()
}
