//! The embedded store: one SQLite file, which `sqlite3` can read.
//!
//! One thread writes; commits that wait for it share one flush to disk. Reads have connections of
//! their own: in WAL mode they never wait for the writer.
//!
//! New pages are in `FILE-wal` until a checkpoint copies them into `FILE`. So that a copy of `FILE` alone is
//! not an old or empty database, the service requests a checkpoint every minute, and at its stop
//! [`Sqlite::close`] empties the WAL.

mod copy;
mod read_only;
mod snapshot;

use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, TransactionBehavior, params};
use tokio::sync::{mpsc, oneshot};

use self::read_only::Reading;
pub(super) use self::read_only::open as open_read_only;
use super::{Commit, CommitError, Committed, Entry, StoreError};
pub(super) use snapshot::SqliteSnapshot;

/// The newest format of the file that this version knows. Those of format 1 have the same tables, with records of format 1:
/// programs that know only these must not open the file any more.
const FORMAT: i64 = 2;

const SCHEMA: &str = "
    CREATE TABLE records (key TEXT PRIMARY KEY, value TEXT NOT NULL, revision INTEGER NOT NULL)
        STRICT, WITHOUT ROWID;
    CREATE TABLE revision (latest INTEGER NOT NULL) STRICT;
    INSERT INTO revision VALUES (0);
    PRAGMA user_version = 2;
";

/// Commits that may share one flush.
const BATCH: usize = 64;

/// A read of up to this many keys is done where it is asked for: it takes microseconds, and handing
/// it to another thread takes longer. Anything larger goes to a thread that may block.
const INLINE_KEYS: usize = 16;

type Waiting = (Commit, oneshot::Sender<Result<Committed, CommitError>>);

/// A request to the writer's thread.
#[derive(Debug)]
enum Request {
    Commit(Waiting),
    Checkpoint(Checkpoint, oneshot::Sender<rusqlite::Result<()>>),
}

/// How far a checkpoint goes.
#[derive(Debug, Clone, Copy)]
enum Checkpoint {
    /// Copies what no reader prevents, and waits for none.
    Passive,
    /// Waits for readers and empties the WAL. From then on each commit is in `FILE` before it is acknowledged.
    Last,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Sqlite {
    path: Arc<PathBuf>,
    writer: mpsc::Sender<Request>,
    readers: Arc<Mutex<Vec<Connection>>>,
    reading: Reading,
}

impl Sqlite {
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        // Made by us first: SQLite's side files take over its mode.
        let made = std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path);
        made.map_err(|e| StoreError::Make { path: path.to_owned(), source: Arc::new(e) })?;
        let open = |source| opening(path, source);
        let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(open)?;
        check(&connection, path)?;
        prepare(&mut connection, path)?;

