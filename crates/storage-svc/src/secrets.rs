//! Sealing: credentials are encrypted before they reach a store.
//!
//! XChaCha20-Poly1305 with a random nonce; the record's key in the store is the associated data, so
//! that a sealed record cannot be moved to another host. The envelope names the sealing key by an id.
//! The first key of the key file seals, all of them open, which is what rotation needs.

mod custodia;
mod key_file;

use std::fmt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};
use runtime::random;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

pub use custodia::{Custodia, CustodiaError};
pub use key_file::KeyError;
use key_file::NamedKey;

const NONCE_LENGTH: usize = 24;
const ALGORITHM: &str = "XChaCha20-Poly1305";

/// Why a sealed record does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It is no envelope.
    #[error("it is not a sealed record")]
    NoEnvelope(#[source] serde_json::Error),
    /// A member is not what it should be.
    #[error("its envelope is damaged")]
    Damaged,
    /// It was sealed with a key that is not in the key file.
    #[error("it is sealed with the key {0}, which is not in the key file")]
    UnknownKey(String),
    /// It was changed, or belongs to another key of the store.
    #[error("it was changed or moved since it was sealed")]
    Forged,
}

/// A sealed record as it is stored.
#[derive(Debug, Serialize, Deserialize)]
struct Envelope {
    sealed: String,
    key_id: String,
    nonce: String,
    ciphertext: String,
}

/// Seals and opens records.
pub struct Sealer {
    /// The first one seals.
    keys: Vec<(String, XChaCha20Poly1305)>,
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|(id, _)| id)).finish()
    }
}

