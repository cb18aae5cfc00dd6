//! What operators say about work that is under way: of one operation, and of all of it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::{Model, Stamp, ident};

/// What an operation is to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Wanted {
    /// Go on.
    #[default]
    Run,
    /// Start nothing new until it is told to go on.
    Pause,
    /// Start nothing new, and end.
    Abort,
}

/// What an operation is to do, by the last who said so. Whoever starts something on a host checks in the
/// same write that this has not changed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct OperationControl {
    /// The operation's.
    pub id: String,
    /// See there.
    pub wanted: Wanted,
    /// Who said so.
    #[serde(default)]
    pub by: String,
    /// When.
    #[serde(default)]
    pub at: Stamp,
    /// Why, where it was not an operator.
    #[serde(default)]
    pub reason: String,
    /// The same in one word, of a [`WaitReason`](super::super::WaitReason).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub code: String,
}

impl OperationControl {
    /// Who has paused an operation, if that was a restore from a backup.
    pub const BY_RESTORE: &str = "restore";
}

impl Model for OperationControl {
    const TYPE: &'static str = "OperationControl";
    const LIST_TYPE: &'static str = "OperationControls";
    const ID: &'static str = "id";
    const PREFIX: &'static str = "/commissaire/operation_control/";

    fn id(&self) -> &str {
        &self.id
    }

    fn validate(&self) -> Result<(), String> {
        ident::name(&self.id)
    }
}

/// While it is there, no roll starts a further host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Freeze {
    /// Always [`Self::ALL`].
    #[schema(ignore)]
    pub name: String,
    /// Who said so.
    #[serde(default)]
    pub by: String,
    /// Since when.
    #[serde(default)]
    #[schema(value_type = String)]
    pub at: Stamp,
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// Whether a restore from a backup froze them. While it lasts, no webhook is called, and hosts are checked less often.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub restored: bool,
}

impl Freeze {
    /// The only one that there is.
    pub const ALL: &str = "all";
}

impl Model for Freeze {
    const TYPE: &'static str = "Freeze";
    const LIST_TYPE: &'static str = "Freezes";
    const ID: &'static str = "name";
    const PREFIX: &'static str = "/commissaire/freeze/";

    fn id(&self) -> &str {
        &self.name
    }

    fn validate(&self) -> Result<(), String> {
        if self.reason.len() > 1024 {
            return Err("reason: at most 1024 bytes".to_owned());
        }
        ident::name(&self.name)
    }
}
