//! Clusters, and how an operation over one may end.

use std::collections::HashSet;

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
    #[schema(required)]
    pub status: String,
    /// Its network.
    #[serde(default = "default_network")]
    #[schema(required)]
    pub network: String,
    /// Its members' addresses, sorted: other clients may save them in any order.
    #[serde(default, deserialize_with = "sorted")]
    #[schema(required)]
    pub hostset: Vec<String>,
    /// Its container manager; empty for none.
    #[serde(default)]
    #[schema(required)]
    pub container_manager: String,
    /// The change that a job of the gateway carries out on it, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(ignore)]
    pub change: Option<ClusterChange>,
}

/// A change of a cluster that takes several transactions. The mark excludes every other change, and
/// lets any gateway continue after a crash.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ClusterChange {
    /// Its members leave, then the cluster is deleted.
    Deleting,
    /// Its members become those of `hostset`.
    Changing {
        /// The wanted members' addresses, sorted.
        hostset: Vec<String>,
    },
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
    /// Adds a member; false when it is one already. A change of the members in progress keeps it.
    pub fn add(&mut self, address: &str) -> bool {
        if let Some(ClusterChange::Changing { hostset }) = &mut self.change {
            insert(hostset, address);
        }
        insert(&mut self.hostset, address)
    }

    /// Removes a member; false when it was not one. A change of the members in progress does not add it
    /// again.
    pub fn remove(&mut self, address: &str) -> bool {
        if let Some(ClusterChange::Changing { hostset }) = &mut self.change {
            hostset.retain(|member| member != address);
        }
        let before = self.hostset.len();
        self.hostset.retain(|member| member != address);
        self.hostset.len() < before
    }

    /// Whether it has this member.
    pub fn has(&self, address: &str) -> bool {
        self.hostset.iter().any(|member| member == address)
    }

    /// Whether it has this member, and no change in progress removes it.
    pub fn keeps(&self, address: &str) -> bool {
        let stays = match &self.change {
            None => true,
            Some(ClusterChange::Deleting) => false,
            Some(ClusterChange::Changing { hostset }) => hostset.iter().any(|a| a == address),
        };
        stays && self.has(address)
    }

    /// The members that no change in progress removes.
    pub fn into_staying(self) -> Vec<String> {
        match self.change {
            None => self.hostset,
            Some(ClusterChange::Deleting) => Vec::new(),
            Some(ClusterChange::Changing { hostset }) => {
                let wanted: HashSet<_> = hostset.into_iter().collect();
                self.hostset.into_iter().filter(|member| wanted.contains(member)).collect()
            }
        }
    }

    /// Whether it is being deleted.
    pub fn is_deleting(&self) -> bool {
        self.change == Some(ClusterChange::Deleting)
    }

    /// Why nothing else may change it, if a change is in progress.
    pub fn refusal(&self) -> Option<String> {
        let Self { name, change, .. } = self;
        change.as_ref().map(|change| match change {
            ClusterChange::Deleting => format!(
                "the cluster {name} is being deleted: wait until it is gone; DELETE it again to see \
                 what delays the deletion"
            ),
            ClusterChange::Changing { .. } => format!(
                "the members of the cluster {name} are being changed: wait until the change has \
                 ended, or repeat the same change to see what delays it"
            ),
        })
    }
}

/// Inserts an address into a sorted list; false when it is there already.
fn insert(hostset: &mut Vec<String>, address: &str) -> bool {
    match hostset.binary_search_by(|member| member.as_str().cmp(address)) {
        Ok(_) => false,
        Err(place) => {
            hostset.insert(place, address.to_owned());
            true
        }
    }
}

impl Model for Cluster {
    const TYPE: &'static str = "Cluster";
    const LIST_TYPE: &'static str = "Clusters";
    const ID: &'static str = "name";
    const PREFIX: &'static str = "/commissaire/clusters/";
    const HIDDEN: &'static [&'static str] = &["hostset", "change"];

    fn id(&self) -> &str {
        &self.name
    }

    fn validate(&self) -> Result<(), String> {
        ident::name(&self.name)?;
        ident::name(&self.network).map_err(|e| format!("network: {e}"))?;
        if !self.container_manager.is_empty() {
            ident::name(&self.container_manager).map_err(|e| format!("container_manager: {e}"))?;
        }
        self.hostset.iter().try_for_each(|member| ident::address(member))?;
        match &self.change {
            Some(ClusterChange::Changing { hostset }) => {
                hostset.iter().try_for_each(|member| ident::address(member))
            }
            Some(ClusterChange::Deleting) | None => Ok(()),
        }
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

    #[test]
    fn a_change_in_progress_follows_hosts_that_join_and_are_deleted() {
        let mut cluster = Cluster { name: "c".into(), network: "n".into(), ..Cluster::default() };
        assert_eq!((cluster.refusal(), cluster.is_deleting()), (None, false));
        cluster.hostset = vec!["b".into(), "c".into()];
        cluster.change = Some(ClusterChange::Changing { hostset: vec!["a".into(), "b".into()] });
        assert!(cluster.keeps("b") && !cluster.keeps("c") && !cluster.keeps("a"));
        assert!(cluster.add("d") && cluster.keeps("d"));
        assert_eq!(cluster.clone().into_staying(), ["b", "d"]);
        assert!(!cluster.remove("a") && cluster.remove("b"));
        let wanted = ClusterChange::Changing { hostset: vec!["d".into()] };
        assert_eq!(cluster.change, Some(wanted));
        assert!(cluster.refusal().unwrap().contains("are being changed"));
        cluster.change = Some(ClusterChange::Deleting);
        assert!(cluster.has("c") && !cluster.keeps("c") && cluster.is_deleting());
        assert!(cluster.refusal().unwrap().contains("is being deleted"));
    }

    #[test]
    fn only_a_cluster_that_is_being_changed_has_the_mark_in_its_record() {
        let mut cluster = Cluster { name: "c".into(), network: "n".into(), ..Cluster::default() };
        assert!(serde_json::to_value(&cluster).unwrap().get("change").is_none());
        cluster.change = Some(ClusterChange::Deleting);
        let written = serde_json::to_value(&cluster).unwrap();
        assert_eq!(written["change"], serde_json::json!({"kind": "deleting"}));
        assert_eq!(serde_json::from_value::<Cluster>(written).unwrap(), cluster);
    }
}
