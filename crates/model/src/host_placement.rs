//! What an administrator sets about a host: its node in Kubernetes, and its quorum group.

use serde::{Deserialize, Serialize};

use super::{Address, Model, ident};

/// The longest name of a node.
const NODE_NAME_MAX: usize = 253;

/// The node of a host in Kubernetes and its quorum group. There is no record of a host of which neither is set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostPlacement {
    /// The address of the host.
    pub address: Address,
    /// The name of its node; empty if its address decides.
    #[serde(default)]
    pub node_name: String,
    /// The quorum group that it is a member of; empty for none.
    #[serde(default)]
    pub quorum_group: String,
}

impl Model for HostPlacement {
    const TYPE: &'static str = "HostPlacement";
    const LIST_TYPE: &'static str = "HostPlacements";
    const ID: &'static str = "address";
    const PREFIX: &'static str = "/commissaire/host_placements/";

    fn id(&self) -> &str {
        &self.address
    }

    fn validate(&self) -> Result<(), String> {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
        if self.node_name.len() > NODE_NAME_MAX || !self.node_name.chars().all(fits) {
            return Err("node_name: the name of a node in Kubernetes is expected".to_owned());
        }
        if !self.quorum_group.is_empty() {
            ident::name(&self.quorum_group).map_err(|e| format!("quorum_group: {e}"))?;
        }
        ident::address(&self.address)
    }

    fn validate_id(id: &str) -> Result<(), String> {
        ident::address(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_nodes_and_groups_are_checked() {
        let placement = |node_name: &str, quorum_group: &str| HostPlacement {
            address: "10.0.0.1".into(),
            node_name: node_name.to_owned(),
            quorum_group: quorum_group.to_owned(),
        };
        assert_eq!(placement("w1.example.com", "etcd").validate(), Ok(()));
        assert!(placement("W1", "").validate().unwrap_err().starts_with("node_name"));
        assert!(placement("", "a/b").validate().unwrap_err().starts_with("quorum_group"));
    }
}
