//! `--map-address`: which address or network takes the place of which.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::IpNet;
use model::ident;

/// One mapping of addresses, `OLD=NEW`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AddressMapping {
    /// An address, in the form of [`ident::canonical_address`].
    Host {
        /// The address in the backup.
        old: String,
        /// The address in the result.
        new: String,
    },
    /// A network: the host part of its addresses stays.
    Network {
        /// The network in the backup.
        old: IpNet,
        /// The network in the result, of the same family and prefix length.
        new: IpNet,
    },
}

impl FromStr for AddressMapping {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (old, new) = super::names::pair(text)?;
        match (old.contains('/'), new.contains('/')) {
            (false, false) => Ok(Self::Host { old: address(old)?, new: address(new)? }),
            (true, true) => {
                let (old, new) = (network(old)?, network(new)?);
                if old.max_prefix_len() != new.max_prefix_len()
                    || old.prefix_len() != new.prefix_len()
                {
                    return Err(format!(
                        "{old} and {new} differ in their sizes: both need the same prefix length, and to be IPv4 or both IPv6"
                    ));
                }
                Ok(Self::Network { old, new })
            }
            _ => Err(format!(
                "{text}: an address is mapped to an address, and a network to a network"
            )),
        }
    }
}

fn address(text: &str) -> Result<String, String> {
    let address = ident::canonical_address(text);
    let address = address.ok_or_else(|| format!("{text:?} is neither an IP address nor a name"))?;
    Ok(address.as_str().to_owned())
}

fn network(text: &str) -> Result<IpNet, String> {
    let network: IpNet = text
        .parse()
        .map_err(|_| format!("{text:?} is not a network in CIDR notation, such as 10.0.0.0/24"))?;
    if network.trunc() == network {
        Ok(network)
    } else {
        Err(format!("{text} has bits after its prefix: write {}", network.trunc()))
    }
}

/// All mappings of addresses. They apply at the same time: that of an address comes before that of a network, and that of
/// a smaller network before that of a larger one.
#[derive(Debug, Clone, Default)]
pub struct AddressMap {
    hosts: BTreeMap<String, String>,
    /// The smallest ones first.
    networks: Vec<(IpNet, IpNet)>,
}

impl AddressMap {
    /// A map of these mappings.
    ///
    /// # Errors
    /// A sentence, when two of them map the same address or network.
    pub fn new(mappings: impl IntoIterator<Item = AddressMapping>) -> Result<Self, String> {
        let mut map = Self::default();
        for mapping in mappings {
            let repeated = match mapping {
                AddressMapping::Host { old, new } => {
                    map.hosts.insert(old.clone(), new).map(|_| old)
                }
                AddressMapping::Network { old, new } => {
                    let is_repeated = map.networks.iter().any(|(other, _)| *other == old);
                    map.networks.push((old, new));
                    is_repeated.then(|| old.to_string())
                }
            };
            if let Some(old) = repeated {
                return Err(format!("{old} is mapped twice"));
            }
        }
        map.networks.sort_by_key(|(old, _)| std::cmp::Reverse(old.prefix_len()));
        Ok(map)
    }

    /// Whether it maps nothing.
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty() && self.networks.is_empty()
    }

    /// The address or network of each mapping.
    pub(super) fn sources(&self) -> impl Iterator<Item = String> {
        let networks = self.networks.iter().map(|(old, _)| old.to_string());
        self.hosts.keys().cloned().chain(networks)
    }

    /// What takes the place of an address, with the source of the mapping; `None` if none has it.
    pub(super) fn map(&self, address: &str) -> Option<Mapped> {
        let ip = address.parse::<IpAddr>().ok().map(|ip| ip.to_canonical());
        let canonical = ip.map_or_else(|| address.to_owned(), |ip| ip.to_string());
        if let Some(new) = self.hosts.get(&canonical) {
            return Some(Mapped { new: new.clone(), source: canonical });
        }
        let ip = ip?;
        let (old, new) = self.networks.iter().find(|(old, _)| old.contains(&ip))?;
        Some(Mapped { new: moved(ip, *new).to_string(), source: old.to_string() })
    }

    /// What takes the place of a network, or of an address among networks.
    pub(super) fn map_network(&self, text: &str) -> MappedNetwork {
        let ip = text.parse::<IpAddr>().ok();
        let Some(network) = text.parse().ok().or_else(|| ip.map(IpNet::from)) else {
            return MappedNetwork::Outside;
        };
        if network.prefix_len() == network.max_prefix_len() {
            let Some(mapped) = self.map(&network.addr().to_string()) else {
                return MappedNetwork::Outside;
            };
            let Ok(new) = mapped.new.parse::<IpAddr>() else { return MappedNetwork::Overlaps };
            let new = if ip.is_some() { new.to_string() } else { IpNet::from(new).to_string() };
            return MappedNetwork::Mapped(Mapped { new, source: mapped.source });
        }
        if let Some((old, new)) = self.networks.iter().find(|(old, _)| old.contains(&network)) {
            let moved = IpNet::new(moved(network.network(), *new), network.prefix_len());
            if let Ok(moved) = moved {
                let (new, source) = (moved.trunc().to_string(), old.to_string());
                return MappedNetwork::Mapped(Mapped { new, source });
            }
        }
        let in_it = |host: &String| host.parse::<IpAddr>().is_ok_and(|ip| network.contains(&ip));
        let overlaps = self.networks.iter().any(|(old, _)| network.contains(old))
            || self.hosts.keys().any(in_it);
        if overlaps { MappedNetwork::Overlaps } else { MappedNetwork::Outside }
    }
}

