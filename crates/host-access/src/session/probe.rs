//! One log-in and one command, without a connection that stays: what a check of many hosts costs.

use std::path::Path;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;

use super::connect::{LOG, failure};
use super::{is_boot_id, silent, ssh_config};
use crate::error::AccessError;
use crate::local::{self, Group};
use crate::run_dir::RunDir;
use crate::target::Target;

/// More than a boot id has, and all that is read of an answer.
const ANSWER_LIMIT: u64 = 256;

/// Every shell can run it.
pub(super) const COMMAND: &str = "cat /proc/sys/kernel/random/boot_id";

/// The exit status of `ssh` that is not the command's.
const SSH_FAILED: i32 = 255;

/// What a host showed of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Its boot id.
    pub boot_id: String,
    /// The pinned keys: the target's, or on first use the one it showed.
    pub host_keys: Vec<String>,
}

/// Logs in to `target` and asks for its boot id; everything is bound by `timeout`.
///
/// # Errors
/// Classified from what `ssh` says: see [`AccessError`].
pub async fn probe(
    run_dir: &RunDir,
    target: &Target,
    timeout: Duration,
) -> Result<Probe, AccessError> {
    target.validate().map_err(AccessError::InvalidTarget)?;
    let directory = run_dir.subdirectory()?;
    let config = ssh_config::write(directory.path(), target, timeout)?;
    match tokio::time::timeout(timeout, ask(&config, &directory.path().join(LOG))).await {
        Ok(Ok(Some(answer))) => {
            let boot_id = boot_id_in(&answer).ok_or_else(|| AccessError::Remote {
                address: target.address.clone(),
                detail: "it does not tell its boot id".to_owned(),
            })?;
            Ok(Probe { boot_id, host_keys: ssh_config::pinned(directory.path(), target)? })
        }
        Ok(Ok(None)) => Err(failure(&config, directory.path(), target, timeout).await),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(AccessError::Unreachable {
            address: target.address.clone(),
            port: target.port,
            detail: format!("no answer within {timeout:?}"),
        }),
    }
}

/// What the host answers; `None` when `ssh` itself failed.
async fn ask(config: &Path, log: &Path) -> Result<Option<String>, AccessError> {
    let mut command = local::command("ssh");
    command.arg("-F").arg(config).arg("-E").arg(log).args(["-T", "-S", "none"]);
    command.arg(ssh_config::HOST).arg(COMMAND);
    silent(&mut command).stdout(std::process::Stdio::piped());
    let mut group = Group::spawn(&mut command).map_err(AccessError::io("start ssh"))?;
    let mut answer = Vec::new();
    if let Some(stdout) = group.child().stdout.take() {
        let read = stdout.take(ANSWER_LIMIT).read_to_end(&mut answer).await;
        read.map_err(AccessError::io("read what a host answers"))?;
    }
    let status = group.child().wait().await.map_err(AccessError::io("wait for ssh"))?;
    Ok((status.code() != Some(SSH_FAILED)).then(|| String::from_utf8_lossy(&answer).into_owned()))
}

fn boot_id_in(answer: &str) -> Option<String> {
    let id = answer.trim();
    is_boot_id(id).then(|| id.to_owned())
}
