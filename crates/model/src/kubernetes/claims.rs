//! Claims of operations on places in the budgets that several clusters share: those of a Kubernetes, and those of quorum
//! groups.

use serde::{Deserialize, Serialize};

use crate::{Address, Model, ident};

/// The hosts under way that are nodes of a Kubernetes, over all operations and clusters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeClaims {
    /// The id of the Kubernetes.
    pub id: String,
    /// The claims.
    #[serde(default)]
    pub claims: Vec<NodeClaim>,
}

/// A host under way that is a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeClaim {
    /// The name of its node.
    pub node: String,
    /// Its address.
    pub address: Address,
    /// The id of the operation.
    pub operation: String,
    /// Whether it belongs to the control plane.
    #[serde(default)]
    pub is_control_plane: bool,
    /// The number of hosts that the operation may take down at a time.
    pub budget: usize,
}

/// The hosts under way that are members of a quorum group, over all operations and clusters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuorumClaims {
    /// The name of the group.
    pub name: String,
    /// The claims.
    #[serde(default)]
    pub claims: Vec<QuorumClaim>,
}

/// A host under way that is a member of a quorum group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuorumClaim {
    /// Its address.
    pub address: Address,
    /// The id of the operation.
    pub operation: String,
}

impl Model for NodeClaims {
    const TYPE: &'static str = "NodeClaims";
    const LIST_TYPE: &'static str = "NodeClaimsList";
    const ID: &'static str = "id";
    const PREFIX: &'static str = "/commissaire/node_claims/";

    fn id(&self) -> &str {
        &self.id
    }

    fn validate(&self) -> Result<(), String> {
        ident::name(&self.id)?;
        self.claims.iter().try_for_each(|claim| ident::address(&claim.address))
    }
}

impl Model for QuorumClaims {
    const TYPE: &'static str = "QuorumClaims";
    const LIST_TYPE: &'static str = "QuorumClaimsList";
    const ID: &'static str = "name";
    const PREFIX: &'static str = "/commissaire/quorum_claims/";

    fn id(&self) -> &str {
        &self.name
    }

    fn validate(&self) -> Result<(), String> {
        ident::name(&self.name)?;
        self.claims.iter().try_for_each(|claim| ident::address(&claim.address))
    }
}
