//! The newest backup of an installation.

use serde::{Deserialize, Serialize};

use super::{Model, Stamp, ident};

/// The newest backup that was completed. It is written after the backup, and so not a part of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastBackup {
    /// Always [`Self::ALL`].
    pub name: String,
    /// The time at its start.
    pub taken_at: Stamp,
    /// The number of records in it.
    pub records: u64,
    /// Whether it holds the keys of the server, encrypted.
    #[serde(default)]
    pub with_keys: bool,
    /// Who took it: a principal of the API, or the user of the command line.
    #[serde(default)]
    pub by: String,
}

impl LastBackup {
    /// The only one that there is.
    pub const ALL: &str = "all";
}

impl Model for LastBackup {
    const TYPE: &'static str = "LastBackup";
    const LIST_TYPE: &'static str = "LastBackups";
    const ID: &'static str = "name";
    const PREFIX: &'static str = "/commissaire/last_backup/";

    fn id(&self) -> &str {
        &self.name
    }

    fn validate(&self) -> Result<(), String> {
        if !self.taken_at.is_valid() {
            return Err(format!("taken_at is no time: {:?}", self.taken_at));
        }
        ident::name(&self.name)
    }
}
