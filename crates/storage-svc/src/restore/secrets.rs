//! Sealing the credentials of a backup for this installation.

use model::{HostCreds, Model as _};
use serde_json::Value;
use zeroize::Zeroizing;

use super::RestoreError;
use crate::keyring::MARK;
use crate::kinds::Kind;
use crate::secrets::{OpenError, Sealer};

/// The keys.
pub(super) struct Secrets<'a> {
    own: &'a Sealer,
    others: &'a [Sealer],
}

/// A record that was sealed again.
pub(super) struct Sealed {
    pub(super) envelope: String,
    pub(super) is_host_key_pinned: bool,
}

/// Why a record was not.
pub(super) enum Problem {
    Damaged(String),
    Other(RestoreError),
}

impl<'a> Secrets<'a> {
    /// `own` seals; all of them open.
    pub(super) fn new(own: &'a Sealer, others: &'a [Sealer]) -> Self {
        Self { own, others }
    }

    /// Checks that the key of the backup is there.
    pub(super) fn check_mark(&self, mark: &str) -> Result<(), RestoreError> {
        match self.open(MARK, mark) {
            Err(OpenError::UnknownKey(id)) => Err(RestoreError::UnknownKey(id)),
            // Any other defect of the mark concerns no record.
            _ => Ok(()),
        }
    }

    /// The record under `key`, which was sealed for `sealed_for`, sealed with our key.
    pub(super) fn seal_again(
        &self,
        kind: &Kind,
        key: &str,
        sealed_for: &str,
        envelope: &str,
    ) -> Result<Sealed, Problem> {
        let plain = self.open(sealed_for, envelope).map_err(|error| match error {
            OpenError::UnknownKey(id) => Problem::Other(RestoreError::UnknownKey(id)),
            error => Problem::Damaged(error.to_string()),
        })?;
        let plain = if sealed_for == key { plain } else { renamed(kind, key, &plain)? };
        let (own_key, text) = kind.check(&plain).map_err(Problem::Damaged)?;
        if own_key != key {
            return Err(Problem::Damaged(format!("it belongs at {own_key}")));
        }
        let text = Zeroizing::new(Box::<str>::from(text).into_string());
        let is_host_key_pinned = kind.type_name == HostCreds::TYPE
            && serde_json::from_str::<HostCreds>(&text)
                .is_ok_and(|creds| !creds.ssh_host_key.is_empty());
        let envelope = self.own.seal(key, &text);
        let envelope = envelope.map_err(|e| Problem::Other(RestoreError::Seal(e)))?;
        Ok(Sealed { envelope, is_host_key_pinned })
    }

    fn open(&self, key: &str, envelope: &str) -> Result<Zeroizing<String>, OpenError> {
        let mut opened = self.own.open_sealed(key, envelope);
        for other in self.others {
            if !matches!(opened, Err(OpenError::UnknownKey(_))) {
                break;
            }
            opened = other.open_sealed(key, envelope);
        }
        opened
    }
}

/// The text of a record with the identity that belongs to `key`.
fn renamed(kind: &Kind, key: &str, plain: &str) -> Result<Zeroizing<String>, Problem> {
    let mut record: Value =
        serde_json::from_str(plain).map_err(|error| Problem::Damaged(error.to_string()))?;
    let id = kind.id_in(key).unwrap_or_default();
    if let Some(field) = record.get_mut(kind.id) {
        *field = id.into();
    }
    Ok(Zeroizing::new(record.to_string()))
}
