//! Nodes and pods of a Kubernetes, as far as an operation decides by them, and who has cordoned a node. Pure.

mod claims;
mod cordon;
mod node;
mod pod;

pub use claims::{BudgetClaim, BudgetClaims};
pub use cordon::{CordonDebt, CordonOwner, DebtState};
pub use node::{NodeState, UNAVAILABLE_NODES};
pub use pod::{Controller, PodClass, PodKind, PodState};
