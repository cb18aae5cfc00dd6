//! Clusters, and how an operation over one may end.

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::{Model, Network, ident};

/// A cluster: hosts that are worked on together.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Cluster {
    /// Its name.
    pub name: String,
    /// Kept for the record's sake: REST computes it from the members.
    #[serde(default)]
    pub status: String,
    /// Its network.
    #[serde(default = "default_network")]
    pub network: String,
    /// Its members' addresses, sorted: other clients may save them in any order.
    #[serde(default, deserialize_with = "sorted")]
    pub hostset: Vec<String>,
    /// Its container manager; empty for none.
    #[serde(default)]
    pub container_manager: String,
}

fn sorted<'de, D: Deserializer<'de>>(list: D) -> Result<Vec<String>, D::Error> {
    let mut members = Vec::deserialize(list)?;
    members.sort_unstable();
    members.dedup();
    Ok(members)
}

fn default_network() -> String {
    Network::DEFAULT.to_owned()
}

impl Cluster {
    /// Adds a member; false when it is one already.
    pub fn add(&mut self, address: &str) -> bool {
        match self.hostset.binary_search_by(|member| member.as_str().cmp(address)) {
            Ok(_) => false,
            Err(place) => {
                self.hostset.insert(place, address.to_owned());
                true
            }
        }
    }

    /// Removes a member; false when it is none.
    pub fn remove(&mut self, address: &str) -> bool {
        let before = self.hostset.len();
        self.hostset.retain(|member| member != address);
        self.hostset.len() < before
    }

    /// Whether it has this member.
    pub fn has(&self, address: &str) -> bool {
        self.hostset.iter().any(|member| member == address)
    }
}

impl Model for Cluster {
    const TYPE: &'static str = "Cluster";
    const LIST_TYPE: &'static str = "Clusters";
    const ID: &'static str = "name";
    const PREFIX: &'static str = "/commissaire/clusters/";
    const HIDDEN: &'static [&'static str] = &["hostset"];

    fn id(&self) -> &str {
        &self.name
    }

    fn validate(&self) -> Result<(), String> {
        ident::name(&self.name)?;
        ident::name(&self.network).map_err(|e| format!("network: {e}"))?;
        if !self.container_manager.is_empty() {
            ident::name(&self.container_manager).map_err(|e| format!("container_manager: {e}"))?;
        }
        self.hostset.iter().try_for_each(|member| ident::address(member))
    }
}

/// Where an operation is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OperationStatus {
    /// Accepted, and not at its end.
    #[default]
    InProcess,
    /// Every host is done.
    Finished,
    /// It stopped at a failure.
    Failed,
}

/// Why an operation failed on a host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Failure {
    /// The host's address.
    pub host: String,
    /// What was being done.
    pub step: String,
    /// Why it failed, and what to do.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_accepted_in_any_order_and_read_sorted() {
        let text = r#"{"name": "c", "hostset": ["10.0.0.2", "10.0.0.1", "10.0.0.2"]}"#;
        let mut cluster: Cluster = serde_json::from_str(text).unwrap();
        assert_eq!(cluster.validate(), Ok(()));
        assert_eq!(cluster.hostset, ["10.0.0.1", "10.0.0.2"]);
        assert!(!cluster.add("10.0.0.2"));
    }

    #[test]
    fn members_stay_sorted_and_single() {
        let mut cluster = Cluster { name: "c".into(), network: "n".into(), ..Cluster::default() };
        assert!(cluster.add("b") && cluster.add("a") && !cluster.add("b"));
        assert_eq!(cluster.hostset, ["a", "b"]);
        assert!(cluster.validate().is_ok() && cluster.has("a"));
        assert!(cluster.remove("a") && !cluster.remove("a"));
    }
}
