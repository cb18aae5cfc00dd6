//! Claims of operations on places in budgets that several clusters share: those of a Kubernetes, and those of quorum groups.

use serde::{Deserialize, Serialize};

use crate::{Address, Model, ident};

/// What the id of the claims on the nodes of a Kubernetes begins with.
const KUBERNETES: &str = "kubernetes.";

/// What the id of the claims on the members of a quorum group begins with.
const QUORUM: &str = "quorum.";

/// The hosts under way that have a place in a budget, over all operations and clusters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetClaims {
    /// `kubernetes.ID` or `quorum.NAME`.
    pub id: String,
    /// The claims.
    #[serde(default)]
    pub claims: Vec<BudgetClaim>,
}

/// A host under way that has a place in a budget.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetClaim {
    /// Its address.
    pub address: Address,
    /// The id of the operation.
    pub operation: String,
    /// The name of its node; empty in a quorum group.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub node: String,
    /// The number of hosts that the operation may take down at a time.
    #[serde(default)]
    pub budget: usize,
}

impl BudgetClaims {
    /// The id of the claims on the nodes of the Kubernetes with this id.
    pub fn of_kubernetes(id: &str) -> String {
        format!("{KUBERNETES}{id}")
    }

    /// The id of the claims on the members of the quorum group with this name.
    pub fn of_quorum_group(name: &str) -> String {
        format!("{QUORUM}{name}")
    }

    /// Removes the claim of a host in an operation.
    pub fn release(&mut self, address: &str, operation: &str) {
        self.claims.retain(|claim| claim.address != *address || claim.operation != operation);
    }
}

impl Model for BudgetClaims {
    const TYPE: &'static str = "BudgetClaims";
    const LIST_TYPE: &'static str = "BudgetClaimsList";
    const ID: &'static str = "id";
    const PREFIX: &'static str = "/commissaire/budget_claims/";

    fn id(&self) -> &str {
        &self.id
    }

    fn validate(&self) -> Result<(), String> {
        Self::validate_id(&self.id)?;
        self.claims.iter().try_for_each(|claim| ident::address(&claim.address))
    }

    fn validate_id(id: &str) -> Result<(), String> {
        let name = id.strip_prefix(KUBERNETES).or_else(|| id.strip_prefix(QUORUM));
        ident::name(name.ok_or("the name of a budget is expected")?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_those_of_a_budget_and_are_released_by_host_and_operation() {
        let claim = |address: &str, operation: &str| BudgetClaim {
            address: address.into(),
            operation: operation.to_owned(),
            ..BudgetClaim::default()
        };
        let id = BudgetClaims::of_quorum_group("etcd");
        let mut claims = BudgetClaims { id, claims: vec![claim("10.0.0.1", "o1")] };
        assert_eq!((claims.id.as_str(), claims.validate()), ("quorum.etcd", Ok(())));
        claims.release("10.0.0.1", "o2");
        assert_eq!(claims.claims.len(), 1);
        claims.release("10.0.0.1", "o1");
        assert!(claims.claims.is_empty());
        assert_eq!(BudgetClaims::validate_id(&BudgetClaims::of_kubernetes("k1")), Ok(()));
        for id in ["etcd", "quorum.", "kubernetes.a/b", "other.x"] {
            assert!(BudgetClaims::validate_id(id).is_err(), "{id}");
        }
    }
}
