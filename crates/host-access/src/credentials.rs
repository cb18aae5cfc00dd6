//! From a host's stored credentials to the [`Target`] that `ssh` is to reach, and back: the key that it
//! showed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use model::HostCreds;
use secrecy::{ExposeSecret as _, SecretString};

use crate::error::AccessError;
use crate::target::Target;
use model::host_keys::fingerprint;

/// The target that `creds` describe; a host without a key of its own is reached with `own_key`, the
/// server's.
///
/// # Errors
/// [`AccessError::BadKey`] when the stored key is not the base64 of a text.
pub fn target(creds: &HostCreds, own_key: &SecretString) -> Result<Target, AccessError> {
    let stored = creds.ssh_priv_key.expose_secret();
    let private_key = if stored.is_empty() {
        own_key.clone()
    } else {
        let compact: String = stored.split_ascii_whitespace().collect();
        let decoded = BASE64.decode(compact).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        SecretString::from(decoded.ok_or_else(|| AccessError::BadKey {
            address: creds.address.to_string(),
            detail: "it is not the base64 of a key file".to_owned(),
        })?)
    };
    Ok(Target {
        address: creds.address.to_string(),
        port: creds.ssh_port,
        user: creds.remote_user.clone(),
        private_key,
        host_keys: creds.ssh_host_key.lines().map(str::to_owned).collect(),
    })
}

/// Pins the keys that a host was first seen with, and logs their fingerprints; false when some are
/// pinned already.
pub fn pin(creds: &mut HostCreds, seen: &[String]) -> bool {
    if !creds.ssh_host_key.is_empty() {
        return false;
    }
    creds.ssh_host_key = seen.join("\n");
    let fingerprints: Vec<_> = seen.iter().filter_map(|key| fingerprint(key)).collect();
    let fingerprint = fingerprints.join(" ");
    tracing::info!(host.address = creds.address.as_str(), fingerprint, "host key pinned");
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_key_wins_over_the_servers() {
        let own = SecretString::from("own");
        let mut creds = HostCreds::new("10.0.0.1");
        assert_eq!(target(&creds, &own).unwrap().private_key.expose_secret(), "own");
        creds.ssh_priv_key = "c3RvcmVk\n".into();
        creds.ssh_host_key = "ssh-ed25519 A\nssh-rsa B".into();
        let both = target(&creds, &own).unwrap();
        assert_eq!(both.private_key.expose_secret(), "stored");
        assert_eq!(both.host_keys, ["ssh-ed25519 A", "ssh-rsa B"]);
        creds.ssh_priv_key = "/w==".into();
        assert!(matches!(target(&creds, &own), Err(AccessError::BadKey { .. })));
        assert!(!pin(&mut creds, &["ssh-ed25519 C".to_owned()]), "what is pinned stays");
    }

    #[test]
    fn the_first_keys_are_pinned() {
        let mut creds = HostCreds::new("10.0.0.1");
        assert!(pin(&mut creds, &["ssh-ed25519 A".to_owned(), "ssh-rsa B".to_owned()]));
        assert_eq!(creds.ssh_host_key, "ssh-ed25519 A\nssh-rsa B");
    }
}
