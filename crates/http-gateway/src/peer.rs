//! Who is at the other end of a connection, as far as the connection says.

use std::net::SocketAddr;

/// The other end of the connection that a request came over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its address: a proxy's, where one stands in between.
    pub address: SocketAddr,
    /// The certificate that it proved to own and that verified; `None` without TLS, too.
    pub certificate: Option<ClientCertificate>,
}

/// A client certificate that verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The common name of its subject.
    pub common_name: Option<String>,
    /// The common name of its issuer; empty if that has none.
    pub issuer: String,
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        Self { address, certificate: None }
    }
}
