//! Who has cordoned a node, and the debt to uncordon it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Address, ClusterName, Model, Stamp, ident};

/// The word for a cordon by an operator in an annotation.
const MANUAL: &str = "manual";

/// Who has cordoned a node: the value of the node's annotation `commissaire.io/cordoned-by`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CordonOwner {
    /// `INSTANCE/OPERATION`: an operation of an installation.
    Operation {
        /// The id of the installation.
        instance: String,
        /// The id of the operation.
        operation: String,
    },
    /// `INSTANCE/manual/PRINCIPAL`: an operator.
    Manual {
        /// The id of the installation.
        instance: String,
        /// The name of the operator.
        principal: String,
    },
}

impl CordonOwner {
    /// The id of the installation.
    pub fn instance(&self) -> &str {
        match self {
            Self::Operation { instance, .. } | Self::Manual { instance, .. } => instance,
        }
    }
}

impl fmt::Display for CordonOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operation { instance, operation } => write!(f, "{instance}/{operation}"),
            Self::Manual { instance, principal } => write!(f, "{instance}/{MANUAL}/{principal}"),
        }
    }
}

impl FromStr for CordonOwner {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (instance, rest) = text.split_once('/').ok_or(())?;
        let instance = instance.to_owned();
        match rest.split_once('/') {
            Some((MANUAL, principal)) => {
                Ok(Self::Manual { instance, principal: principal.to_owned() })
            }
            Some(_) => Err(()),
            None => Ok(Self::Operation { instance, operation: rest.to_owned() }),
        }
    }
}

/// Whether a node that we have cordoned is to be uncordoned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum DebtState {
    /// An operation works on its host, and uncordons it.
    #[default]
    Held,
    /// It is to be uncordoned as soon as the API server allows it.
    Due,
    /// It stays cordoned until an operator uncordons it.
    Kept,
    /// A state of a later version, in a record that this has written.
    #[serde(other)]
    Unknown,
}

/// A node that we have cordoned, from before the request until it is uncordoned or deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CordonDebt {
    /// The id of the Kubernetes, a dot, and the name of the node.
    #[schema(ignore)]
    pub id: String,
    /// The container manager by which the node is reached.
    pub container_manager: String,
    /// The name of the node.
    pub node: String,
    /// The uid of the node.
    #[schema(ignore)]
    pub node_uid: String,
    /// The address of its host.
    #[schema(value_type = String)]
    pub address: Address,
    /// The cluster of the host.
    #[serde(default)]
    #[schema(value_type = String)]
    pub cluster: ClusterName,
    /// The value of the annotation: a [`CordonOwner`].
    pub cordoned_by: String,
    /// The operation that has cordoned it; empty for an operator.
    #[serde(default)]
    pub operation: String,
    /// Since when.
    #[serde(default)]
    #[schema(value_type = String)]
    pub since: Stamp,
    /// Whether it is to be uncordoned.
    #[serde(default)]
    pub state: DebtState,
    /// Why it stays cordoned, or why it is not uncordoned yet; empty otherwise.
    #[serde(default)]
    pub reason: String,
}

impl CordonDebt {
    /// The id of the debt for a node of the Kubernetes with this id.
    pub fn id_of(kubernetes: &str, node: &str) -> String {
        format!("{kubernetes}.{node}")
    }

    /// The id of the Kubernetes.
    pub fn kubernetes(&self) -> &str {
        self.id.split_once('.').map_or("", |(kubernetes, _)| kubernetes)
    }
}

impl Model for CordonDebt {
    const TYPE: &'static str = "CordonDebt";
    const LIST_TYPE: &'static str = "CordonDebts";
    const ID: &'static str = "id";
    const PREFIX: &'static str = "/commissaire/cordon_debts/";

    fn id(&self) -> &str {
        &self.id
    }

    fn validate(&self) -> Result<(), String> {
        Self::validate_id(&self.id)?;
        ident::name(&self.container_manager).map_err(|e| format!("container_manager: {e}"))?;
        ident::address(&self.address)
    }

    fn validate_id(id: &str) -> Result<(), String> {
        let (kubernetes, node) = id.split_once('.').ok_or("a Kubernetes and a node, by a dot")?;
        ident::name(kubernetes)?;
        ident::token(node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_read_back_as_they_are_written() {
        let instance = "6b2f".to_owned();
        for (text, owner) in [
            (
                "6b2f/1-2",
                CordonOwner::Operation { instance: instance.clone(), operation: "1-2".to_owned() },
            ),
            ("6b2f/manual/ann", CordonOwner::Manual { instance, principal: "ann".to_owned() }),
        ] {
            assert_eq!(owner.to_string(), text);
            assert_eq!(text.parse(), Ok(owner));
        }
        for text in ["", "true", "a/b/c"] {
            assert_eq!(text.parse::<CordonOwner>(), Err(()), "{text}");
        }
    }

    #[test]
    fn debts_are_identified_by_their_kubernetes_and_node() {
        let uid = "c1f3c1de-8b3e-4c58-9a5e-0d3a2a0f6a11";
        let debt = CordonDebt {
            id: CordonDebt::id_of(uid, "w1.example.com"),
            container_manager: "k".to_owned(),
            address: "10.0.0.1".into(),
            ..CordonDebt::default()
        };
        assert_eq!((debt.kubernetes(), debt.validate()), (uid, Ok(())));
        for id in ["", "w1", "a/b.w1", ".w1", "a."] {
            assert!(CordonDebt::validate_id(id).is_err(), "{id}");
        }
    }
}