/// The result of a mapping.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mapped {
    /// The new text.
    pub(super) new: String,
    /// The left side of the mapping.
    pub(super) source: String,
}

/// The result for a network.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum MappedNetwork {
    /// It lies inside one that is mapped.
    Mapped(Mapped),
    /// It holds addresses that are mapped, and others: it stays.
    Overlaps,
    /// It holds no address that is mapped.
    Outside,
}

/// The address with the same host part in another network of the same family; the address itself in one of the other.
fn moved(ip: IpAddr, network: IpNet) -> IpAddr {
    match (ip, network) {
        (IpAddr::V4(ip), IpNet::V4(network)) => {
            let host = u32::from(ip) & u32::from(network.hostmask());
            Ipv4Addr::from(u32::from(network.network()) | host).into()
        }
        (IpAddr::V6(ip), IpNet::V6(network)) => {
            let host = u128::from(ip) & u128::from(network.hostmask());
            IpAddr::from(Ipv6Addr::from(u128::from(network.network()) | host)).to_canonical()
        }
        (ip, _) => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(mappings: &[&str]) -> AddressMap {
        let mappings = mappings.iter().map(|text| text.parse().unwrap());
        AddressMap::new(mappings).unwrap()
    }

    fn mapped(map: &AddressMap, address: &str) -> Option<String> {
        map.map(address).map(|mapped| mapped.new)
    }

    #[test]
    fn the_host_part_stays_and_the_most_specific_mapping_applies() {
        let map = map(&[
            "10.0.0.0/16=172.16.0.0/16",
            "10.0.1.0/24=192.168.7.0/24",
            "10.0.1.9=web1.example.com",
            "2001:db8::/64=2001:db8:1::/64",
            "old.example.com=10.9.9.9",
        ]);
        for (old, new) in [
            ("10.0.3.4", Some("172.16.3.4")),
            ("10.0.1.4", Some("192.168.7.4")),
            ("10.0.1.9", Some("web1.example.com")),
            ("2001:db8::17", Some("2001:db8:1::17")),
            ("2001:DB8:0:0::17", Some("2001:db8:1::17")),
            ("::ffff:10.0.3.4", Some("172.16.3.4")),
            ("old.example.com", Some("10.9.9.9")),
            ("10.1.0.1", None),
            ("2001:db8:0:1::1", None),
            ("example.com", None),
            ("", None),
        ] {
            assert_eq!(mapped(&map, old).as_deref(), new, "{old}");
        }
    }

    #[test]
    fn a_network_inside_a_mapped_one_moves_with_it_and_a_larger_one_stays() {
        let map = map(&["10.0.0.0/16=172.16.0.0/16", "10.9.0.1=10.9.0.2", "10.9.0.3=web"]);
        let new = |text: &str| match map.map_network(text) {
            MappedNetwork::Mapped(mapped) => mapped.new,
            other => format!("{other:?}"),
        };
        for (old, expected) in [
            ("10.0.0.0/16", "172.16.0.0/16"),
            ("10.0.5.0/24", "172.16.5.0/24"),
            ("10.0.5.1/32", "172.16.5.1/32"),
            ("10.0.5.1", "172.16.5.1"),
            ("10.9.0.1/32", "10.9.0.2/32"),
            ("10.0.0.0/8", "Overlaps"),
            ("10.9.0.0/24", "Overlaps"),
            ("10.9.0.3/32", "Overlaps"),
            ("11.0.0.0/8", "Outside"),
            ("::/0", "Outside"),
            ("nonsense", "Outside"),
        ] {
            assert_eq!(new(old), expected, "{old}");
        }
    }

    #[test]
    fn mappings_that_make_no_sense_are_refused_with_the_reason() {
        for (text, says) in [
            ("10.0.0.1", "OLD=NEW"),
            ("=10.0.0.1", "OLD=NEW"),
            ("10.0.0.1=", "OLD=NEW"),
            ("10.0.0.0/24=10.1.0.0/16", "same prefix length"),
            ("10.0.0.0/24=2001:d00::/24", "same prefix length"),
            ("10.0.0.0/24=10.1.0.1", "a network to a network"),
            ("10.0.0.7/24=10.1.0.0/24", "write 10.0.0.0/24"),
            ("10.0.0.0/33=10.1.0.0/33", "CIDR"),
            ("a/b=c/d", "CIDR"),
            ("-x=10.0.0.1", "neither an IP address nor a name"),
        ] {
            let refused = text.parse::<AddressMapping>().unwrap_err();
            assert!(refused.contains(says), "{text}: {refused}");
        }
        for twice in ["10.0.0.1=10.0.0.2", "10.0.0.0/24=10.1.0.0/24"] {
            let mappings = [twice.parse().unwrap(), twice.parse().unwrap()];
            assert!(AddressMap::new(mappings).unwrap_err().contains("mapped twice"));
        }
    }
}
