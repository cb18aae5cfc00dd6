//! What is sent to the watcher.

use serde::{Deserialize, Serialize};

use super::{Address, Stamp, ident};

/// A host that shall be checked soon: the body of `jobs.watcher`, and stored nowhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatcherRecord {
    /// The host.
    pub address: Address,
    /// When it was last checked, as far as the sender knows: one that has been checked since is not
    /// checked again. Empty for "in any case".
    #[serde(default)]
    pub last_check: Stamp,
}

impl WatcherRecord {
    /// Checks what the types do not say.
    ///
    /// # Errors
    /// A sentence that names the member and what is wrong with it.
    pub fn validate(&self) -> Result<(), String> {
        if !self.last_check.is_empty() && !self.last_check.is_valid() {
            return Err(format!("last_check is no time: {:?}", self.last_check));
        }
        ident::address(&self.address)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_address_will_do_and_what_is_wrong_is_refused() {
        let read = |value| serde_json::from_value::<WatcherRecord>(value).unwrap().validate();
        assert_eq!(read(json!({"address": "10.0.0.1"})), Ok(()));
        let checked = json!({"address": "10.0.0.1", "last_check": "2026-11-21T23:40:21.397282"});
        assert_eq!(read(checked), Ok(()));
        assert!(read(json!({"address": "-oProxyCommand=x"})).is_err());
        assert!(read(json!({"address": "10.0.0.1", "last_check": "yesterday"})).is_err());
    }
}
