//! One authenticated connection to one host.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use openssh::{OwningCommand, Stdio as RemoteStdio};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::error::AccessError;
use crate::run_dir::{RunDir, SubDir};
use crate::target::Target;

mod claim;
mod connect;
mod go_ahead;
mod probe;
mod ssh_config;

pub use claim::{claim, marks};
use connect::Master;
pub use go_ahead::{SshGoAhead, Uptime};
pub use probe::{Probe, probe};
pub(crate) use ssh_config::write_private;

/// The most a command may write to its standard output, and to its standard error.
pub const OUTPUT_LIMIT: usize = 64 * 1024;

/// Runs `$2`, and ends it when its time is up even though we may be gone by then: closing an SSH
/// channel does not end what runs in it. `timeout` is not POSIX, so it is used where it works.
const WRAPPER: &str = "if timeout -k 1 1 true 2>/dev/null; then exec timeout -k 5 \"$1\" sh -c \"$2\"; fi; \
                       exec sh -c \"$2\"";

/// What [`WRAPPER`] adds to the deadline, so that ours comes first and is the one reported.
const MARGIN: Duration = Duration::from_secs(2);

/// How long a host may take to tell its boot id.
const BOOT_ID_DEADLINE: Duration = Duration::from_secs(10);

/// What `sudo -n` says when it would have to ask, or may not.
const NO_SUDO: &[&str] = &[
    "sudo: a password is required",
    "sudo: no tty present",
    "is not in the sudoers file",
    "is not allowed to execute",
    "may not run sudo",
    "sudo: a terminal is required",
];

/// What a command on a host left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Its exit status; 127 when there is no such command.
    pub status: i32,
    /// Its standard output; what is not UTF-8 is replaced.
    pub stdout: String,
    /// Its standard error, likewise.
    pub stderr: String,
}

/// One authenticated connection to one host, its key pinned.
///
/// Commands share the connection: at most about ten at a time (sshd's `MaxSessions`). Dropping the
/// session ends the connection and removes the key file, as does the end of this process.
#[derive(Debug)]
pub struct SshSession {
    address: String,
    user: String,
    host_keys: Vec<String>,
    remote: openssh::Session,
    // Dropped in this order: the connection first, then the directory with its socket and key.
    master: Master,
    directory: SubDir,
    config: PathBuf,
}

impl SshSession {
    /// Logs in to `target` within `connect_timeout`.
    ///
    /// # Errors
    /// Classified from what `ssh` says: see [`AccessError`].
    pub async fn connect(
        run_dir: &RunDir,
        target: &Target,
        connect_timeout: Duration,
    ) -> Result<Self, AccessError> {
        target.validate().map_err(AccessError::InvalidTarget)?;
        let directory = run_dir.subdirectory()?;
        let config = ssh_config::write(directory.path(), target, connect_timeout)?;
        let master = Master::start(&config, directory.path(), target, connect_timeout).await?;
        let host_keys = ssh_config::pinned(directory.path(), target)?;
        let socket = directory.path().join(crate::run_dir::SOCKET);
        Ok(Self {
            address: target.address.clone(),
            user: target.user.clone(),
            host_keys,
            remote: openssh::Session::resume_mux(socket.into_boxed_path(), None),
            master,
            directory,
            config,
        })
    }

    /// The pinned keys: the target's, or on first use the one this connection was made with.
    pub fn host_keys(&self) -> &[String] {
        &self.host_keys
    }

    /// The host's address.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The user that is logged in.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The `ssh` configuration of this session; the host's name in it is [`SshSession::HOST`].
    pub fn ssh_config(&self) -> &Path {
        &self.config
    }

    /// What the host is called in [`SshSession::ssh_config`]: its address never is an argument.
    pub const HOST: &str = ssh_config::HOST;

    /// Whether the connection still stands.
    pub async fn is_alive(&self) -> bool {
        self.remote.check().await.is_ok()
    }

