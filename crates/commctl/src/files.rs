//! Files that the operator names, and why they cannot be read or written.

use std::fs::{DirBuilder, File};
use std::io::{self, ErrorKind, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
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
    PrivateFile::reserve(path, 0)?.write(text)
}

/// A file that will replace another one, and that only its owner can read. It is deleted unless it is written.
#[derive(Debug)]
pub(crate) struct PrivateFile {
    file: NamedTempFile,
    path: PathBuf,
}

impl PrivateFile {
    /// Creates it beside the file that it will replace, and allocates this number of bytes on the disk.
    pub(crate) fn reserve(path: &Path, size: usize) -> Result<Self, WriteError> {
        let create = || {
            let mut file = NamedTempFile::new_in(directory_of(path))?;
            if size > 0 {
                file.write_all(&vec![b'\n'; size])?;
                file.as_file().sync_all()?;
            }
            Ok(file)
        };
        let file = create().map_err(|source| WriteError { path: path.to_owned(), source })?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// Writes the text and replaces the file.
    pub(crate) fn write(self, text: &str) -> Result<(), WriteError> {
        let Self { mut file, path } = self;
        let write = || {
            file.rewind()?;
            file.write_all(text.as_bytes())?;
            let size = file.stream_position()?;
            file.as_file().set_len(size)?;
            file.as_file().sync_all()?;
            file.persist(&path)?;
            // The new name survives a power failure, too.
            File::open(directory_of(&path))?.sync_all()
        };
        write().map_err(|source| WriteError { path, source })
    }
}

/// Deletes a file. Returns whether it existed.
pub(crate) fn delete_file(path: &Path) -> Result<bool, WriteError> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if is_missing(&error) => Ok(false),
        Err(source) => Err(WriteError { path: path.to_owned(), source }),
    }
}

/// Creates a directory that only its owner can access, unless it exists.
pub(crate) fn make_private_directory(path: &Path) -> Result<(), WriteError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(source) if source.kind() != ErrorKind::AlreadyExists => {
            Err(WriteError { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

/// Whether an error means that there is no such file: also if its directory is a file.
pub(crate) fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// Whether a directory belongs to this user, and no one else can access it.
pub(crate) fn is_private(directory: &Path) -> bool {
    std::fs::symlink_metadata(directory).is_ok_and(|metadata| {
        metadata.is_dir()
            && metadata.mode() & 0o777 == 0o700
            && metadata.uid() == rustix::process::geteuid().as_raw()
    })
}
