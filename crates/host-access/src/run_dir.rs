//! The private directory for what must not outlive its owner: keys, control sockets, playbooks.

use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use rustix::process::geteuid;

use crate::error::AccessError;

mod sweep;

/// The control socket's name inside a session's directory.
pub(crate) const SOCKET: &str = "mux";

/// Held, by `flock`, for as long as the owner of a directory lives.
const LOCK: &str = "lock";

/// What is left of a socket address's 108 bytes for the directory, after `/`, a counter, `/mux`,
/// the 17 characters `ssh` appends while it creates a socket, and the final NUL.
const MAX_PATH: usize = 108 - 1 - 17 - 1 - SOCKET.len() - 1 - 10;

/// A private directory `base/<name>-<pid>`, removed when the last handle to it is dropped.
///
/// When its owner is killed it stays behind, with private keys in it: so [`RunDir::create`] first
/// removes what earlier processes left in the same base. Best on a memory file system (`/run`).
#[derive(Debug, Clone)]
pub struct RunDir(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    next: AtomicU64,
    playbooks: OnceLock<PathBuf>,
    /// Not read: the lock on it tells other processes that this directory is in use.
    _lock: File,
}

impl RunDir {
    /// Makes `base/<name>-<pid>`, after sweeping the directories below `base` whose owners died.
    ///
    /// # Errors
    /// When `base` is too long for a control socket, cannot be written, or is not a directory that only the user of this
    /// process can write to: others could read the keys in it, or replace the playbooks.
    pub fn create(base: &Path, name: &str) -> Result<Self, AccessError> {
        let path = base.join(format!("{name}-{}", std::process::id()));
        check_path(&path)
            .map_err(AccessError::io(format!("use {} as run directory", base.display())))?;
        private_dir(base, true)
            .map_err(AccessError::io(format!("use the directory {}", base.display())))?;
        // One at a time: between its creation and its lock a directory would look dead.
        let gate = open_locked(&base.join(".lock"))
            .map_err(AccessError::io(format!("lock the directory {}", base.display())))?;
        sweep::sweep(base, name);
        let lock = private_dir(&path, false)
            .and_then(|()| {
                let lock = File::create(path.join(LOCK))?;
                lock.try_lock()?;
                Ok(lock)
            })
            .map_err(AccessError::io(format!("create the directory {}", path.display())))?;
        drop(gate);
        Ok(Self(Arc::new(Inner {
            path,
            next: AtomicU64::new(0),
            playbooks: OnceLock::new(),
            _lock: lock,
        })))
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// A new private directory inside, for one session or one playbook run.
    pub(crate) fn subdirectory(&self) -> Result<SubDir, AccessError> {
        let number = self.0.next.fetch_add(1, Ordering::Relaxed);
        let path = self.0.path.join(number.to_string());
        private_dir(&path, false)
            .map_err(AccessError::io(format!("create the directory {}", path.display())))?;
        Ok(SubDir { path, _run_dir: self.clone() })
    }

    /// The directory `playbooks` inside, filled by `fill` the first time.
    pub(crate) fn playbooks(
        &self,
        fill: impl FnOnce(&Path) -> io::Result<()>,
    ) -> Result<PathBuf, AccessError> {
        if let Some(path) = self.0.playbooks.get() {
            return Ok(path.clone());
        }
        // Two at once both write: each to a directory of its own, and one of them is kept.
        let number = self.0.next.fetch_add(1, Ordering::Relaxed);
        let path = self.0.path.join(format!("playbooks-{number}"));
        private_dir(&path, false)
            .and_then(|()| fill(&path))
            .map_err(AccessError::io(format!("write the playbooks to {}", path.display())))?;
        Ok(self.0.playbooks.get_or_init(|| path).clone())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        remove_owned(&self.path);
    }
}

/// A private directory inside a [`RunDir`], removed on drop.
#[derive(Debug)]
pub(crate) struct SubDir {
    path: PathBuf,
    /// Keeps the parent, and its lock, for as long as this one is in use.
    _run_dir: RunDir,
}

impl SubDir {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SubDir {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// Its path ends up in `ssh`'s configuration and in an option list that is split at spaces, so
/// it is kept to characters that mean nothing there.
fn check_path(path: &Path) -> io::Result<()> {
    let text = path.to_str().unwrap_or_default();
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-+".contains(letter);
    let problem = if text.len() > MAX_PATH {
        format!(
            "{text} is too long for a control socket: at most {MAX_PATH} bytes, it has {}",
            text.len()
        )
    } else if !path.is_absolute() {
        "it must be an absolute path".to_owned()
    } else if !text.chars().all(plain) {
        "its path may hold only letters, digits and / . _ - +".to_owned()
    } else {
        return Ok(());
    };
    Err(io::Error::new(ErrorKind::InvalidInput, problem))
}

fn private_dir(path: &Path, may_exist: bool) -> io::Result<()> {
    DirBuilder::new().recursive(may_exist).mode(0o700).create(path)?;
    // Without a final slash, behind which a link would be followed.
    let data = fs::symlink_metadata(path.components().as_path())?;
    let (owner, own) = (data.uid(), geteuid().as_raw());
    let problem = if data.is_symlink() {
        "it is a symbolic link: name the directory itself".to_owned()
    } else if owner != own {
        format!(
            "it belongs to the user id {owner}, and this process runs as {own}: run it as that user, change the owner, \
             or choose another directory"
        )
    } else if data.mode() & 0o022 != 0 {
        "it can be written by others: `chmod go-w` it".to_owned()
    } else {
        return Ok(());
    };
    Err(io::Error::new(ErrorKind::PermissionDenied, problem))
}

fn open_locked(path: &Path) -> io::Result<File> {
    let file = File::options().create(true).truncate(false).write(true).open(path)?;
    file.lock()?;
    Ok(file)
}

/// Removes a directory, if it is there.
fn remove(path: &Path) {
    told(path, fs::remove_dir_all(path));
}

/// Removes the directory of an owner, its lock last: while that is there, the next start tries again.
fn remove_owned(path: &Path) {
    let emptied = fs::read_dir(path).and_then(|entries| {
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else if entry.file_name() != LOCK {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    });
    told(path, emptied.and_then(|()| fs::remove_dir_all(path)));
}

fn told(path: &Path, removed: io::Result<()>) {
    if let Err(error) = removed
        && error.kind() != ErrorKind::NotFound
    {
        let error = &error as &dyn std::error::Error;
        tracing::warn!(directory = %path.display(), error, "cannot remove a private directory");
    }
}
