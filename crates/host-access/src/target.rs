//! Where and as whom to log in.

use secrecy::{ExposeSecret as _, SecretString};

use model::host_keys::{HostKeyError, parse_host_keys};

/// One host as `ssh` is to reach it.
#[derive(Debug, Clone)]
pub struct Target {
    /// A name, an IPv4 or an IPv6 address (without brackets).
    pub address: String,
    /// The port of its `sshd`.
    pub port: u16,
    /// The user to log in as.
    pub user: String,
    /// The unencrypted private key, as OpenSSH or PEM text.
    pub private_key: SecretString,
    /// The keys the host may show, as `algorithm base64`; when empty, the first one it shows is
    /// taken and pinned.
    pub host_keys: Vec<String>,
}

/// Why a [`Target`] cannot be meant. Such values would also be dangerous in `ssh`'s configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// Not a host name or address.
    #[error("{0:?} is not a host name or an IP address")]
    Address(String),
    /// Not a user name.
    #[error("{0:?} is not a user name")]
    User(String),
    /// Not a port.
    #[error("0 is not a port")]
    Port,
    /// There is no private key.
    #[error("no private key is given")]
    NoKey,
    /// A pinned key cannot be read.
    #[error("a pinned host key cannot be read")]
    HostKeys(#[source] HostKeyError),
}

impl Target {
    /// Checks what will be written into `ssh`'s configuration.
    ///
    /// # Errors
    /// Names the value that cannot be meant.
    pub fn validate(&self) -> Result<(), TargetError> {
        if !is_address(&self.address) {
            return Err(TargetError::Address(self.address.clone()));
        }
        if !is_user(&self.user) {
            return Err(TargetError::User(self.user.clone()));
        }
        if self.port == 0 {
            return Err(TargetError::Port);
        }
        if self.private_key.expose_secret().trim().is_empty() {
            return Err(TargetError::NoKey);
        }
        if !self.host_keys.is_empty() {
            parse_host_keys(&self.host_keys.join("\n")).map_err(TargetError::HostKeys)?;
        }
        Ok(())
    }
}

/// Host names, IPv4, IPv6 with or without a zone: nothing `ssh` or a shell could take for
/// anything else.
fn is_address(text: &str) -> bool {
    let first =
        text.chars().next().is_some_and(|first| first.is_ascii_alphanumeric() || first == ':');
    first
        && text.len() <= 253
        && text.chars().all(|letter| letter.is_ascii_alphanumeric() || ".-_:%".contains(letter))
}

/// `[A-Za-z_][A-Za-z0-9_.-]{0,31}`
fn is_user(text: &str) -> bool {
    let first =
        text.chars().next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_');
    first
        && text.len() <= 32
        && text.chars().all(|letter| letter.is_ascii_alphanumeric() || "_.-".contains(letter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for good in ["10.0.0.1", "::1", "fe80::1%eth0", "node-1.example.org", "fd00::a"] {
            assert!(is_address(good), "{good}");
        }
        for bad in ["", "-oProxyCommand=x", "a b", "a\nProxyCommand x", "a'", "[::1]", "ä", "a/b"]
        {
            assert!(!is_address(bad), "{bad}");
        }
    }

    #[test]
    fn users() {
        for good in ["root", "_svc", "a.b-c_1"] {
            assert!(is_user(good), "{good}");
        }
        for bad in ["", "-l", "1a", "a b", "a\n", &"a".repeat(33)] {
            assert!(!is_user(bad), "{bad}");
        }
    }
}
