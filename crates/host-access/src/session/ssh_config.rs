//! The `ssh` configuration of one session, and the files it names.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::host_keys::parse_host_keys;
use secrecy::ExposeSecret as _;

use crate::error::AccessError;
use crate::run_dir::SOCKET;
use crate::target::Target;

/// What every host is called in its configuration, and in its file of known hosts: an alias keeps
/// addresses off command lines and out of a file in which `*`, `[` and `,` have a meaning.
pub(crate) const HOST: &str = "target";

const CONFIG: &str = "config";
const KEY: &str = "key";
const KNOWN_HOSTS: &str = "known_hosts";

/// Writes configuration, key and known hosts into `directory`.
pub(crate) fn write(
    directory: &Path,
    target: &Target,
    connect_timeout: Duration,
) -> Result<PathBuf, AccessError> {
    let key = target.private_key.expose_secret().replace('\r', "");
    write_private(&directory.join(KEY), &[key.trim(), "\n"])?;
    let known: Vec<&str> =
        target.host_keys.iter().flat_map(|key| [HOST, " ", key.as_str(), "\n"]).collect();
    write_private(&directory.join(KNOWN_HOSTS), &known)?;
    let config = directory.join(CONFIG);
    write_private(&config, &[&render(directory, target, connect_timeout)])?;
    Ok(config)
}

/// The keys the host may show from now on: on first use, the one `ssh` has just written down.
pub(crate) fn pinned(directory: &Path, target: &Target) -> Result<Vec<String>, AccessError> {
    if !target.host_keys.is_empty() {
        return Ok(target.host_keys.clone());
    }
    let seen = seen_keys(&directory.join(KNOWN_HOSTS))?;
    if seen.is_empty() {
        let address = target.address.clone();
        let detail = "ssh did not say which host key it saw".to_owned();
        return Err(AccessError::Remote { address, detail });
    }
    Ok(seen)
}

/// The keys in a file of known hosts with lines `target algorithm base64`.
pub(crate) fn seen_keys(known_hosts: &Path) -> Result<Vec<String>, AccessError> {
    let text = fs::read_to_string(known_hosts)
        .map_err(AccessError::io(format!("read {}", known_hosts.display())))?;
    let keys: Vec<&str> =
        text.lines().filter_map(|line| line.split_once(' ')).map(|(_, key)| key).collect();
    Ok(parse_host_keys(&keys.join("\n")).unwrap_or_default())
}

/// Everything is said here and nothing is inherited: `ssh -F` reads no other configuration.
fn render(directory: &Path, target: &Target, connect_timeout: Duration) -> String {
    let directory = directory.display();
    let seconds = whole_seconds(connect_timeout);
    let (strict, algorithms) = if target.host_keys.is_empty() {
        ("accept-new", String::new())
    } else {
        let names = signature_algorithms(&target.host_keys);
        ("yes", format!("  HostKeyAlgorithms {names}\n"))
    };
    format!(
        "Host {HOST}
  HostName {address}
  Port {port}
  User {user}
  IdentityFile {directory}/{KEY}
  IdentitiesOnly yes
  IdentityAgent none
  BatchMode yes
  PreferredAuthentications publickey
  PasswordAuthentication no
  KbdInteractiveAuthentication no
  GSSAPIAuthentication no
  HostKeyAlias {HOST}
  CheckHostIP no
  HashKnownHosts no
  UpdateHostKeys no
  VerifyHostKeyDNS no
  StrictHostKeyChecking {strict}
{algorithms}  UserKnownHostsFile {directory}/{KNOWN_HOSTS}
  GlobalKnownHostsFile none
  ConnectTimeout {seconds}
  ConnectionAttempts 1
  ServerAliveInterval 10
  ServerAliveCountMax 3
  TCPKeepAlive yes
  ForwardAgent no
  ForwardX11 no
  ClearAllForwardings yes
  PermitLocalCommand no
  EscapeChar none
  ControlMaster no
  ControlPath {directory}/{SOCKET}
  ControlPersist no
  LogLevel INFO
",
        // A zone (fe80::1%eth0) must not be taken for a token.
        address = target.address.replace('%', "%%"),
        port = target.port,
        user = target.user,
    )
}

/// `ssh` knows whole seconds only, and takes 0 for no limit.
pub(crate) fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0 || duration.is_zero())
}

/// A new file that only its owner can read.
pub(crate) fn write_private(path: &Path, parts: &[&str]) -> Result<(), AccessError> {
    let write = || {
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
        parts.iter().try_for_each(|part| file.write_all(part.as_bytes()))
    };
    write().map_err(AccessError::io(format!("write {}", path.display())))
}

/// The signature algorithms with which a host can prove that it has one of these keys. An RSA key signs with SHA-2 only.
fn signature_algorithms(keys: &[String]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for algorithm in keys.iter().filter_map(|key| key.split_ascii_whitespace().next()) {
        let signatures = if algorithm == "ssh-rsa" {
            &["rsa-sha2-512", "rsa-sha2-256"][..]
        } else {
            &[algorithm][..]
        };
        for name in signatures {
            if !names.contains(name) {
                names.push(name);
            }
        }
    }
    names.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(address: &str, host_keys: &[&str]) -> Target {
        Target {
            address: address.to_owned(),
            port: 2222,
            user: "core".to_owned(),
            private_key: "key".into(),
            host_keys: host_keys.iter().map(|&key| key.to_owned()).collect(),
        }
    }

    #[test]
    fn the_first_use_accepts_any_key_and_later_ones_only_the_pinned() {
        let first =
            render(Path::new("/run/c"), &target("fe80::1%eth0", &[]), Duration::from_secs(10));
        assert!(first.contains("StrictHostKeyChecking accept-new\n"));
        assert!(first.contains("HostName fe80::1%%eth0\n"));
        assert!(!first.contains("HostKeyAlgorithms"));
        let later = render(Path::new("/run/c"), &target("::1", &["ssh-rsa AAAA"]), Duration::ZERO);
        assert!(later.contains("StrictHostKeyChecking yes\n"));
        assert!(later.contains("HostKeyAlgorithms rsa-sha2-512,rsa-sha2-256\n"));
        assert!(later.contains("ConnectTimeout 1\n"));
    }

    #[test]
    fn rsa_key_signs_with_sha_2() {
        let keys = vec!["ssh-ed25519 AAAA".to_owned(), "ssh-rsa AAAA".to_owned()];
        assert_eq!(signature_algorithms(&keys), "ssh-ed25519,rsa-sha2-512,rsa-sha2-256");
    }
}
