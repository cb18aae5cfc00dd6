//! Clusters, and how an operation over one may end.
//!
//! The documented record, [`Cluster`], is composed from a [`ClusterHead`] and the [`ClusterMember`]s when it is read: its
//! revision is the highest of theirs. A save of it replaces the members.

use std::collections::HashSet;

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::{Address, ClusterName, Model, Network, ident};

/// A cluster: hosts that are worked on together.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Cluster {
    /// Its name.
    #[schema(value_type = String)]
    pub name: ClusterName,
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
    #[schema(required, value_type = Vec<String>)]
    pub hostset: Vec<Address>,
    /// Its container manager; empty for none.
    #[serde(default)]
    #[schema(required)]
    pub container_manager: String,
    /// The change that a job of the gateway carries out on it, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(ignore)]
    pub change: Option<ClusterChange>,
}

/// A cluster without its members: what is kept under its key. A host that joins leaves it as it is; one that leaves
/// raises its revision.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ClusterHead {
    /// Its name.
    pub name: ClusterName,
    /// See [`Cluster::status`].
    #[serde(default)]
    pub status: String,
    /// Its network.
    #[serde(default = "default_network")]
    pub network: String,
    /// Its container manager; empty for none.
    #[serde(default)]
    pub container_manager: String,
    /// See [`Cluster::change`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<ClusterChange>,
}

/// The membership of a host: in one cluster at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterMember {
    /// The host's address.
    pub address: Address,
    /// The name of its cluster.
    pub cluster: ClusterName,
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
        hostset: Vec<Address>,
    },
}

fn sorted<'de, D: Deserializer<'de>>(list: D) -> Result<Vec<Address>, D::Error> {
    let mut members = Vec::deserialize(list)?;
    members.sort_unstable();
    members.dedup();
    Ok(members)
}

fn default_network() -> String {
    Network::DEFAULT.to_owned()
}

impl Cluster {
    /// A cluster, from what is kept of it.
    pub fn new(head: ClusterHead, hostset: Vec<Address>) -> Self {
        let ClusterHead { name, status, network, container_manager, change } = head;
        Self { name, status, network, hostset, container_manager, change }
    }

    /// Its head and its members.
    pub fn into_parts(self) -> (ClusterHead, Vec<Address>) {
        let Self { name, status, network, hostset, container_manager, change } = self;
        (ClusterHead { name, status, network, container_manager, change }, hostset)
    }

    /// Whether it has this member.
    pub fn has(&self, address: &str) -> bool {
        self.hostset.iter().any(|member| member == address)
    }

    /// The members that no change in progress removes.
    pub fn into_staying(self) -> Vec<Address> {
        let (head, mut members) = self.into_parts();
        match head.change {
            None => {}
            Some(ClusterChange::Deleting) => members.clear(),
            Some(ClusterChange::Changing { hostset }) => {
                let wanted: HashSet<_> = hostset.into_iter().collect();
                members.retain(|member| wanted.contains(member));
            }
        }
        members
    }
}

impl ClusterHead {
    /// Whether no change in progress removes this member.
    pub fn keeps(&self, address: &str) -> bool {
        match &self.change {
            None => true,
            Some(ClusterChange::Deleting) => false,
            Some(ClusterChange::Changing { hostset }) => hostset.iter().any(|a| a == address),
        }
    }

    /// Whether it is being deleted.
    pub fn is_deleting(&self) -> bool {
        self.change == Some(ClusterChange::Deleting)
    }

    /// Lets a change of the members in progress keep a host that joins; false when there is nothing to adapt.
    pub fn follow_join(&mut self, address: &str) -> bool {
        let Some(ClusterChange::Changing { hostset }) = &mut self.change else { return false };
        let Err(place) = hostset.binary_search_by(|member| member.as_str().cmp(address)) else {
            return false;
        };
        hostset.insert(place, address.into());
        true
    }

