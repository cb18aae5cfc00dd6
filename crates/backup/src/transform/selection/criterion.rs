//! What `--only` and `--exclude` may name.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use model::ident;

use super::subject::Subject;
use crate::format::Record;

/// The key files of a backup, in the place of a record type.
pub(super) const KEYS: &str = "keys";

/// What is kept or left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Criterion {
    /// The records of this type; `keys` stands for the key files.
    Type(String),
    /// `cluster:NAME`: a cluster, its hosts and its operations.
    Cluster(String),
    /// `host:ADDRESS`: a host.
    Host(String),
    /// `host:CIDR`: the hosts whose addresses are in a network.
    Hosts(IpNet),
}

impl FromStr for Criterion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None => {
                let is_type = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric());
                let named = is_type.then(|| Self::Type(text.to_owned()));
                named.ok_or_else(|| {
                    format!("{text:?} is none of TYPE, keys, cluster:NAME and host:ADDRESS")
                })
            }
            Some(("cluster", name)) => ident::name(name).map(|()| Self::Cluster(name.to_owned())),
            Some(("host", address)) if address.contains('/') => {
                let network = address.parse::<IpNet>().map(|network| Self::Hosts(network.trunc()));
                network.map_err(|_| format!("{address:?} is no network such as 10.0.0.0/24"))
            }
            Some(("host", address)) => {
                let canonical = ident::canonical_address(address);
                let canonical = canonical.ok_or_else(|| format!("{address:?} is no address"))?;
                Ok(Self::Host(canonical.as_str().to_owned()))
            }
            Some(_) => Err(format!("{text:?} begins with neither cluster: nor host:")),
        }
    }
}

impl fmt::Display for Criterion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Type(name) => f.write_str(name),
            Self::Cluster(name) => write!(f, "cluster:{name}"),
            Self::Host(address) => write!(f, "host:{address}"),
            Self::Hosts(network) => write!(f, "host:{network}"),
        }
    }
}

impl Criterion {
    /// Whether it names a cluster or hosts.
    pub(super) fn is_object(&self) -> bool {
        !matches!(self, Self::Type(_))
    }

    /// The record type that it names.
    pub(super) fn type_name(&self) -> Option<&str> {
        match self {
            Self::Type(name) => Some(name),
            _ => None,
        }
    }

    /// Whether a record is one of the hosts that it names.
    pub(super) fn has_host(&self, subject: &Subject) -> bool {
        let Some(host) = &subject.host else { return false };
        match self {
            Self::Host(address) => host == address,
            Self::Hosts(network) => host.parse::<IpAddr>().is_ok_and(|ip| network.contains(&ip)),
            Self::Type(_) | Self::Cluster(_) => false,
        }
    }

    /// Whether there is anything that it names: if not, it is probably misspelt. A type that is known may have no records.
    pub(super) fn chooses_some(
        &self,
        records: &[Record],
        has_keys: bool,
        subjects: &[Subject],
    ) -> bool {
        match self {
            Self::Type(name) if name == KEYS => has_keys || !records.is_empty(),
            Self::Type(name) => {
                super::is_known(name) || records.iter().any(|record| record.kind == *name)
            }
            Self::Cluster(name) => {
                subjects.iter().any(|subject| subject.cluster.as_ref() == Some(name))
            }
            Self::Host(_) | Self::Hosts(_) => subjects.iter().any(|subject| self.has_host(subject)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn criteria_are_read_as_they_are_written() {
        for text in ["Host", "keys", "cluster:web", "host:10.0.0.1", "host:10.0.0.0/24", "host:a.b"]
        {
            assert_eq!(text.parse::<Criterion>().unwrap().to_string(), text);
        }
        for wrong in ["", "a b", "cluster:", "cluster:a.b", "host:", "host:10.0.0.0/40", "x:y"] {
            assert!(wrong.parse::<Criterion>().is_err(), "{wrong}");
        }
    }
}