impl Sealer {
    /// Reads the key file. Where it is missing it is made, unless the store holds sealed records.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn open(path: &Path, store_has_sealed: bool) -> Result<Self, KeyError> {
        if !path.exists() {
            if store_has_sealed {
                return Err(KeyError::Lost { path: path.to_owned() });
            }
            key_file::make(path)?;
        }
        Self::of_text(path, &key_file::read(path)?)
    }

    /// The keys in the text of a key file; `path` is for errors.
    ///
    /// # Errors
    /// [`KeyError::Malformed`].
    pub fn of_text(path: &Path, text: &str) -> Result<Self, KeyError> {
        let cipher = |(id, key): NamedKey| (id, XChaCha20Poly1305::new(&(*key).into()));
        let keys = key_file::keys_in(path, text)?.into_iter().map(cipher).collect();
        Ok(Self { keys })
    }

    /// Puts a new key before the ones in the file: from now on it seals, and all of them open.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn rotate(path: &Path) -> Result<Self, KeyError> {
        key_file::add(path)?;
        Self::open(path, true)
    }

    /// Drops all keys but the one that seals: nothing may be left that was sealed with another.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn drop_old_keys(path: &Path) -> Result<(), KeyError> {
        key_file::keep_first(path)
    }

    /// The id of the key that an envelope was sealed with, if that is none of ours.
    pub fn foreign_key(&self, envelope: &str) -> Option<String> {
        let Envelope { key_id, .. } = serde_json::from_str(envelope).ok()?;
        self.keys.iter().all(|(id, _)| *id != key_id).then_some(key_id)
    }

    /// Whether an envelope was sealed with the key that seals now.
    pub fn is_current(&self, envelope: &str) -> bool {
        let envelope = serde_json::from_str::<Envelope>(envelope);
        envelope
            .is_ok_and(|envelope| self.keys.first().is_some_and(|(id, _)| *id == envelope.key_id))
    }

    /// Seals `plain` for the place `key` in the store; returns the envelope's text.
    ///
    /// # Errors
    /// When the record is absurdly large.
    pub fn seal(&self, key: &str, plain: &str) -> Result<String, bus::Error> {
        let failed = || bus::Error::internal(format!("cannot seal {key}"));
        let (key_id, cipher) = self.keys.first().ok_or_else(failed)?;
        let nonce = random::secret::<NONCE_LENGTH>();
        let payload = Payload { msg: plain.as_bytes(), aad: key.as_bytes() };
        let ciphertext = cipher.encrypt(&XNonce::from(nonce), payload).map_err(|_| failed())?;
        let envelope = Envelope {
            sealed: ALGORITHM.to_owned(),
            key_id: key_id.clone(),
            nonce: BASE64.encode(nonce),
            ciphertext: BASE64.encode(ciphertext),
        };
        serde_json::to_string(&envelope).map_err(|e| failed().with_source(e))
    }

    /// Opens the envelope that stands at the place `key` in the store.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_sealed(&self, key: &str, envelope: &str) -> Result<Zeroizing<String>, OpenError> {
        let envelope: Envelope = serde_json::from_str(envelope).map_err(OpenError::NoEnvelope)?;
        let decode = |text: &str| BASE64.decode(text).map_err(|_| OpenError::Damaged);
        let nonce: [u8; NONCE_LENGTH] =
            decode(&envelope.nonce)?.try_into().map_err(|_| OpenError::Damaged)?;
        let ciphertext = decode(&envelope.ciphertext)?;
        if envelope.sealed != ALGORITHM {
            return Err(OpenError::Damaged);
        }
        let known = self.keys.iter().find(|(id, _)| *id == envelope.key_id);
        let (_, cipher) = known.ok_or(OpenError::UnknownKey(envelope.key_id))?;
        let payload = Payload { msg: &ciphertext, aad: key.as_bytes() };
        let plain = cipher.decrypt(&XNonce::from(nonce), payload).map_err(|_| OpenError::Forged)?;
        String::from_utf8(plain).map(Zeroizing::new).map_err(|_| OpenError::Damaged)
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn sealer() -> (tempfile::TempDir, PathBuf, Sealer) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret.key");
        let sealer = Sealer::open(&path, false).unwrap();
        (folder, path, sealer)
    }

    #[test]
    fn what_is_sealed_opens_in_its_place_only() {
        let (_folder, path, sealer) = sealer();
        let envelope = sealer.seal("/hosts/a", "canary").unwrap();
        assert!(!envelope.contains("canary"));
        let again = Sealer::open(&path, true).unwrap();
        assert_eq!(*again.open_sealed("/hosts/a", &envelope).unwrap(), "canary");
        assert!(matches!(sealer.open_sealed("/hosts/b", &envelope), Err(OpenError::Forged)));
        assert_ne!(envelope, sealer.seal("/hosts/a", "canary").unwrap());
    }

    #[test]
    fn a_foreign_or_damaged_envelope_is_told() {
        let (_folder, _path, ours) = sealer();
        let (_other_folder, _path, other) = sealer();
        let envelope = other.seal("/a", "x").unwrap();
        assert!(matches!(ours.open_sealed("/a", &envelope), Err(OpenError::UnknownKey(_))));
        assert!(matches!(ours.open_sealed("/a", "{}"), Err(OpenError::NoEnvelope(_))));
        let damaged = other.seal("/a", "x").unwrap().replace("\"nonce\":\"", "\"nonce\":\"!");
        assert!(matches!(other.open_sealed("/a", &damaged), Err(OpenError::Damaged)));
    }

    #[test]
    fn a_lost_key_is_not_replaced() {
        let (_folder, path, _sealer) = sealer();
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(Sealer::open(&path, true), Err(KeyError::Lost { .. })));
        assert!(!path.exists());
    }

    #[test]
    fn a_second_key_opens_what_the_first_sealed() {
        let (_folder, path, old) = sealer();
        let envelope = old.seal("/a", "x").unwrap();
        let (_new_folder, new_path, _new) = sealer();
        let both =
            std::fs::read_to_string(&new_path).unwrap() + &std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, both).unwrap();
        let rotated = Sealer::open(&path, true).unwrap();
        assert_eq!(*rotated.open_sealed("/a", &envelope).unwrap(), "x");
        assert!(old.open_sealed("/a", &rotated.seal("/a", "x").unwrap()).is_err());
    }
}
