//! Server-Sent Events, as the server's documentation describes them: `id`, `event` and one line of `data`.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use reqwest::Response;
use serde_json::Value;

use super::answer;
use crate::error::Error;

/// What is asked for.
pub(super) const MEDIA_TYPE: &str = "text/event-stream";

/// A line that is longer is none of ours.
const LINE_MAX: usize = 1024 * 1024;

/// The id of an event: the number of the server's generation, which a restore from a backup raises, and a hyphen before its
/// own number; the number alone in the first generation. Later ones are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EventId {
    generation: u64,
    seq: u64,
}

impl FromStr for EventId {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        let (generation, seq) = text.split_once('-').unwrap_or(("1", text));
        Ok(Self { generation: generation.parse()?, seq: seq.parse()? })
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.generation > 1 {
            write!(f, "{}-", self.generation)?;
        }
        write!(f, "{}", self.seq)
    }
}

/// What a stream says next.
#[derive(Debug, PartialEq)]
pub(crate) enum Said {
    /// An event, and the id with which the stream is taken up behind it.
    Event(EventId, Value),
    /// Nothing will follow.
    End,
}

/// A stream of events.
#[derive(Debug)]
pub(crate) struct Events {
    response: Response,
    endpoint: String,
    lines: Lines,
}

impl Events {
    /// The stream, or the refusal that it is instead.
    pub(super) async fn of(response: Response, endpoint: &str) -> Result<Self, Error> {
        if !response.status().is_success() {
            let refusal = answer::read(response, endpoint).await;
            let not_json = |_| Error::NotJson { endpoint: endpoint.to_owned() };
            return Err(refusal.map_or_else(|refusal| refusal, not_json));
        }
        Ok(Self { response, endpoint: endpoint.to_owned(), lines: Lines::default() })
    }

    /// The next event. `None` when the stream has stopped, and may be taken up again.
    pub(crate) async fn next(&mut self) -> Result<Option<Said>, Error> {
        loop {
            while let Some(line) = self.lines.next() {
                if let Some(said) = self.lines.message.take(&line) {
                    return Ok(Some(said.map_err(|NotOurs| self.not_ours())?));
                }
            }
            let chunk = self.response.chunk().await.map_err(|source| Error::Unreachable {
                endpoint: self.endpoint.clone(),
                others: false,
                sent: false,
                source: source.without_url(),
            })?;
            match chunk {
                Some(chunk) => self.lines.text.extend_from_slice(&chunk),
                None => return Ok(None),
            }
            if self.lines.text.len() > LINE_MAX {
                return Err(self.not_ours());
            }
        }
    }

    fn not_ours(&self) -> Error {
        Error::NotJson { endpoint: self.endpoint.clone() }
    }
}

/// What has come, and is not read yet.
#[derive(Debug, Default)]
struct Lines {
    text: Vec<u8>,
    message: Message,
}

impl Lines {
    /// A whole line, without its end.
    fn next(&mut self) -> Option<String> {
        let end = self.text.iter().position(|byte| *byte == b'\n')?;
        let line: Vec<_> = self.text.drain(..=end).collect();
        let line = String::from_utf8_lossy(&line);
        Some(line.trim_end_matches(['\r', '\n']).to_owned())
    }
}

/// A message that is none of those that are documented.
#[derive(Debug, PartialEq)]
struct NotOurs;

/// The message whose lines are coming.
#[derive(Debug, Default)]
struct Message {
    id: Option<EventId>,
    kind: String,
    data: Option<String>,
}

impl Message {
    /// Takes a line. At the end of a message: what it says.
    fn take(&mut self, line: &str) -> Option<Result<Said, NotOurs>> {
        if line.is_empty() {
            let Self { id, kind, data } = std::mem::take(self);
            // A comment, most likely.
            let data = data?;
            if kind == "end" {
                return Some(Ok(Said::End));
            }
            let event = id.and_then(|id| Some(Said::Event(id, serde_json::from_str(&data).ok()?)));
            return Some(event.ok_or(NotOurs));
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => self.id = value.parse().ok(),
            "event" => value.clone_into(&mut self.kind),
            "data" => self.data = Some(value.to_owned()),
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn messages_come_in_any_pieces() {
        let text = b": nothing new\n\nid: 1\ndata: {\"seq\": 1}\n\nid:2\r\ndata:{}\r\n\r\nevent: end\ndata: {}\n\n";
        for size in 1..text.len() {
            let (mut lines, mut said) = (Lines::default(), Vec::new());
            for piece in text.chunks(size) {
                lines.text.extend_from_slice(piece);
                while let Some(line) = lines.next() {
                    said.extend(lines.message.take(&line));
                }
            }
            let expected = [
                Ok(Said::Event("1".parse().unwrap(), json!({"seq": 1}))),
                Ok(Said::Event("2".parse().unwrap(), json!({}))),
                Ok(Said::End),
            ];
            assert_eq!(said, expected, "{size}");
        }
    }

    #[test]
    fn event_of_a_later_generation_comes_after_all_of_an_earlier_one() {
        let [old, new, newer] = ["60", "2-1", "2-41"].map(|id| id.parse::<EventId>().unwrap());
        assert!(old < new && new < newer);
        assert_eq!([old, new].map(|id| id.to_string()), ["60", "2-1"]);
        for wrong in ["", "-", "2-", "x-1", "1-x"] {
            assert!(wrong.parse::<EventId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_none_of_ours_is_told() {
        for text in ["data: {}", "id: x\ndata: {}", "id: 1\ndata: {"] {
            let mut message = Message::default();
            let said: Vec<_> = text.lines().filter_map(|line| message.take(line)).collect();
            assert!(said.is_empty(), "{text}");
            assert_eq!(message.take(""), Some(Err(NotOurs)), "{text}");
        }
    }
}