        let (writer, requests) = mpsc::channel(BATCH * 4);
        // A thread and not a task: it lives as long as there is a handle, and ends by itself.
        let builder = std::thread::Builder::new().name("sqlite-writer".to_owned());
        #[expect(clippy::disallowed_methods, reason = "SQLite blocks; `Memory` needs no thread")]
        builder
            .spawn(move || write(connection, requests))
            .map_err(|e| StoreError::Make { path: path.to_owned(), source: Arc::new(e) })?;
        let path = Arc::new(path.to_owned());
        Ok(Self { path, writer, readers: Arc::default(), reading: Reading::Shared })
    }

    pub(super) async fn get(&self, keys: Vec<String>) -> Result<Vec<Option<Entry>>, StoreError> {
        if keys.len() <= INLINE_KEYS {
            return self.read("read records", |connection| get(connection, &keys));
        }
        self.read_elsewhere("read records", move |connection| get(connection, &keys)).await
    }

    pub(super) async fn list(&self, prefix: String) -> Result<Vec<Entry>, StoreError> {
        self.read_elsewhere("list records", move |connection| list(connection, &prefix)).await
    }

    pub(super) async fn commit(&self, commit: Commit) -> Result<Committed, CommitError> {
        let (sender, receiver) = oneshot::channel();
        let closed = |()| CommitError::Store(StoreError::Closed);
        let request = Request::Commit((commit, sender));
        self.writer.send(request).await.map_err(|_| closed(()))?;
        receiver.await.map_err(|_| closed(()))?
    }

    /// Copies what the WAL holds into the database file, as far as no reader prevents that.
    pub(super) async fn checkpoint(&self) -> Result<(), StoreError> {
        self.checkpoint_as(Checkpoint::Passive).await
    }

    /// Empties the WAL, and has every later commit in the database file before it is acknowledged.
    pub(super) async fn close(&self) -> Result<(), StoreError> {
        self.checkpoint_as(Checkpoint::Last).await
    }

    async fn checkpoint_as(&self, kind: Checkpoint) -> Result<(), StoreError> {
        let (sender, receiver) = oneshot::channel();
        let request = Request::Checkpoint(kind, sender);
        self.writer.send(request).await.map_err(|_| StoreError::Closed)?;
        let done = receiver.await.map_err(|_| StoreError::Closed)?;
        let doing = "copy the WAL into the database file";
        done.map_err(|source| StoreError::Sqlite { doing, source: Arc::new(source) })
    }

    /// Whether a database file holds any record. A missing or an empty file is not opened: SQLite would remove
    /// a WAL beside it.
    pub(super) fn holds_records(path: &Path) -> Result<bool, StoreError> {
        match std::fs::metadata(path) {
            Ok(found) if found.len() > 0 => {}
            Ok(_) => return Ok(false),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(source) => {
                return Err(StoreError::Make { path: path.to_owned(), source: Arc::new(source) });
            }
        }
        let failed = |source| opening(path, source);
        let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(failed)?;
        let has_table = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'records')";
        let has_record = "SELECT EXISTS (SELECT 1 FROM records)";
        let is = |sql| connection.query_row(sql, [], |row| row.get::<_, bool>(0)).map_err(failed);
        Ok(is(has_table)? && is(has_record)?)
    }

    /// Writes a consistent copy of the database `from` into the new file `to`.
    pub(super) fn copy(from: &Path, to: &Path) -> Result<(), StoreError> {
        copy::copy(from, to)
    }

    /// The state now: a read transaction on a connection of its own.
    pub(super) async fn snapshot(&self) -> Result<SqliteSnapshot, StoreError> {
        SqliteSnapshot::begin(Arc::clone(&self.path)).await
    }

    fn read<T>(
        &self,
        doing: &'static str,
        query: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let idle = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let failed = |source| StoreError::Sqlite { doing, source: Arc::new(source) };
        let mut connection = match idle {
            Some(connection) => connection,
            None => self.reading.connect(&self.path).map_err(failed)?,
        };
        let result = query(&mut connection).map_err(failed);
        self.readers.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        result
    }

    async fn read_elsewhere<T: Send + 'static>(
        &self,
        doing: &'static str,
        query: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let store = self.clone();
        let reading = tokio::task::spawn_blocking(move || store.read(doing, query));
        reading.await.unwrap_or(Err(StoreError::Closed))
    }
}

fn connect(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    Ok(connection)
}

/// An error of opening or preparing a database: damage is named as such.
fn opening(path: &Path, source: rusqlite::Error) -> StoreError {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    let path = path.to_owned();
    match source.sqlite_error_code() {
        Some(DatabaseCorrupt | NotADatabase) => {
            StoreError::Damaged { path, why: source.to_string() }
        }
        _ => StoreError::Open { path, source: Arc::new(source) },
    }
}

/// Refuses a damaged file before anything is written to it.
fn check(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let found = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
    match found.map_err(|source| opening(path, source))?.as_str() {
        "ok" => Ok(()),
        why => Err(StoreError::Damaged { path: path.to_owned(), why: why.to_owned() }),
    }
}

