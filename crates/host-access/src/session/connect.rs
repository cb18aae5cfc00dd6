//! Starting the `ssh` process that holds the connection.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;

use super::silent;
use super::ssh_config::{HOST, seen_keys};
use crate::error::{AccessError, Subject, classify};
use crate::local::{self, Group};
use crate::run_dir::SOCKET;
use crate::target::Target;
use model::host_keys::fingerprint;

/// What `ssh` logs here is chosen in part by the host, so only so much is read.
const LOG_LIMIT: u64 = 16 * 1024;

/// Its name in a session's directory.
pub(super) const LOG: &str = "log";

/// The `ssh` process that holds the connection; commands reach it through its control socket.
///
/// It stays our child in the foreground rather than going to the background as is usual: then it
/// cannot outlive us, and its end is known.
#[derive(Debug)]
pub(crate) struct Master(Group);

impl Master {
    /// Logs in. Everything, from the first packet to the log-in, is bound by `connect_timeout`.
    pub(crate) async fn start(
        config: &Path,
        directory: &Path,
        target: &Target,
        connect_timeout: Duration,
    ) -> Result<Self, AccessError> {
        let mut command = local::command("ssh");
        command
            .arg("-F")
            .arg(config)
            .arg("-E")
            .arg(directory.join(LOG))
            .args(["-M", "-N", "-T", "-S"]);
        command.arg(directory.join(SOCKET));
        // `ssh` runs this once it is logged in and listens: no need to poll for the socket.
        command.args(["-o", "PermitLocalCommand=yes", "-o", "LocalCommand=echo ready", HOST]);
        silent(&mut command).stdout(Stdio::piped());
        let mut group = Group::spawn(&mut command).map_err(AccessError::io("start ssh"))?;
        match tokio::time::timeout(connect_timeout, is_ready(&mut group)).await {
            Ok(Ok(true)) => Ok(Self(group)),
            Ok(Ok(false)) => Err(failure(config, directory, target, connect_timeout).await),
            Ok(Err(error)) => Err(AccessError::io("read what ssh says")(error)),
            Err(_) => Err(AccessError::Unreachable {
                address: target.address.clone(),
                port: target.port,
                detail: format!("no log-in within {connect_timeout:?}"),
            }),
        }
    }

    /// Ends the connection and waits for that.
    pub(crate) async fn end(self) {
        self.0.end().await;
    }
}

/// Why `ssh` has ended without a log-in, from what it logged.
pub(super) async fn failure(
    config: &Path,
    directory: &Path,
    target: &Target,
    connect_timeout: Duration,
) -> AccessError {
    let subject = Subject {
        address: &target.address,
        port: target.port,
        user: &target.user,
        host_keys: &target.host_keys,
    };
    match read_log(&directory.join(LOG)) {
        Ok(text) => look_again(classify(subject, &text), config, directory, connect_timeout).await,
        Err(error) => AccessError::io("read what ssh logged")(error),
    }
}

/// Waits for the word from `LocalCommand`; false when `ssh` ended without it.
async fn is_ready(group: &mut Group) -> std::io::Result<bool> {
    let Some(stdout) = group.child().stdout.as_mut() else { return Ok(false) };
    Ok(stdout.read_u8().await.is_ok())
}

fn read_log(path: &Path) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(LOG_LIMIT).read_to_end(&mut bytes)?,
        // It ended before it logged anything.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// `ssh` does not tell the key of a host that has changed it, and when only the types differ not even
/// its fingerprint: a second look, which authenticates nobody, finds both.
async fn look_again(
    error: AccessError,
    config: &Path,
    directory: &Path,
    connect_timeout: Duration,
) -> AccessError {
    let AccessError::KeyChanged { address, pinned_fingerprints, seen_fingerprint, .. } = error
    else {
        return error;
    };
    let seen_key = look(config, directory, connect_timeout).await;
    let seen_fingerprint = seen_key.as_deref().and_then(fingerprint).unwrap_or(seen_fingerprint);
    AccessError::KeyChanged { address, pinned_fingerprints, seen_fingerprint, seen_key }
}

async fn look(config: &Path, directory: &Path, connect_timeout: Duration) -> Option<String> {
    let known_hosts = directory.join("seen");
    let mut command = local::command("ssh");
    command.arg("-F").arg(config).args(["-N", "-T"]);
    for option in [
        "StrictHostKeyChecking=accept-new",
        "HostKeyAlgorithms=+ssh-ed25519",
        "PubkeyAuthentication=no",
        "IdentityFile=none",
        "ControlPath=none",
        &format!("UserKnownHostsFile={}", known_hosts.display()),
    ] {
        command.arg("-o").arg(option);
    }
    let mut group = Group::spawn(silent(command.arg(HOST))).ok()?;
    let ended = tokio::time::timeout(connect_timeout, group.child().wait()).await;
    tracing::debug!(?ended, "looked at a changed host key");
    seen_keys(&known_hosts).ok()?.into_iter().next()
}
