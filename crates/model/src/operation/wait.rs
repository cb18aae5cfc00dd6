//! What an operation, or one host of it, waits for at the moment.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::{Model, Stamp, ident};

/// A wait that is going on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Wait {
    /// The word of a [`WaitReason`](super::super::WaitReason).
    pub reason: String,
    /// What exactly is waited for, in a sentence; empty where the reason says it all.
    #[serde(default)]
    pub detail: String,
    /// The time stamp of its beginning.
    #[serde(default)]
    #[schema(value_type = String)]
    pub since: Stamp,
}

/// What the rollout of an operation waits for before it starts a further host. There is no record while it waits for none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationWait {
    /// The id of the operation.
    pub id: String,
    /// The wait.
    #[serde(flatten)]
    pub wait: Wait,
    /// Whether the webhook was called about it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reported: bool,
}

impl Model for OperationWait {
    const TYPE: &'static str = "OperationWait";
    const LIST_TYPE: &'static str = "OperationWaits";
    const ID: &'static str = "id";
    const PREFIX: &'static str = "/commissaire/operation_waits/";

    fn id(&self) -> &str {
        &self.id
    }

    fn validate(&self) -> Result<(), String> {
        ident::name(&self.id)
    }
}
