//! An operation as it happens: its events, host by host, until it has ended, through restarts of the server.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::time::Duration;

use serde_json::Value;

use crate::client::events::{EventId, Said};
use crate::client::{After, Client};
use crate::error::Error;
use crate::progress::{Progress, Step};
use crate::text::printable;
use crate::wait::Wait;

/// The pause before a stream is taken up again.
const AGAIN: Duration = Duration::from_millis(500);

/// The events of an operation, each once, across streams that break.
#[derive(Debug)]
pub(crate) struct Tail<'a> {
    client: &'a Client,
    id: &'a str,
    /// The number of the event after which it begins.
    after: u64,
    /// The event that came last.
    seen: Cell<Option<EventId>>,
    /// Why the server cannot be asked at the moment.
    outage: RefCell<Option<Error>>,
}

impl<'a> Tail<'a> {
    pub(crate) fn new(client: &'a Client, id: &'a str, after: u64) -> Self {
        Self { client, id, after, seen: Cell::default(), outage: RefCell::default() }
    }

    /// Passes the events on until the operation has ended. `note` is told once of each outage.
    pub(crate) async fn follow(
        &self,
        mut event: impl FnMut(&Value) -> Result<(), Error>,
        note: impl Fn(&str),
    ) -> Result<(), Error> {
        loop {
            match self.stream(&mut event).await {
                Ok(true) => return Ok(()),
                // Told to stop, perhaps: there may be another server.
                Ok(false) => self.client.move_on(),
                Err(error) if error.is_outage() => self.note_outage(error, &note).await,
                Err(error) => return Err(error),
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Whether the end has come, and the stream has not just stopped.
    async fn stream(
        &self,
        event: &mut impl FnMut(&Value) -> Result<(), Error>,
    ) -> Result<bool, Error> {
        let after = self.seen.get().map_or(After::Number(self.after), After::Event);
        let mut events = self.client.events(self.id, after, true).await?;
        self.outage.take();
        while let Some(said) = events.next().await? {
            match said {
                Said::End => return Ok(true),
                Said::Event(id, said) if Some(id) > self.seen.get() => {
                    event(&said)?;
                    self.seen.set(Some(id));
                }
                Said::Event(..) => {}
            }
        }
        Ok(false)
    }

    /// Notes an outage once, with the reason for it if the server is there and knows it.
    async fn note_outage(&self, error: Error, note: &impl Fn(&str)) {
        let (report, is_there) = (error.report(), matches!(error, Error::Refused { .. }));
        if self.outage.replace(Some(error)).is_some() {
            return;
        }
        // Best effort: the outage itself is noted in any case.
        let explanation = if is_there {
            self.client.poll(&["explain"]).await.unwrap_or_default()
        } else {
            Value::Null
        };
        match text(&explanation, "reason") {
            "" => note(&format!("{report}; still trying")),
            _ => note(&printable(&format!(
                "{report}: {}; still trying",
                text(&explanation, "sentence")
            ))),
        }
    }
}

/// Shows an operation until it has ended, and returns how it then is. `done` is what became of a host
/// that is through.
pub(crate) async fn watch(
    client: &Client,
    id: &str,
    done: &str,
    wait: &mut Wait,
) -> Result<Value, Error> {
    let (view, tail) = (View::new(done), Tail::new(client, id, 0));
    let note = |text: &str| view.progress.note(text);
    let watching = async {
        // Only for "so many of so many": the events tell the rest.
        if let Ok(operation) = client.poll(&["operation", id]).await
            && let Some(total) = operation["counts"]["total"].as_u64()
        {
            view.progress.expect(usize::try_from(total).unwrap_or(usize::MAX));
        }
        let event = |event: &Value| {
            view.event(event);
            Ok(())
        };
        tail.follow(event, note).await?;
        loop {
            match client.poll(&["operation", id]).await {
                Err(error) if error.is_outage() => tail.note_outage(error, &note).await,
                other => return other,
            }
            tokio::time::sleep(AGAIN).await;
        }
    };
    let timeout = wait.timeout;
    let operation = tokio::select! {
        operation = watching => operation?,
        () = tokio::time::sleep(timeout) => return Err(wait.timed_out(tail.outage.take())),
        () = wait.interrupt() => return Err(wait.interrupted()),
    };
    view.rest(&operation);
    Ok(operation)
}

/// What is shown of the hosts.
struct View<'a> {
    progress: Progress,
    done: &'a str,
    /// Hosts whose end was told.
    through: RefCell<HashSet<String>>,
}

impl<'a> View<'a> {
    fn new(done: &'a str) -> Self {
        Self { progress: Progress::default(), done, through: RefCell::default() }
    }

    fn event(&self, event: &Value) {
        let host = text(event, "host");
        if host.is_empty() {
            self.progress.note(&printable(&sentence(event)));
        } else {
            self.show(host, of_event(event, self.done));
        }
    }

    /// The hosts whose end no event has told.
    fn rest(&self, operation: &Value) {
        for host in operation["hosts"].as_array().into_iter().flatten() {
            let address = text(host, "address");
            let is_told = self.through.borrow().contains(address);
            if let Some(said) = of_host(host, self.done).filter(|_| !is_told) {
                self.show(address, Ok(said));
            }
        }
    }

    /// Shows what is said about a host: `Ok` where that is its end, as far as is known. A reboot that
    /// seems to have failed may have got through.
    fn show(&self, host: &str, said: Result<String, String>) {
        let mut through = self.through.borrow_mut();
        self.progress.show(match said {
            Ok(said) => {
                through.insert(host.to_owned());
                Step::last(host.to_owned(), said)
            }
            Err(said) => {
                through.remove(host);
                Step::under_way(host.to_owned(), said)
            }
        });
    }
}

/// What an event says about its host: `Ok` where that is its end.
fn of_event(event: &Value, done: &str) -> Result<String, String> {
    let (step, detail) = (text(event, "step"), text(event, "detail"));
    match (text(event, "outcome"), step) {
        ("ok", "verify" | "settle" | "done") => Ok(done.to_owned()),
        ("failed", _) => Ok(joined(&["failed", step, detail])),
        ("skipped", _) => Ok(joined(&["skipped", detail])),
        ("waiting", _) => Err(joined(&["waiting", detail])),
        ("started", _) => Err(joined(&[step, detail])),
        (outcome, _) => Err(joined(&[&format!("{step} {outcome}"), detail])),
    }
}

/// How a host has ended, if it has.
fn of_host(host: &Value, done: &str) -> Option<String> {
    match text(host, "step") {
        "done" if host["late"] == true => Some(format!("{done} (late)")),
        "done" => Some(done.to_owned()),
        "skipped" => Some(joined(&["skipped", text(host, "skipped")])),
        "failed" => {
            let failure = &host["failure"];
            Some(joined(&["failed", text(failure, "step"), text(failure, "reason")]))
        }
        _ => None,
    }
}

/// An event as a sentence, without its host.
pub(crate) fn sentence(event: &Value) -> String {
    let what = format!("{} {}", text(event, "step"), text(event, "outcome"));
    joined(&[what.trim(), text(event, "detail")])
}

fn joined(parts: &[&str]) -> String {
    let parts: Vec<_> = parts.iter().filter(|part| !part.is_empty()).copied().collect();
    parts.join(": ")
}

pub(crate) fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_events_say() {
        let event = |step: &str, outcome: &str, detail: &str| json!({"host": "h", "step": step, "outcome": outcome, "detail": detail});
        for (step, outcome, detail, last, said) in [
            ("probe", "started", "", false, "probe"),
            ("probe", "ok", "boot id 1", false, "probe ok: boot id 1"),
            ("reboot", "resumed", "another executor", false, "reboot resumed: another executor"),
            ("pending", "waiting", "frozen", false, "waiting: frozen"),
            ("verify", "ok", "boot id 2", true, "restarted"),
            ("settle", "started", "boot id 2", false, "settle: boot id 2"),
            ("settle", "ok", "up for 30 s", true, "restarted"),
            ("ready", "ok", "", false, "ready ok"),
            ("uncordon", "ok", "node w1", false, "uncordon ok: node w1"),
            ("done", "ok", "boot id 2", true, "restarted"),
            ("verify", "failed", "gone", true, "failed: verify: gone"),
            ("pending", "skipped", "not needed", true, "skipped: not needed"),
        ] {
            let expected = if last { Ok(said.to_owned()) } else { Err(said.to_owned()) };
            assert_eq!(of_event(&event(step, outcome, detail), "restarted"), expected, "{said}");
        }
    }

    #[test]
    fn how_hosts_have_ended() {
        let failure = json!({"host": "h", "step": "verify", "reason": "gone"});
        for (host, said) in [
            (json!({"step": "done"}), Some("upgraded")),
            (json!({"step": "done", "late": true}), Some("upgraded (late)")),
            (json!({"step": "failed", "failure": failure}), Some("failed: verify: gone")),
            (json!({"step": "skipped", "skipped": "unreachable"}), Some("skipped: unreachable")),
            (json!({"step": "pending"}), None),
        ] {
            assert_eq!(of_host(&host, "upgraded").as_deref(), said);
        }
    }
}
