//! Reading files again while the daemon runs, at SIGHUP: which tasks do it, and when all of them have.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use crate::error_text::chain;

/// The tasks that read files again; clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Subscribers(Arc<Mutex<Vec<mpsc::UnboundedSender<Reload>>>>);

/// The requests to read files again, for one task.
#[derive(Debug)]
pub struct Reloads(mpsc::UnboundedReceiver<Reload>);

/// A request to read files again. The reload has ended when all tasks have dropped theirs.
#[derive(Debug, Clone)]
pub struct Reload(mpsc::UnboundedSender<String>);

/// A reload that goes on.
#[derive(Debug)]
pub struct Reloading(mpsc::UnboundedReceiver<String>);

impl Subscribers {
    pub(super) fn subscribe(&self) -> Reloads {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        Reloads(receiver)
    }

    pub(super) fn reload(&self) -> Reloading {
        let (failures, reloading) = mpsc::unbounded_channel();
        let reload = Reload(failures);
        let mut subscribers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A task that has ended takes none, and is forgotten.
        subscribers.retain(|subscriber| subscriber.send(reload.clone()).is_ok());
        Reloading(reloading)
    }
}

impl Reloads {
    /// The next request.
    pub async fn next(&mut self) -> Reload {
        match self.0.recv().await {
            Some(reload) => reload,
            // The daemon has ended.
            None => std::future::pending().await,
        }
    }
}

impl Reload {
    /// Logs that what was read is invalid, so that the former configuration stays in use; `what` says which.
    pub fn failed(&self, what: &str, error: &(dyn std::error::Error + 'static)) {
        let error = chain(error);
        tracing::error!(error, "reload failed: {what}");
        // Fails if the reload is no longer waited for.
        drop(self.0.send(format!("{what}: {error}")));
    }
}

impl Reloading {
    /// Waits until all tasks have read their files again; returns what failed.
    pub async fn ended(mut self) -> Vec<String> {
        let mut failures = Vec::new();
        while let Some(failure) = self.0.recv().await {
            failures.push(failure);
        }
        failures
    }
}
