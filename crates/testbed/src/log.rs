//! What this thread logs, for tests.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::level_filters::LevelFilter;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;

/// The lines that this thread logs from [`Self::capture`] on, until it is dropped: the level, spans, message and fields,
/// as in the journal.
#[derive(Debug)]
pub struct Log {
    text: Text,
    _guard: DefaultGuard,
}

/// A text that log lines are written into; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Text(Arc<Mutex<Vec<u8>>>);

impl Text {
    /// All of it.
    pub fn get(&self) -> String {
        let text = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&text).into_owned()
    }
}

impl Log {
    /// Begins with nothing.
    pub fn capture() -> Self {
        Self::capture_from(LevelFilter::DEBUG)
    }

    /// The same for a test that logs much, without what is below this level.
    pub fn capture_from(level: LevelFilter) -> Self {
        let text = Text::default();
        let writer = text.clone();
        let layer = tracing_subscriber::fmt::layer().with_writer(move || writer.clone());
        let layer = layer.with_ansi(false).with_target(false).without_time();
        // As in a daemon: what matters of it, the bus logs.
        let without_lapin = filter_fn(|metadata| !metadata.target().starts_with("lapin"));
        let subscriber = tracing_subscriber::registry().with(level).with(without_lapin).with(layer);
        Self { text, _guard: tracing::subscriber::set_default(subscriber) }
    }

    /// All of it.
    pub fn text(&self) -> String {
        self.text.get()
    }

    /// The lines so far.
    pub fn lines(&self) -> Vec<String> {
        self.text().lines().map(str::to_owned).collect()
    }

    /// The lines so far that are there without `--debug`.
    pub fn from_info(&self) -> Vec<String> {
        let mut lines = self.lines();
        lines.retain(|line| !line.starts_with("DEBUG"));
        lines
    }

    /// The warnings and errors so far.
    pub fn from_warn(&self) -> Vec<String> {
        let mut lines = self.from_info();
        lines.retain(|line| !line.starts_with(" INFO"));
        lines
    }
}

impl Write for Text {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
