//! The user that the server runs as: whether it can use the files that the configuration names.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The bits of a mode for one class of users.
const READ: u32 = 0o4;
const SEARCH: u32 = 0o1;

/// A user and the groups that it is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct User {
    uid: u32,
    groups: Vec<u32>,
    /// Whether this process is that user.
    is_ours: bool,
}

impl User {
    /// The owner of the data directory, or, where there is none yet, the user of this process.
    pub(super) fn owner_of(data_dir: &Path) -> Self {
        let own = rustix::process::geteuid().as_raw();
        match std::fs::metadata(data_dir) {
            Ok(found) if found.uid() != own => {
                let groups = groups(found.uid()).unwrap_or_else(|| vec![found.gid()]);
                Self { uid: found.uid(), groups, is_ours: false }
            }
            _ => Self { uid: own, groups: Vec::new(), is_ours: true },
        }
    }

    pub(super) fn uid(&self) -> u32 {
        self.uid
    }

    /// Whether this process sees everything that the user may see: it is that user, or root.
    pub(super) fn is_visible(&self) -> bool {
        self.is_ours || rustix::process::geteuid().is_root()
    }

    /// Checks that the user can read a file, or list a directory.
    ///
    /// # Errors
    /// When it does not exist, or a mode on the way to it denies access. Access lists are not read.
    pub(super) fn check_readable(&self, path: &Path) -> io::Result<()> {
        if self.is_ours {
            let is_directory = std::fs::metadata(path)?.is_dir();
            return if is_directory {
                std::fs::read_dir(path).map(drop)
            } else {
                File::open(path).map(drop)
            };
        }
        let path = std::fs::canonicalize(path)?;
        for folder in path.ancestors().skip(1) {
            self.check_mode(folder, SEARCH)?;
        }
        self.check_mode(&path, READ)
    }

    fn check_mode(&self, path: &Path, bit: u32) -> io::Result<()> {
        let found = std::fs::metadata(path)?;
        if self.is_granted(found.mode(), (found.uid(), found.gid()), bit) {
            return Ok(());
        }
        let why = format!(
            "the user id {} has no access to {} (mode {:04o}, user id {}, group id {})",
            self.uid,
            path.display(),
            found.mode() & 0o7777,
            found.uid(),
            found.gid()
        );
        Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
    }

    /// Whether the mode of a file grants that bit.
    fn is_granted(&self, mode: u32, (owner, group): (u32, u32), bit: u32) -> bool {
        let class = if owner == self.uid {
            mode >> 6
        } else if self.groups.contains(&group) {
            mode >> 3
        } else {
            mode
        };
        self.uid == 0 || class & bit != 0
    }
}

/// The groups of a user, as `id` says.
fn groups(uid: u32) -> Option<Vec<u32>> {
    let mut command = Command::new("id");
    command.args(["-G", "--"]).arg(uid.to_string()).stdin(Stdio::null());
    let output = command.output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.split_ascii_whitespace().map(|group| group.parse().ok()).collect()
}

/// The file that a key is read from by the server. A unit of systemd is handed the one in `/etc/credstore`, which a
/// process outside of the unit finds there.
pub(super) fn key_file(name: &str, configured: &Path, data_dir: &Path) -> PathBuf {
    let file = runtime::config::key_file(name, configured);
    let stored = Path::new("/etc/credstore").join(name);
    let is_installed = data_dir == Path::new("/var/lib/commissaire");
    if file == configured && is_installed && stored.exists() { stored } else { file }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_class_of_the_user_decides() {
        let user = User { uid: 998, groups: vec![998, 50], is_ours: false };
        for (mode, owner, expected) in [
            (0o400, (998, 0), true),
            (0o044, (998, 0), false),
            (0o640, (0, 50), true),
            (0o604, (0, 50), false),
            (0o640, (0, 7), false),
            (0o644, (0, 7), true),
        ] {
            assert_eq!(user.is_granted(mode, owner, READ), expected, "{mode:o} {owner:?}");
        }
        let root = User { uid: 0, groups: vec![0], is_ours: false };
        assert!(root.is_granted(0, (998, 998), READ));
    }

    #[test]
    fn a_folder_on_the_way_can_deny_access() {
        let folder = tempfile::tempdir().unwrap();
        let (below, file) = (folder.path().join("a"), folder.path().join("a/file"));
        std::fs::create_dir(&below).unwrap();
        std::fs::write(&file, "").unwrap();
        let mode = |path: &Path, mode| {
            std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
        };
        mode(folder.path(), 0o755);
        mode(&file, 0o644);
        let other = User { uid: 4_000_000, groups: vec![4_000_000], is_ours: false };
        mode(&below, 0o711);
        other.check_readable(&file).unwrap();
        mode(&below, 0o700);
        let error = other.check_readable(&file).unwrap_err().to_string();
        assert!(error.contains("no access to") && error.contains("mode 0700"), "{error}");
        let ours = User { is_ours: true, ..other };
        ours.check_readable(&file).unwrap();
        ours.check_readable(&below).unwrap();
        let missing = ours.check_readable(&folder.path().join("b")).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }
}