    /// Runs `sh -c script` on the host.
    ///
    /// # Errors
    /// When the deadline passes, too much is written, or the connection is lost. An exit status
    /// other than 0 is not an error.
    pub async fn run(&self, script: &str, deadline: Duration) -> Result<Output, AccessError> {
        self.run_as(&[], script, deadline).await
    }

    /// Runs `sh -c script` on the host as root: through `sudo -n`, unless the user is root.
    ///
    /// # Errors
    /// As [`SshSession::run`]; and [`AccessError::NoSudo`].
    pub async fn run_privileged(
        &self,
        script: &str,
        deadline: Duration,
    ) -> Result<Output, AccessError> {
        if self.user == "root" {
            return self.run(script, deadline).await;
        }
        let output = self.run_as(&["sudo", "-n", "--"], script, deadline).await?;
        match sudo_problem(&output) {
            Some(detail) => Err(AccessError::NoSudo {
                address: self.address.clone(),
                user: self.user.clone(),
                detail,
            }),
            None => Ok(output),
        }
    }

    /// Why a command that always prints something printed nothing, if its shell is the cause.
    pub(crate) fn shell_problem(&self, output: &Output) -> Option<AccessError> {
        let detail = shell_problem(output)?;
        let (address, user) = (self.address.clone(), self.user.clone());
        Some(AccessError::NoShell { address, user, detail })
    }

    /// Ends the connection and removes its files. Dropping does the same, without waiting.
    pub async fn close(self) {
        let Self { master, directory, .. } = self;
        master.end().await;
        drop(directory);
    }

    async fn run_as(
        &self,
        prefix: &[&str],
        script: &str,
        deadline: Duration,
    ) -> Result<Output, AccessError> {
        let running = self.execute(prefix, script, deadline + MARGIN);
        tokio::time::timeout(deadline, running).await.unwrap_or_else(|_| {
            Err(AccessError::Timeout {
                address: self.address.clone(),
                what: "a command",
                after: deadline,
            })
        })
    }

    /// `sh -c script` behind `prefix`, which ends at the deadline even when the connection is lost before.
    fn command(
        &self,
        prefix: &[&str],
        script: &str,
        remote_deadline: Duration,
    ) -> OwningCommand<&openssh::Session> {
        let seconds = remote_deadline.as_secs().to_string();
        let words = prefix.iter().copied().chain(["sh", "-c", WRAPPER, "sh", &seconds, script]);
        let mut words = words.map(Cow::Borrowed);
        let program = words.next().unwrap_or(Cow::Borrowed("sh"));
        let mut command = self.remote.command(program);
        command.args(words);
        command
    }

    async fn execute(
        &self,
        prefix: &[&str],
        script: &str,
        remote_deadline: Duration,
    ) -> Result<Output, AccessError> {
        let mut child = self
            .command(prefix, script, remote_deadline)
            .stdin(RemoteStdio::null())
            .stdout(RemoteStdio::piped())
            .stderr(RemoteStdio::piped())
            .spawn()
            .await
            .map_err(|error| self.lost(&error))?;
        let (stdout, stderr) = (child.stdout().take(), child.stderr().take());
        let (stdout, stderr) = tokio::try_join!(self.read(stdout), self.read(stderr))?;
        let status = match child.wait().await {
            Ok(status) => status.code().unwrap_or(-1),
            // The crate takes this status for an error of its own.
            Err(openssh::Error::Remote(_)) => 127,
            Err(error) => return Err(self.lost(&error)),
        };
        Ok(Output { status, stdout, stderr })
    }

