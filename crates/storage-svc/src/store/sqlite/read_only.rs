//! Reading a database file that may be in use by another process, without a change to it or to its directory.
//!
//! SQLite makes the side files of a database in WAL mode for readers, too, and a reader that is not the owner would
//! leave them to the server. So a file without side files, which no process uses, is read as one that does not change.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rusqlite::{Connection, OpenFlags};
use tokio::sync::mpsc;

use super::{FORMAT, Sqlite, StoreError, check, connect, opening};

/// How readers use a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// Together with the process that writes: SQLite's locks and side files are used.
    Shared,
    /// As a file that no process changes: without locks, and without side files.
    Immutable,
}

impl Reading {
    /// Shared while there are side files: a process uses the file, or was killed.
    fn of(path: &Path) -> Self {
        let has = |suffix: &str| side_file(path, suffix).exists();
        if has("-wal") || has("-shm") { Self::Shared } else { Self::Immutable }
    }

    pub(super) fn connect(self, path: &Path) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
        match self {
            Self::Shared => connect(path, flags),
            Self::Immutable => {
                connect(Path::new(&immutable_uri(path)), flags | OpenFlags::SQLITE_OPEN_URI)
            }
        }
    }
}

/// Opens an existing file after a check like that of a start; commits fail as those of a store that is closed.
pub(in crate::store) fn open(path: &Path) -> Result<Sqlite, StoreError> {
    let metadata = std::fs::metadata(path);
    metadata.map_err(|e| StoreError::Read { path: path.to_owned(), source: Arc::new(e) })?;
    let reading = Reading::of(path);
    match checked(path, reading) {
        // A server has been started in the meantime, and writes.
        Err(_) if reading == Reading::Immutable && Reading::of(path) == Reading::Shared => {
            opened(path, Reading::Shared)
        }
        Err(error) => Err(error),
        Ok(connection) => Ok(sqlite(path, connection, reading)),
    }
}

fn opened(path: &Path, reading: Reading) -> Result<Sqlite, StoreError> {
    checked(path, reading).map(|connection| sqlite(path, connection, reading))
}

fn checked(path: &Path, reading: Reading) -> Result<Connection, StoreError> {
    let connection = reading.connect(path).map_err(|source| opening(path, source))?;
    check(&connection, path)?;
    let found = connection.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0));
    let found = found.map_err(|source| opening(path, source))?;
    if found > FORMAT {
        return Err(StoreError::Newer { path: path.to_owned(), found, known: FORMAT });
    }
    Ok(connection)
}

fn sqlite(path: &Path, connection: Connection, reading: Reading) -> Sqlite {
    let (writer, _) = mpsc::channel(1);
    let readers = Arc::new(Mutex::new(vec![connection]));
    Sqlite { path: Arc::new(path.to_owned()), writer, readers, reading }
}

fn side_file(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// A URI that names the file to SQLite; `?`, `#` and `%` in its path are escaped.
fn immutable_uri(path: &Path) -> String {
    let path = path.to_string_lossy();
    let path = path.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    format!("file:{path}?immutable=1")
}

#[cfg(test)]
mod tests {
    use super::super::Commit;
    use super::*;

    async fn put(store: &Sqlite, key: &str) {
        let puts = vec![(key.to_owned(), "{}".to_owned())];
        store.commit(Commit { puts, ..Commit::default() }).await.unwrap();
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let name = |entry: std::io::Result<std::fs::DirEntry>| {
            entry.unwrap().file_name().to_string_lossy().into_owned()
        };
        let mut names: Vec<_> = entries.map(name).collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn database_is_read_while_it_is_in_use_and_afterwards_and_no_file_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a%b?c#d.db");
        let writing = Sqlite::open(&path).unwrap();
        put(&writing, "/a").await;
        let during = open(&path).unwrap();
        assert_eq!(during.reading, Reading::Shared);
        put(&writing, "/b").await;
        assert_eq!(during.list("/".to_owned()).await.unwrap().len(), 2);
        drop(during);
        writing.close().await.unwrap();
        drop(writing);
        // The writer's thread closes the file, after which the side files are gone.
        while names(folder.path()).len() > 1 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        let after = open(&path).unwrap();
        assert_eq!(after.reading, Reading::Immutable);
        let keys = ["/a", "/b"].map(str::to_owned).to_vec();
        assert!(after.get(keys).await.unwrap().iter().all(Option::is_some));
        assert_eq!(names(folder.path()), ["a%b?c#d.db"]);
        let refused = after.commit(Commit::default()).await.unwrap_err();
        assert!(format!("{refused:?}").contains("Closed"), "{refused:?}");
    }

    #[test]
    fn missing_and_damaged_files_are_named_and_not_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        assert!(matches!(open(&path), Err(StoreError::Read { .. })));
        assert!(!path.exists());
        std::fs::write(
            &path,
            "this is no database, but text that is long enough to be read as one",
        )
        .unwrap();
        assert!(matches!(open(&path), Err(StoreError::Damaged { .. })));
    }
}
