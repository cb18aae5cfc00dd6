//! The refused log-ins of a host, counted for all services together.

use serde::{Deserialize, Serialize};

use super::{Address, Model, Stamp, ident};

/// The log-ins that an address has refused lately. It is kept beside the host, and not deleted with it:
/// the address counts our failures, whatever records we have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedLogIns {
    /// The host's address.
    pub address: Address,
    /// When each was refused, oldest first. A log-in under way to a host that may refuse it is in here,
    /// too, until it has ended otherwise.
    #[serde(default)]
    pub stamps: Vec<Stamp>,
    /// Whether a log-in has succeeded since the last refusal: then none need be held back.
    #[serde(default)]
    pub accepted_since: bool,
}

impl RefusedLogIns {
    /// No record has more stamps: what is older is of no use.
    pub const STAMPS: usize = 32;
}

impl Model for RefusedLogIns {
    const TYPE: &'static str = "RefusedLogIns";
    const LIST_TYPE: &'static str = "RefusedLogInsList";
    const ID: &'static str = "address";
    const PREFIX: &'static str = "/commissaire/refused_log_ins/";

    fn id(&self) -> &str {
        &self.address
    }

    fn validate(&self) -> Result<(), String> {
        if self.stamps.len() > Self::STAMPS {
            return Err(format!("stamps has more than {} entries", Self::STAMPS));
        }
        if let Some(stamp) = self.stamps.iter().find(|stamp| !stamp.is_valid()) {
            return Err(format!("stamps has {stamp:?}, which is not a time"));
        }
        ident::address(&self.address)
    }

    fn validate_id(id: &str) -> Result<(), String> {
        ident::address(id)
    }
}
