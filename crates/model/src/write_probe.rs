//! The record that gateways write to find out whether the store accepts writes.

use serde::{Deserialize, Serialize};

use super::{Model, Stamp, ident};

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WriteProbe {
    /// Who writes it; all gateways share one.
    pub name: String,
    /// When it was last written.
    pub written_at: Stamp,
}

impl Model for WriteProbe {
    const TYPE: &'static str = "WriteProbe";
    const LIST_TYPE: &'static str = "WriteProbes";
    const ID: &'static str = "name";
    const PREFIX: &'static str = "/commissaire/write_probes/";

    fn id(&self) -> &str {
        &self.name
    }

    fn validate(&self) -> Result<(), String> {
        if !self.written_at.is_valid() {
            return Err(format!("written_at is not a time: {:?}", self.written_at));
        }
        ident::name(&self.name)
    }
}