    /// Everything from a stream, up to the limit: one byte more, and the command is cut off.
    async fn read(&self, stream: Option<impl AsyncRead + Unpin>) -> Result<String, AccessError> {
        let Some(stream) = stream else { return Ok(String::new()) };
        let mut bytes = Vec::new();
        let read = stream.take(OUTPUT_LIMIT as u64 + 1).read_to_end(&mut bytes).await;
        read.map_err(AccessError::io("read the output of a command"))?;
        if bytes.len() > OUTPUT_LIMIT {
            let address = self.address.clone();
            return Err(AccessError::TooMuchOutput { address, limit: OUTPUT_LIMIT });
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn lost(&self, error: &openssh::Error) -> AccessError {
        let address = self.address.clone();
        tracing::debug!(host.address = address, ?error, "a command on a host did not end");
        match error {
            openssh::Error::RemoteProcessTerminated => AccessError::Remote {
                address,
                detail: "the command was ended by a signal, or the connection was lost".to_owned(),
            },
            _ => AccessError::Disconnected { address },
        }
    }
}

/// The boot id of a host: it changes with every boot and with nothing else.
///
/// # Errors
/// When the host cannot be asked, or answers with something else.
pub async fn boot_id(session: &SshSession) -> Result<String, AccessError> {
    let output = session.run(probe::COMMAND, BOOT_ID_DEADLINE).await?;
    let id = output.stdout.trim();
    if output.status == 0 && is_boot_id(id) {
        return Ok(id.to_owned());
    }
    Err(session.shell_problem(&output).unwrap_or_else(|| AccessError::Remote {
        address: session.address.clone(),
        detail: "it does not tell its boot id".to_owned(),
    }))
}

/// A UUID as the kernel writes it.
pub(crate) fn is_boot_id(text: &str) -> bool {
    text.len() == 36 && text.chars().all(|letter| letter.is_ascii_hexdigit() || letter == '-')
}

/// Why `sudo` did not run a command, if that is why it failed.
fn sudo_problem(output: &Output) -> Option<String> {
    let complains = |line: &&str| NO_SUDO.iter().any(|words| line.contains(words));
    match output.status {
        0 => None,
        127 if output.stderr.contains("sudo") => Some("sudo is not installed".to_owned()),
        _ => output.stderr.lines().rev().find(complains).map(crate::error::detail),
    }
}

/// Why a shell ran no command, if so. `nologin` prints a sentence to standard output and ends with 1, `false` prints nothing.
fn shell_problem(output: &Output) -> Option<String> {
    const NOT_AVAILABLE: &str = "account is currently not available";
    let said = output.stdout.trim();
    let is_shell = output.status != 0 && (said.is_empty() || said.contains(NOT_AVAILABLE));
    is_shell.then(|| match said {
        "" if output.stderr.trim().is_empty() => {
            format!("it ended with status {} and printed nothing", output.status)
        }
        "" => crate::error::detail(&output.stderr),
        said => crate::error::detail(said),
    })
}

/// No standard streams: nothing `ssh` or a host says reaches this process's own.
fn silent(command: &mut tokio::process::Command) -> &mut tokio::process::Command {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shell_that_runs_no_commands_is_recognized() {
        let problem = |status, stdout: &str, stderr: &str| {
            let (stdout, stderr) = (stdout.to_owned(), stderr.to_owned());
            shell_problem(&Output { status, stdout, stderr })
        };
        let silent = "it ended with status 1 and printed nothing";
        assert_eq!(problem(1, "", "").as_deref(), Some(silent));
        let nologin = "This account is currently not available.";
        assert_eq!(problem(1, &format!("{nologin}\n"), "").as_deref(), Some(nologin));
        assert_eq!(problem(127, "", "sh: not found\n").as_deref(), Some("sh: not found"));
        assert_eq!(problem(0, "", ""), None);
        assert_eq!(problem(1, "cpus: 2\n", "df: x"), None);
    }

    #[test]
    fn a_missing_sudo_is_told_from_a_failed_command() {
        let output = |status, stderr: &str| Output {
            status,
            stdout: String::new(),
            stderr: stderr.to_owned(),
        };
        for (status, stderr, missing) in [
            (1, "sudo: a password is required\n", true),
            (1, "plain is not in the sudoers file.\n", true),
            (127, "sh: 1: sudo: not found\n", true),
            (127, "sh: 1: dnf: not found\n", false),
            (1, "E: no space\n", false),
            (0, "sudo: a password is required\n", false),
        ] {
            assert_eq!(sudo_problem(&output(status, stderr)).is_some(), missing, "{stderr}");
        }
    }
}
