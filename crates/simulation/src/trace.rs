//! The story of a run: time, actor, event. The same seed gives the same bytes.

use std::sync::{Arc, Mutex, PoisonError};

use model::{Model, Operation, OperationControl, OperationEvent, OperationHost};
use tokio::time::Instant;

/// The story so far; clones share it.
#[derive(Clone)]
pub(crate) struct Trace {
    begun: Instant,
    lines: Arc<Mutex<Lines>>,
}

struct Lines {
    /// Whether lines are kept, or only their digest.
    is_kept: bool,
    text: String,
    digest: u64,
}

impl Lines {
    /// FNV-1a: a digest to compare runs by, without keeping their lines.
    fn digest(&mut self, line: &str) {
        for byte in line.bytes() {
            self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

impl Trace {
    pub(crate) fn new(is_kept: bool) -> Self {
        let lines = Lines { is_kept, text: String::new(), digest: 0xcbf2_9ce4_8422_2325 };
        Self { begun: Instant::now(), lines: Arc::new(Mutex::new(lines)) }
    }

    /// Adds a line.
    pub(crate) fn line(&self, actor: &str, event: &str) {
        let millis = self.begun.elapsed().as_millis();
        let line = format!("{:>9}.{:03} {actor:<14} {event}\n", millis / 1000, millis % 1000);
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.digest(&line);
        if lines.is_kept {
            lines.text.push_str(&line);
        }
    }

    /// Notes a detail that is not part of the story, but is the same for the same seed.
    pub(crate) fn detail(&self, actor: &str, detail: &str) {
        let millis = self.begun.elapsed().as_millis();
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.digest(&format!("{millis} {actor} {detail}"));
    }

    /// Adds a line about a record that matters for the story.
    pub(crate) fn record(&self, key: &str, value: &str) {
        let event = if let Some(id) = key.strip_prefix(OperationEvent::PREFIX) {
            let Ok(OperationEvent { host, step, outcome, detail, .. }) =
                serde_json::from_str(value)
            else {
                return;
            };
            format!("event {id}: {host} {step} {outcome:?} {detail}")
        } else if let Some(id) = key.strip_prefix(OperationHost::PREFIX) {
            let Ok(part) = serde_json::from_str::<OperationHost>(value) else { return };
            let waits = part.waiting_for.map(|reason| format!(", waits: {reason}"));
            format!("host {id} is at {}{}", part.step, waits.unwrap_or_default())
        } else if let Some(id) = key.strip_prefix(OperationControl::PREFIX) {
            let Ok(OperationControl { wanted, by, reason, .. }) = serde_json::from_str(value)
            else {
                return;
            };
            format!("control of {id}: {wanted:?} by {by} {reason}")
        } else if let Some(id) = key.strip_prefix(Operation::PREFIX) {
            let Ok(Operation { kind, cluster, status, reason, .. }) = serde_json::from_str(value)
            else {
                return;
            };
            format!("operation {id}: {kind} of {cluster} is {status:?} {reason}")
        } else {
            return;
        };
        self.line("store", &event);
    }

    /// A number that differs for different stories.
    pub(crate) fn digest(&self) -> u64 {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).digest
    }

    /// The lines, if they are kept.
    pub(crate) fn text(&self) -> String {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).text.clone()
    }
}
