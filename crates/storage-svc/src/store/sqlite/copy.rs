//! A consistent copy of a database that may be in use by another process.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use runtime::random;
use rusqlite::OpenFlags;

use super::{StoreError, check, connect, opening};

/// Copies `from` into `to`, which must not exist. The copy is written under another name and linked when it is
/// complete and on disk, so that `to` is a whole database or does not exist. Its mode is 0600.
pub(super) fn copy(from: &Path, to: &Path) -> Result<(), StoreError> {
    if to.try_exists().map_err(|source| failed(to, source))? {
        return Err(failed(to, std::io::Error::from(std::io::ErrorKind::AlreadyExists)));
    }
    let temporary = to.with_extension(format!("new-{:016x}", u64::from_be_bytes(random::bytes())));
    let mut options = OpenOptions::new();
    let made = options.write(true).create_new(true).mode(0o600).open(&temporary);
    made.map_err(|source| failed(to, source))?;
    let copied = snapshot(from, &temporary)
        .and_then(|()| publish(&temporary, to).map_err(|source| failed(to, source)));
    let removed = std::fs::remove_file(&temporary).map_err(|source| failed(&temporary, source));
    copied.and(removed)
}

/// One read transaction over the whole database; the process that uses it goes on writing.
fn snapshot(from: &Path, to: &Path) -> Result<(), StoreError> {
    let open = |source| opening(from, source);
    let connection = connect(from, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(open)?;
    check(&connection, from)?;
    connection.execute("VACUUM INTO ?1", [to.to_string_lossy()]).map_err(open)?;
    Ok(())
}

/// Unlike a rename, a link never replaces an existing file.
fn publish(temporary: &Path, to: &Path) -> std::io::Result<()> {
    File::open(temporary)?.sync_all()?;
    std::fs::hard_link(temporary, to)?;
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

fn failed(path: &Path, source: std::io::Error) -> StoreError {
    StoreError::Make { path: path.to_owned(), source: Arc::new(source) }
}