fn prepare(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let open = |source| opening(path, source);
    let found = (|| {
        connection.pragma_update(None, "journal_mode", "wal")?;
        // An acknowledged write survives a power failure.
        connection.pragma_update(None, "synchronous", "full")?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let found: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        match found {
            0 => transaction.execute_batch(SCHEMA)?,
            1 => transaction.pragma_update(None, "user_version", FORMAT)?,
            _ => {}
        }
        transaction.commit()?;
        Ok(found)
    })()
    .map_err(open)?;
    if found > FORMAT {
        return Err(StoreError::Newer { path: path.to_owned(), found, known: FORMAT });
    }
    Ok(())
}

fn entry(row: &rusqlite::Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry { key: row.get(0)?, value: row.get(1)?, revision: row.get(2)? })
}

fn get(connection: &mut Connection, keys: &[String]) -> rusqlite::Result<Vec<Option<Entry>>> {
    // One key needs no transaction to show one moment.
    let transaction = if keys.len() > 1 { Some(connection.unchecked_transaction()?) } else { None };
    let sql = "SELECT key, value, revision FROM records WHERE key = ?";
    let mut statement = connection.prepare_cached(sql)?;
    let found = keys.iter().map(|key| statement.query_row([key], entry).optional()).collect();
    drop(transaction);
    found
}

fn list(connection: &mut Connection, prefix: &str) -> rusqlite::Result<Vec<Entry>> {
    // Keys compare as bytes, and no UTF-8 text contains 0xFF: this is "begins with" over the index.
    let sql = "SELECT key, value, revision FROM records
               WHERE key >= ?1 AND key < ?1 || char(0x10FFFF) ORDER BY key";
    connection.prepare_cached(sql)?.query_map([prefix], entry)?.collect()
}

/// The writer's thread: ends when the last handle is gone.
fn write(mut connection: Connection, mut requests: mpsc::Receiver<Request>) {
    let (mut next, mut is_closing) = (requests.blocking_recv(), false);
    while let Some(request) = next.take() {
        match request {
            Request::Checkpoint(kind, sender) => {
                is_closing |= matches!(kind, Checkpoint::Last);
                // A caller that is gone does not need the outcome.
                drop(sender.send(checkpoint(&connection, kind)));
            }
            Request::Commit(first) => {
                let mut batch = vec![first];
                while batch.len() < BATCH {
                    match requests.try_recv() {
                        Ok(Request::Commit(waiting)) => batch.push(waiting),
                        Ok(other) => {
                            next = Some(other);
                            break;
                        }
                        Err(_) => break,
                    }
                }
                commit_all(&mut connection, batch, is_closing);
            }
        }
        if next.is_none() {
            next = requests.blocking_recv();
        }
    }
}

/// Carries out commits and answers them; those of a store that is closing are then in the database file.
fn commit_all(connection: &mut Connection, batch: Vec<Waiting>, is_closing: bool) {
    let (work, senders): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
    match apply_all(connection, &work) {
        Ok(results) => {
            if is_closing && let Err(error) = checkpoint(connection, Checkpoint::Last) {
                tracing::warn!(error = %error, "the last changes are in the WAL of the database only");
            }
            for (sender, result) in senders.into_iter().zip(results) {
                // A caller that has gone away does not undo its commit.
                drop(sender.send(result));
            }
        }
        Err(error) => {
            let source = Arc::new(error);
            for sender in senders {
                let source = Arc::clone(&source);
                let failed = match source.sqlite_error_code() {
                    Some(rusqlite::ErrorCode::DiskFull) => StoreError::DiskFull(source),
                    _ => StoreError::Sqlite { doing: "write records", source },
                };
                drop(sender.send(Err(CommitError::Store(failed))));
            }
        }
    }
}

