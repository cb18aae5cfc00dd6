//! The state of a database at one moment: a read transaction. While it lasts, the WAL keeps what is written.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, OpenFlags, params};

use super::{Entry, StoreError, connect, entry, opening};
use crate::store::snapshot::PAGE;

/// See the module.
#[derive(Debug)]
pub(in crate::store) struct SqliteSnapshot {
    connection: Arc<Mutex<Connection>>,
    revision: u64,
}

impl SqliteSnapshot {
    pub(super) async fn begin(path: Arc<PathBuf>) -> Result<Self, StoreError> {
        let begin = move || {
            let failed = |source| opening(&path, source);
            let connection = connect(&path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(failed)?;
            connection.execute_batch("BEGIN").map_err(failed)?;
            // The first read decides which moment it is.
            let sql = "SELECT latest FROM revision";
            let revision = connection.query_row(sql, [], |row| row.get(0)).map_err(failed)?;
            Ok(Self { connection: Arc::new(Mutex::new(connection)), revision })
        };
        tokio::task::spawn_blocking(begin).await.unwrap_or(Err(StoreError::Closed))
    }

    pub(in crate::store) fn revision(&self) -> u64 {
        self.revision
    }

    pub(in crate::store) async fn page(&self, after: String) -> Result<Vec<Entry>, StoreError> {
        let sql = "SELECT key, value, revision FROM records WHERE key > ?1 ORDER BY key LIMIT ?2";
        self.read(sql, after, entry).await
    }

    pub(in crate::store) async fn keys(&self, after: String) -> Result<Vec<String>, StoreError> {
        let sql = "SELECT key FROM records WHERE key > ?1 ORDER BY key LIMIT ?2";
        self.read(sql, after, |row| row.get(0)).await
    }

    async fn read<T: Send + 'static>(
        &self,
        sql: &'static str,
        after: String,
        of_row: fn(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        let connection = Arc::clone(&self.connection);
        let read = move || {
            let connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            let mut statement = connection.prepare_cached(sql)?;
            statement.query_map(params![after, PAGE], of_row)?.collect::<rusqlite::Result<_>>()
        };
        let read = tokio::task::spawn_blocking(read).await;
        let read = read.map_err(|_| StoreError::Closed)?;
        read.map_err(|source| StoreError::Sqlite {
            doing: "read records",
            source: Arc::new(source),
        })
    }
}