    /// Lets a change of the members in progress not add a host that leaves.
    pub fn follow_leave(&mut self, address: &str) {
        if let Some(ClusterChange::Changing { hostset }) = &mut self.change {
            hostset.retain(|member| member != address);
        }
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
        self.hostset.iter().try_for_each(|member| ident::address(member))?;
        self.clone().into_parts().0.validate()
    }
}

impl Model for ClusterHead {
    const TYPE: &'static str = "ClusterHead";
    const LIST_TYPE: &'static str = "ClusterHeads";
    const ID: &'static str = Cluster::ID;
    const PREFIX: &'static str = Cluster::PREFIX;
    const PART_OF: &'static str = Cluster::TYPE;
    const HIDDEN: &'static [&'static str] = Cluster::HIDDEN;

    fn id(&self) -> &str {
        &self.name
    }

    fn validate(&self) -> Result<(), String> {
        ident::name(&self.name)?;
        ident::name(&self.network).map_err(|e| format!("network: {e}"))?;
        if !self.container_manager.is_empty() {
            ident::name(&self.container_manager).map_err(|e| format!("container_manager: {e}"))?;
        }
        match &self.change {
            Some(ClusterChange::Changing { hostset }) => {
                hostset.iter().try_for_each(|member| ident::address(member))
            }
            Some(ClusterChange::Deleting) | None => Ok(()),
        }
    }
}

impl Model for ClusterMember {
    const TYPE: &'static str = "ClusterMember";
    const LIST_TYPE: &'static str = "ClusterMembers";
    const ID: &'static str = "address";
    const PREFIX: &'static str = "/commissaire/cluster_members/";
    const PART_OF: &'static str = Cluster::TYPE;

    fn id(&self) -> &str {
        &self.address
    }

    fn validate(&self) -> Result<(), String> {
        ident::name(&self.cluster).map_err(|e| format!("cluster: {e}"))
    }

    fn validate_id(id: &str) -> Result<(), String> {
        ident::address(id)
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
    #[schema(value_type = String)]
    pub host: Address,
    /// The step that failed.
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
        let cluster: Cluster = serde_json::from_str(text).unwrap();
        assert_eq!(cluster.validate(), Ok(()));
        assert_eq!(cluster.hostset, ["10.0.0.1", "10.0.0.2"]);
        let (head, members) = cluster.clone().into_parts();
        assert_eq!(Cluster::new(head, members), cluster);
    }

    #[test]
    fn a_change_in_progress_follows_hosts_that_join_and_are_deleted() {
        let mut head = ClusterHead { name: "c".into(), ..ClusterHead::default() };
        let members = ["b", "c"].map(Address::from).to_vec();
        assert_eq!((head.refusal(), head.is_deleting()), (None, false));
        assert!(!head.follow_join("d"));
        head.change = Some(ClusterChange::Changing { hostset: vec!["a".into(), "b".into()] });
        assert!(head.keeps("b") && !head.keeps("c"));
        assert!(head.follow_join("d") && !head.follow_join("d") && head.keeps("d"));
        assert_eq!(Cluster::new(head.clone(), members.clone()).into_staying(), ["b"]);
        head.follow_leave("a");
        head.follow_leave("b");
        let wanted = ClusterChange::Changing { hostset: vec!["d".into()] };
        assert_eq!(head.change, Some(wanted));
        assert!(head.refusal().unwrap().contains("are being changed"));
        head.change = Some(ClusterChange::Deleting);
        assert!(!head.keeps("c") && head.is_deleting());
        assert!(head.refusal().unwrap().contains("is being deleted"));
        assert!(Cluster::new(head, members).into_staying().is_empty());
    }

    #[test]
    fn only_a_cluster_that_is_being_changed_has_the_mark_in_its_record() {
        let mut head = ClusterHead { name: "c".into(), ..ClusterHead::default() };
        assert!(serde_json::to_value(&head).unwrap().get("change").is_none());
        head.change = Some(ClusterChange::Deleting);
        let written = serde_json::to_value(&head).unwrap();
        assert_eq!(written["change"], serde_json::json!({"kind": "deleting"}));
        assert_eq!(serde_json::from_value::<ClusterHead>(written).unwrap(), head);
    }
}
