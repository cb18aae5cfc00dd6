//! Networks: how hosts of a cluster get their container network.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{Model, ident};

/// What makes the network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NetworkType {
    /// flannel, configured in etcd.
    #[default]
    FlannelEtcd,
    /// flannel, with a server at `options.address` (`host:port`).
    FlannelServer,
    /// Nothing to install.
    None,
}

/// A network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Network {
    /// Its name.
    pub name: String,
    /// What makes it.
    #[serde(default, rename = "type")]
    #[schema(required)]
    pub kind: NetworkType,
    /// What its type needs to know.
    #[serde(default)]
    #[schema(required)]
    pub options: Map<String, Value>,
}

impl Network {
    /// The network of clusters that name none.
    pub const DEFAULT: &str = "default";

    /// The `host:port` of a flannel server, for a network of that type.
    pub fn server_address(&self) -> Option<&str> {
        self.options.get("address")?.as_str()
    }
}

impl Model for Network {
    const TYPE: &'static str = "Network";
    const LIST_TYPE: &'static str = "Networks";
    const ID: &'static str = "name";
    const PREFIX: &'static str = "/commissaire/networks/";

    fn id(&self) -> &str {
        &self.name
    }

    fn validate(&self) -> Result<(), String> {
        ident::name(&self.name)?;
        if self.kind == NetworkType::FlannelServer
            && !self.server_address().is_some_and(is_host_port)
        {
            return Err("a flannel_server network needs options.address as host:port".to_owned());
        }
        Ok(())
    }
}

/// `host:port`, an IPv6 literal in brackets.
fn is_host_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let host_fits = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(v6) => v6.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6()),
        None => !host.contains(':') && ident::canonical_address(host).is_some(),
    };
    host_fits
        && port.bytes().all(|b| b.is_ascii_digit())
        && port.parse::<u16>().is_ok_and(|p| p > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_port() {
        for good in ["10.0.0.1:8888", "flannel.example.com:1", "[2001:db8::1]:65535"] {
            assert!(is_host_port(good), "{good}");
        }
        for bad in
            ["", "10.0.0.1", ":1", "a:0", "a:+1", "a:65536", "::1:80", "[10.0.0.1]:1", "a b:1"]
        {
            assert!(!is_host_port(bad), "{bad}");
        }
    }
}
