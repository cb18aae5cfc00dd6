//! Leases, as they are stored; how they are held is in `storage_client::lease`.

use serde::{Deserialize, Serialize};

use super::{LeaseName, Model, ident};

/// The right to work on something. Whoever holds it raises `counter` well within `ttl_ms`; whoever has
/// seen the same counter for longer than that may take it over.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Lease {
    /// What it is for.
    pub name: LeaseName,
    /// Who holds it.
    pub owner: String,
    /// Raised by the holder as a sign of life.
    #[serde(default)]
    pub counter: u64,
    /// For how long a sign of life is good, in milliseconds.
    pub ttl_ms: u64,
    /// The id of the operation, where it is for one; empty otherwise.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub operation: String,
}

impl Model for Lease {
    const TYPE: &'static str = "Lease";
    const LIST_TYPE: &'static str = "Leases";
    const ID: &'static str = "name";
    const PREFIX: &'static str = "/commissaire/leases/";

    fn id(&self) -> &str {
        &self.name
    }

    fn validate(&self) -> Result<(), String> {
        ident::token(&self.name)
    }

    fn validate_id(id: &str) -> Result<(), String> {
        ident::token(id)
    }
}