fn checkpoint(connection: &Connection, kind: Checkpoint) -> rusqlite::Result<()> {
    let mode = match kind {
        Checkpoint::Passive => "PRAGMA wal_checkpoint(PASSIVE)",
        Checkpoint::Last => "PRAGMA wal_checkpoint(TRUNCATE)",
    };
    let is_busy = connection.query_row(mode, [], |row| row.get::<_, bool>(0))?;
    if is_busy {
        tracing::debug!("a reader kept a part of the WAL out of the database file");
    }
    Ok(())
}

/// Carries out several commits in one database transaction. A commit that fails a check changes
/// nothing, so the others are not concerned; a failure of the database undoes them all.
fn apply_all(
    connection: &mut Connection,
    commits: &[Commit],
) -> rusqlite::Result<Vec<Result<Committed, CommitError>>> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let applied = commits.iter().map(|commit| apply(&transaction, commit));
    // Of a full disk SQLite has undone the transaction already: there is nothing left to commit.
    let results = applied.collect::<rusqlite::Result<_>>()?;
    transaction.commit()?;
    Ok(results)
}

fn apply(
    connection: &Connection,
    commit: &Commit,
) -> rusqlite::Result<Result<Committed, CommitError>> {
    let mut current = connection.prepare_cached("SELECT revision FROM records WHERE key = ?")?;
    let mut revision_of =
        |key: &String| current.query_row([key], |row| row.get::<_, u64>(0)).optional();
    for (index, (key, expected)) in commit.checks.iter().enumerate() {
        if revision_of(key)? != *expected {
            return Ok(Err(CommitError::Stale(index)));
        }
    }
    let mut next =
        connection.prepare_cached("UPDATE revision SET latest = latest + 1 RETURNING latest")?;
    let revision: u64 = next.query_row([], |row| row.get(0))?;
    let mut put = connection.prepare_cached("REPLACE INTO records VALUES (?, ?, ?)")?;
    let mut value_of = connection.prepare_cached("SELECT value FROM records WHERE key = ?")?;
    let mut replaced = Vec::with_capacity(commit.puts.len());
    let mut unchanged = Vec::with_capacity(commit.puts.len());
    for (key, value) in &commit.puts {
        let before = value_of.query_row([key], |row| row.get::<_, String>(0)).optional()?;
        replaced.push(before.is_some());
        unchanged.push(before.as_ref() == Some(value));
        put.execute(params![key, value, revision])?;
    }
    let mut delete = connection.prepare_cached("DELETE FROM records WHERE key = ?")?;
    let deleted = commit.deletes.iter().map(|key| Ok(delete.execute([key])? > 0));
    let deleted = deleted.collect::<rusqlite::Result<_>>()?;
    Ok(Ok(Committed { revision, replaced, unchanged, deleted }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SQLite reports its own limit of a file exactly as a full disk.
    #[test]
    fn a_full_disk_is_named_and_reads_go_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        let mut connection = Connection::open(&path).unwrap();
        prepare(&mut connection, &path).unwrap();
        connection.query_row("PRAGMA max_page_count = 8", [], |_| Ok(())).unwrap();
        let mut put = |key: &str, bytes: usize| {
            let puts = vec![(key.to_owned(), "x".repeat(bytes))];
            let (sender, mut receiver) = oneshot::channel();
            let commit = Commit { puts, ..Commit::default() };
            commit_all(&mut connection, vec![(commit, sender)], false);
            receiver.try_recv().unwrap()
        };
        put("/a", 10).unwrap();
        let Err(CommitError::Store(error)) = put("/b", 100_000) else { panic!("it fits") };
        assert!(matches!(error, StoreError::DiskFull(_)), "{error:?}");
        assert!(error.to_string().contains("Free some space"), "{error}");
        let found = get(&mut connection, &["/a".to_owned(), "/b".to_owned()]).unwrap();
        assert!(found[0].is_some() && found[1].is_none());
    }
}
