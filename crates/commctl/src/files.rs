//! Files that the operator names, and why they cannot be read or written.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// A file, or standard input, cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {}", .path.display())]
pub(crate) struct ReadError {
    pub(crate) path: PathBuf,
    pub(crate) source: io::Error,
}

/// A file or directory cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to {}", .path.display())]
pub(crate) struct WriteError {
    pub(crate) path: PathBuf,
    pub(crate) source: io::Error,
}

/// Reads a file that holds text.
pub(crate) fn read_text(path: &Path) -> Result<String, ReadError> {
    std::fs::read_to_string(path).map_err(|source| ReadError { path: path.to_owned(), source })
}

/// The directory that a file is in.
pub(crate) fn directory_of(path: &Path) -> &Path {
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
    directory.unwrap_or(Path::new("."))
}

/// Writes a file that only its owner can read: whole, or not at all.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<(), WriteError> {
    let folder = directory_of(path);
    let write = || {
        let mut file = NamedTempFile::new_in(folder)?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        // The new name survives a power failure, too.
        File::open(folder)?.sync_all()
    };
    write().map_err(|source| WriteError { path: path.to_owned(), source })
}

/// Whether a directory belongs to this user, and no one else can access it.
pub(crate) fn is_private(directory: &Path) -> bool {
    std::fs::symlink_metadata(directory).is_ok_and(|metadata| {
        metadata.is_dir()
            && metadata.mode() & 0o777 == 0o700
            && metadata.uid() == rustix::process::geteuid().as_raw()
    })
}
