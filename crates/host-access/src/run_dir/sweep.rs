//! What killed processes left behind: playbooks, `ssh` masters, directories with keys in them.

use std::fs::{self, DirEntry, File};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, geteuid, pidfd_open, pidfd_send_signal};

use super::{LOCK, SOCKET, remove_owned};
use crate::playbook::HOME_VARIABLE;

/// How long the playbooks of a dead process may take to end once they are killed.
const PATIENCE: Duration = Duration::from_secs(5);

/// Removes the directories below `base` whose owners died; of those without a lock only what is called
/// as an owner of this `name`. The gate is held: none is being made.
pub(super) fn sweep(base: &Path, name: &str) {
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        if !is_dead(&entry, name) {
            continue;
        }
        let path = entry.path();
        tracing::info!(directory = %path.display(), "removing what a dead process left behind");
        end_masters(&path);
        // The keys have to go in any case.
        if let Err(error) = end_playbooks(&path) {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(directory = %path.display(), error, "cannot end left-over playbooks");
        }
        remove_owned(&path);
    }
}

/// Whether it is one of ours, and nobody holds its lock; that may be gone already where a removal was
/// cut off, or where a left-over playbook made the directory anew.
fn is_dead(entry: &DirEntry, name: &str) -> bool {
    if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
        return false;
    }
    match File::open(entry.path().join(LOCK)) {
        Ok(lock) => lock.try_lock().is_ok(),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let is_mine = |data: fs::Metadata| data.uid() == geteuid().as_raw();
            is_owner(entry.file_name().as_bytes(), name) && entry.metadata().is_ok_and(is_mine)
        }
        Err(_) => false,
    }
}

/// Whether it is this name and a process id, as [`super::RunDir::create`] puts them together.
fn is_owner(directory: &[u8], name: &str) -> bool {
    let pid = directory.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"-"));
    pid.is_some_and(|pid| !pid.is_empty() && pid.iter().all(u8::is_ascii_digit))
}

/// Kills the playbooks of a dead process, and waits for their end.
///
/// `ansible-playbook` itself died with it; its workers did not, and would go on with the host, and in
/// this directory.
fn end_playbooks(dead: &Path) -> io::Result<()> {
    let deadline = now() + PATIENCE;
    let mark = [HOME_VARIABLE.as_bytes(), b"=", dead.as_os_str().as_bytes(), b"/"].concat();
    // Again until there is none: one may have started another meanwhile.
    loop {
        let found = playbooks(&mark)?;
        if found.is_empty() {
            return Ok(());
        }
        for process in &found {
            // It fails when the process has just ended, which is what is wanted.
            let _ = pidfd_send_signal(process, Signal::KILL);
        }
        for process in &found {
            wait(process, deadline)?;
        }
    }
}

/// The processes whose environment has a variable that begins with `mark`.
fn playbooks(mark: &[u8]) -> io::Result<Vec<OwnedFd>> {
    let is_marked = |environment: &Path| {
        let text = fs::read(environment).unwrap_or_default();
        text.split(|byte| *byte == 0).any(|variable| variable.starts_with(mark))
    };
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let Some(pid) = pid.and_then(Pid::from_raw) else { continue };
        let environment = entry.path().join("environ");
        if !is_marked(&environment) {
            continue;
        }
        match pidfd_open(pid, PidfdFlags::empty()) {
            // Since we looked, the number may have become somebody else's.
            Ok(process) if is_marked(&environment) => found.push(process),
            Ok(_) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(found)
}

#[expect(clippy::disallowed_methods, reason = "it blocks its thread, before the services start")]
fn now() -> Instant {
    Instant::now()
}

/// Waits for the end of a process.
fn wait(process: &OwnedFd, deadline: Instant) -> io::Result<()> {
    let left = deadline.saturating_duration_since(now());
    let left = Timespec::try_from(left).map_err(io::Error::other)?;
    let mut ended = [PollFd::from_borrowed_fd(process.as_fd(), PollFlags::IN)];
    match poll(&mut ended, Some(&left))? {
        0 => Err(io::Error::new(ErrorKind::TimedOut, "a killed process does not end")),
        _ => Ok(()),
    }
}

/// Tells the `ssh` masters of a dead process to exit: normally they died with it.
fn end_masters(dead: &Path) {
    for session in fs::read_dir(dead).into_iter().flatten().flatten() {
        let socket = session.path().join(SOCKET);
        if socket.exists() {
            // A master that hangs must not hang its successor.
            let asked = Command::new("timeout")
                .args(["2", "ssh", "-F", "none", "-O", "exit", "-S"])
                .arg(&socket)
                .arg("target")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            tracing::debug!(socket = %socket.display(), ?asked, "told a left-over ssh master to exit");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_owner;

    #[test]
    fn names_end_with_a_process_id() {
        for (directory, owned) in [
            ("investigator-17", true),
            ("investigator", false),
            ("investigator-", false),
            ("investigator-17a", false),
            ("investigator-x-17", false),
            ("watcher-17", false),
        ] {
            assert_eq!(is_owner(directory.as_bytes(), "investigator"), owned, "{directory}");
        }
    }
}
