//! The identity of an installation.

use serde::{Deserialize, Serialize};

use super::{Model, Stamp, ident};

/// The identity of this installation. It is made once; its id stays when the records move to another machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// Always [`Self::ALL`].
    pub name: String,
    /// A UUID.
    pub id: String,
    /// How often the records were restored from a backup, plus one: 0 in records of versions without it counts as 1.
    #[serde(default)]
    pub generation: u64,
    /// A UUID that no other installation has in this generation, not even one restored from the same backup; empty in
    /// records of versions without it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub generation_id: String,
    /// The last restore, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored: Option<Restored>,
}

/// How an installation was restored from a backup.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// When.
    pub at: Stamp,
    /// When the backup was taken.
    pub taken_at: Stamp,
    /// Whether hosts may be touched that an earlier generation has touched. Until then hosts are only watched.
    #[serde(default)]
    pub takes_over: bool,
}

impl Instance {
    /// The only one that there is.
    pub const ALL: &str = "all";

    /// Whether it may change hosts that an earlier generation has touched, and their nodes. After a restore it has to take
    /// them over first.
    pub fn takes_over(&self) -> bool {
        self.restored.as_ref().is_none_or(|restored| restored.takes_over)
    }
}

impl Model for Instance {
    const TYPE: &'static str = "Instance";
    const LIST_TYPE: &'static str = "Instances";
    const ID: &'static str = "name";
    const PREFIX: &'static str = "/commissaire/instance/";

    #[expect(clippy::misnamed_getters, reason = "the field `id` is the id of the installation")]
    fn id(&self) -> &str {
        &self.name
    }

    fn validate(&self) -> Result<(), String> {
        ident::name(&self.name)?;
        if !self.generation_id.is_empty() {
            ident::name(&self.generation_id).map_err(|e| format!("generation_id: {e}"))?;
        }
        ident::name(&self.id)
    }
}
