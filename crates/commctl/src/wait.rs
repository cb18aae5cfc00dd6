//! Waiting for something that goes on at the server, whoever watches.

use std::cell::RefCell;
use std::time::Duration;

use serde_json::Value;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::client::Client;
use crate::error::Error;
use crate::progress::Progress;

const INTERVAL: Duration = Duration::from_millis(500);

/// Something to wait for.
#[derive(Debug)]
pub(crate) struct Wait {
    /// What it is called in messages.
    what: String,
    /// The command that shows how it stands.
    come_back: String,
    pub(crate) timeout: Duration,
    interrupts: Signal,
}

impl Wait {
    /// From now on Ctrl-C ends only the waiting.
    pub(crate) fn new(what: String, come_back: String, timeout: Duration) -> Result<Self, Error> {
        let interrupts = signal(SignalKind::interrupt())
            .map_err(|error| Error::Failed(format!("cannot listen for Ctrl-C: {error}")))?;
        Ok(Self { what, come_back, timeout, interrupts })
    }

    /// Asks at short intervals until `done` says that it has ended, and returns that answer.
    ///
    /// The server may be away meanwhile (it may be among what is being restarted).
    pub(crate) async fn until(
        &mut self,
        client: &Client,
        path: &[&str],
        progress: &Progress,
        mut done: impl FnMut(&Value) -> Result<bool, Error>,
    ) -> Result<Value, Error> {
        let outage = RefCell::new(None);
        let note_outage = |error: Error| {
            let report = error.report();
            if outage.replace(Some(error)).is_none() {
                progress.note(&format!("{report}; still trying"));
            }
        };
        let come_back = self.come_back();
        let asking = async {
            loop {
                tokio::time::sleep(INTERVAL).await;
                match client.poll(path).await {
                    Err(error) if error.is_outage() => note_outage(error),
                    Err(error) if error.is_about_who_asks() => {
                        return Err(error.advise(come_back.clone()));
                    }
                    Err(error) => return Err(error),
                    Ok(answer) => {
                        outage.take();
                        if done(&answer)? {
                            return Ok(answer);
                        }
                    }
                }
            }
        };
        tokio::select! {
            answer = asking => answer,
            () = tokio::time::sleep(self.timeout) => Err(self.timed_out(outage.take())),
            Some(()) = self.interrupts.recv() => Err(self.interrupted()),
        }
    }

    /// Resolves with Ctrl-C.
    pub(crate) async fn interrupt(&mut self) {
        self.interrupts.recv().await;
    }

    pub(crate) fn timed_out(&self, outage: Option<Error>) -> Error {
        let after = humantime::format_duration(self.timeout);
        let error = outage
            .unwrap_or_else(|| Error::Failed(format!("{} has not ended after {after}", self.what)));
        error.advise(self.come_back())
    }

    fn come_back(&self) -> String {
        format!("it goes on; come back with: {}", self.come_back)
    }

    pub(crate) fn interrupted(&self) -> Error {
        Error::Interrupted(format!(
            "no longer waiting: {} goes on; come back with: {}",
            self.what, self.come_back
        ))
    }
}
