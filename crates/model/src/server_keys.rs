//! The server's own SSH keys, by their fingerprints.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Model, ident};

/// The fingerprints of the server's own SSH keys (`id_ed25519`). A service that reaches hosts opens no
/// session before it has found the fingerprint of its key in here. It holds several during a rotation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerKeys {
    /// Always [`Self::ALL`]: there is one such record.
    pub name: String,
    /// As OpenSSH writes them: `SHA256:` and 43 letters of base64.
    #[serde(default)]
    pub fingerprints: BTreeSet<String>,
}

impl ServerKeys {
    /// The name of the one record.
    pub const ALL: &str = "all";

    /// The most fingerprints that it holds.
    const MOST: usize = 32;

    /// A set with this fingerprint only.
    pub fn of(fingerprint: &str) -> Self {
        Self { name: Self::ALL.to_owned(), fingerprints: BTreeSet::from([fingerprint.to_owned()]) }
    }
}

impl Model for ServerKeys {
    const TYPE: &'static str = "ServerKeys";
    const LIST_TYPE: &'static str = "ServerKeysList";
    const ID: &'static str = "name";
    const PREFIX: &'static str = "/commissaire/server_keys/";

    fn id(&self) -> &str {
        &self.name
    }

    fn validate(&self) -> Result<(), String> {
        if self.fingerprints.len() > Self::MOST {
            return Err(format!("fingerprints has more than {} entries", Self::MOST));
        }
        let valid = |text: &str| {
            let hash = text.strip_prefix("SHA256:").unwrap_or_default();
            let base64 = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
            hash.len() == 43 && hash.bytes().all(base64)
        };
        match self.fingerprints.iter().find(|text| !valid(text)) {
            Some(text) => {
                Err(format!("fingerprints has {text:?}, which is not a SHA256 fingerprint"))
            }
            None => Self::validate_id(&self.name),
        }
    }

    fn validate_id(id: &str) -> Result<(), String> {
        ident::name(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sha256_fingerprints_are_valid() {
        let good = "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU";
        assert_eq!(ServerKeys::of(good).validate(), Ok(()));
        for bad in ["", "SHA256:", "MD5:00", &good[..20], &format!("{good}=")] {
            assert!(ServerKeys::of(bad).validate().is_err(), "{bad}");
        }
    }
}
