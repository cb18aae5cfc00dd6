//! The file of the audit log, and the thread that writes it: many lines at a time, on the disk before
//! anybody is told.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use tokio::sync::oneshot;

/// Says whether a line is on the disk.
pub(super) type Written = oneshot::Receiver<bool>;

/// A handle on the thread, which ends when the last one is gone.
#[derive(Debug)]
pub(super) struct Writer {
    orders: Sender<Order>,
    failing: Arc<AtomicBool>,
}

#[derive(Debug)]
enum Order {
    Write(String, oneshot::Sender<bool>),
    Reopen(oneshot::Sender<std::io::Result<()>>),
}

impl Writer {
    pub(super) fn open(path: &Path) -> std::io::Result<Self> {
        let (orders, inbox) = channel();
        let failing = Arc::new(AtomicBool::new(false));
        let log = Log {
            path: path.to_owned(),
            file: open(path)?,
            unwritten: Vec::new(),
            failing: Arc::clone(&failing),
        };
        let thread = std::thread::Builder::new().name("audit".to_owned());
        #[expect(
            clippy::disallowed_methods,
            reason = "the disk blocks; without a file there is no thread"
        )]
        thread.spawn(move || log.serve(&inbox))?;
        Ok(Self { orders, failing })
    }

    /// Whether lines can be written; where the last one could not, it is tried again.
    pub(super) async fn is_well(&self) -> bool {
        !self.failing.load(Ordering::Acquire) || self.write(String::new()).await.unwrap_or(false)
    }

    /// Appends a line; none when it is empty, but what waits is tried again.
    pub(super) fn write(&self, line: String) -> Written {
        let (sender, written) = oneshot::channel();
        // A thread that is gone drops the sender, and that says no, too.
        drop(self.orders.send(Order::Write(line, sender)));
        written
    }

    pub(super) async fn reopen(&self) -> std::io::Result<()> {
        let (sender, reopened) = oneshot::channel();
        drop(self.orders.send(Order::Reopen(sender)));
        let ended = |_| std::io::Error::other("the thread that writes the audit log has ended");
        reopened.await.map_err(ended)?
    }
}

fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// What the thread has.
struct Log {
    path: PathBuf,
    file: File,
    /// Whole lines, but that a disk that was full may have taken the beginning of the first.
    unwritten: Vec<u8>,
    failing: Arc<AtomicBool>,
}

impl Log {
    fn serve(mut self, inbox: &Receiver<Order>) {
        while let Ok(first) = inbox.recv() {
            let mut waiting = Vec::new();
            for order in std::iter::once(first).chain(inbox.try_iter()) {
                match order {
                    Order::Reopen(sender) => {
                        // Fails if the reload is no longer waited for.
                        drop(sender.send(self.reopen()));
                    }
                    Order::Write(line, sender) => {
                        if !line.is_empty() {
                            self.unwritten.extend_from_slice(line.as_bytes());
                            self.unwritten.push(b'\n');
                        }
                        waiting.push(sender);
                    }
                }
            }
            let written = self.flush();
            for sender in waiting {
                // Whoever has hung up does not wait.
                let _ = sender.send(written);
            }
        }
    }

    fn reopen(&mut self) -> std::io::Result<()> {
        let named = |error: std::io::Error| {
            let what = format!("cannot open {}: {error}", self.path.display());
            std::io::Error::new(error.kind(), what)
        };
        self.file = open(&self.path).map_err(named)?;
        Ok(())
    }

    fn flush(&mut self) -> bool {
        let result = self.append();
        let was_failing = self.failing.swap(result.is_err(), Ordering::AcqRel);
        let path = self.path.display();
        match result {
            Err(error) if !was_failing => {
                tracing::error!(%path, %error, "the audit log cannot be written: changes are refused");
            }
            Ok(()) if was_failing => tracing::info!(%path, "the audit log is written again"),
            _ => {}
        }
        !self.failing.load(Ordering::Acquire)
    }

    fn append(&mut self) -> std::io::Result<()> {
        let mut done = 0;
        let appended = loop {
            if done == self.unwritten.len() {
                break Ok(());
            }
            match self.file.write(&self.unwritten[done..]) {
                Ok(0) => break Err(ErrorKind::WriteZero.into()),
                Ok(count) => done += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        let synced = match self.file.sync_data() {
            // What is no file on a disk, as /dev/stderr, cannot be synced.
            Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(()),
            synced => synced,
        };
        // Lines of which nobody knows whether the disk has them are written again: twice is better.
        synced?;
        self.unwritten.drain(..done);
        appended
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn lines(path: &Path) -> Vec<String> {
        std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
    }

    #[tokio::test]
    async fn lines_are_appended_to_a_file_that_only_its_owner_reads() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        for line in ["one", "two"] {
            let writer = Writer::open(&path).unwrap();
            assert!(writer.write(line.to_owned()).await.unwrap());
        }
        assert_eq!(lines(&path), ["one", "two"]);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[tokio::test]
    async fn a_log_that_was_moved_away_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (path, old) = (folder.path().join("audit.log"), folder.path().join("audit.log.1"));
        let writer = Writer::open(&path).unwrap();
        assert!(writer.write("one".to_owned()).await.unwrap());
        std::fs::rename(&path, &old).unwrap();
        assert!(writer.write("two".to_owned()).await.unwrap());
        writer.reopen().await.unwrap();
        assert!(writer.write("three".to_owned()).await.unwrap());
        assert_eq!(
            (lines(&old), lines(&path)),
            (vec!["one".into(), "two".into()], vec!["three".into()])
        );
    }

    #[tokio::test]
    async fn a_full_disk_is_noticed_and_no_line_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("file"), folder.path().join("audit.log"));
        symlink("/dev/full", &link).unwrap();
        let writer = Writer::open(&link).unwrap();
        assert!(writer.is_well().await);
        assert!(!writer.write("one".to_owned()).await.unwrap());
        assert!(!writer.is_well().await);
        std::fs::remove_file(&link).unwrap();
        symlink(&path, &link).unwrap();
        writer.reopen().await.unwrap();
        assert!(writer.is_well().await);
        assert!(writer.write("two".to_owned()).await.unwrap());
        assert_eq!(lines(&path), ["one", "two"]);
    }
}
