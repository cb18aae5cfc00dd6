//! Requests to the server, whichever endpoint answers.

mod answer;
mod download;
pub(crate) mod events;
mod session;

use std::cell::Cell;
use std::time::Duration;

use reqwest::header::{ACCEPT, LOCATION};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde_json::Value;

use self::download::Download;
use self::events::{EventId, Events};
use self::session::Session;
use crate::config::Config;
use crate::endpoint::shown;
use crate::error::{Error, root_cause};
use crate::random;

const API: [&str; 2] = ["api", "v0"];
/// A stream lasts as long as it lasts; the server says at times that there is nothing new.
const STREAM_TIMEOUT: Duration = Duration::from_hours(24 * 366);

/// A connection to the fleet's server; made when the first command needs one.
#[derive(Debug)]
pub(crate) struct Client {
    session: Session,
    endpoints: Vec<Url>,
    /// The endpoint that answered last: the next request starts there.
    current: Cell<usize>,
}

/// Whether falling over to another endpoint is worth a note.
#[derive(Clone, Copy, PartialEq)]
enum Notes {
    Print,
    Omit,
}

/// A request, whichever endpoint it goes to.
struct Ask<'a> {
    method: Method,
    path: &'a [&'a str],
    query: &'a [(&'a str, &'a str)],
    body: Option<&'a Value>,
    /// Where a stream of events is asked for.
    after: Option<After>,
    notes: Notes,
    /// Whether the answer may take as long as it likes, while parts of it come.
    is_long: bool,
}

/// Where a stream of events begins.
#[derive(Debug, Clone, Copy)]
pub(crate) enum After {
    /// After the event with this number in the server's present generation; 0 for the beginning.
    Number(u64),
    /// After the one that came last.
    Event(EventId),
}

impl<'a> Ask<'a> {
    fn new(method: Method, path: &'a [&'a str]) -> Self {
        let notes = Notes::Print;
        Self { method, path, query: &[], body: None, after: None, notes, is_long: false }
    }
}

impl Client {
    /// Sets the connection up; nothing is sent yet.
    pub(crate) fn new(config: Config) -> Result<Self, Error> {
        let endpoints = config.endpoints.clone();
        Ok(Self { session: Session::open(config)?, endpoints, current: Cell::new(0) })
    }

    pub(crate) async fn get(&self, path: &[&str]) -> Result<Value, Error> {
        self.send(Ask::new(Method::GET, path)).await
    }

    /// As [`Self::get`]; `None` when the server answers that there is no such thing.
    pub(crate) async fn find(&self, path: &[&str]) -> Result<Option<Value>, Error> {
        match self.get(path).await {
            Err(Error::Refused { status: 404, .. }) => Ok(None),
            answer => answer.map(Some),
        }
    }

    /// As [`Self::get`], for asking again and again: silent about endpoints that are away.
    pub(crate) async fn poll(&self, path: &[&str]) -> Result<Value, Error> {
        self.send(Ask { notes: Notes::Omit, ..Ask::new(Method::GET, path) }).await
    }

    pub(crate) async fn put(&self, path: &[&str], body: &Value) -> Result<Value, Error> {
        self.send(Ask { body: Some(body), ..Ask::new(Method::PUT, path) }).await
    }

    /// As [`Self::put`]; also the id of what was started, where the server says it.
    pub(crate) async fn start(
        &self,
        path: &[&str],
        body: &Value,
    ) -> Result<(Value, Option<String>), Error> {
        let ask = Ask { body: Some(body), ..Ask::new(Method::PUT, path) };
        let (response, endpoint) = self.reach(&ask).await?;
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let id = location.and_then(|location| location.rsplit('/').next()).map(str::to_owned);
        Ok((answer::read(response, shown(endpoint)).await?, id))
    }

    pub(crate) async fn post(&self, path: &[&str], body: &Value) -> Result<Value, Error> {
        self.send(Ask { body: Some(body), ..Ask::new(Method::POST, path) }).await
    }

    pub(crate) async fn delete(&self, path: &[&str]) -> Result<Value, Error> {
        self.send(Ask::new(Method::DELETE, path)).await
    }

    /// As [`Self::delete`], with a flag in the query.
    pub(crate) async fn delete_with(&self, path: &[&str], flag: &str) -> Result<Value, Error> {
        self.send(Ask { query: &[(flag, "true")], ..Ask::new(Method::DELETE, path) }).await
    }

    /// The events of an operation after the one with this id: with `follow` those that are still to
    /// come, too.
    pub(crate) async fn events(
        &self,
        operation: &str,
        after: After,
        follow: bool,
    ) -> Result<Events, Error> {
        let path = ["operation", operation, "events"];
        let number = match after {
            After::Number(number) => number.to_string(),
            After::Event(_) => "0".to_owned(),
        };
        let mut query = vec![("after", number.as_str())];
        query.retain(|(_, number)| *number != "0");
        if !follow {
            query.push(("follow", "false"));
        }
        let (query, notes) = (query.as_slice(), Notes::Omit);
        let ask = Ask { query, after: Some(after), notes, ..Ask::new(Method::GET, &path) };
        let (response, endpoint) = self.reach(&ask).await?;
        Events::of(response, shown(endpoint)).await
    }

    /// A large answer, as it comes.
    pub(crate) async fn download(&self, path: &[&str]) -> Result<Download, Error> {
        let ask = Ask { is_long: true, ..Ask::new(Method::GET, path) };
        let (response, endpoint) = self.reach(&ask).await?;
        Download::of(response, shown(endpoint)).await
    }

    /// The next request begins with another endpoint: this one answers, and does not keep it up.
    pub(crate) fn move_on(&self) {
        self.current.set((self.current.get() + 1) % self.endpoints.len());
    }

    async fn send(&self, ask: Ask<'_>) -> Result<Value, Error> {
        let (response, endpoint) = self.reach(&ask).await?;
        answer::read(response, shown(endpoint)).await
    }

    /// The answer of whichever endpoint gives one.
    async fn reach(&self, ask: &Ask<'_>) -> Result<(Response, &Url), Error> {
        // One key for all endpoints: should the first have carried the request out after all, the
        // next one answers with that result instead of doing it again.
        let key = ask.body.map(|_| random::id().to_string());
        self.session.prepare().await?;
        let (response, endpoint) = self.anywhere(ask, key.as_deref()).await?;
        let status = response.status();
        let refused = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN];
        if refused.contains(&status) && self.session.renew(status).await? {
            return self.anywhere(ask, key.as_deref()).await;
        }
        Ok((response, endpoint))
    }

    /// Tries each endpoint once, beginning with the one that answered last.
    async fn anywhere(&self, ask: &Ask<'_>, key: Option<&str>) -> Result<(Response, &Url), Error> {
        let count = self.endpoints.len();
        let first = self.current.get();
        let mut sent = false;
        for attempt in 0..count {
            let at = (first + attempt) % count;
            let endpoint = &self.endpoints[at];
            let failure = match self.attempt(ask, endpoint, key)?.send().await {
                Ok(response) => {
                    self.current.set(at);
                    return Ok((response, endpoint));
                }
                Err(failure) => failure.without_url(),
            };
            let arrived = !failure.is_connect();
            sent |= arrived && ask.method != Method::GET;
            // Without a key, only what surely did not arrive may be sent again.
            let again = !arrived || key.is_some() || ask.method == Method::GET;
            if attempt + 1 == count || !again {
                let endpoint = shown(endpoint).to_owned();
                return Err(Error::Unreachable {
                    endpoint,
                    others: count > 1,
                    sent,
                    source: failure,
                });
            }
            if ask.notes == Notes::Print {
                eprintln!(
                    "cannot reach {}: {}; trying {}",
                    shown(endpoint),
                    root_cause(&failure),
                    shown(&self.endpoints[(at + 1) % count])
                );
            }
        }
        unreachable!("there is at least one endpoint, and the last attempt returns")
    }

    fn attempt(
        &self,
        ask: &Ask<'_>,
        endpoint: &Url,
        key: Option<&str>,
    ) -> Result<RequestBuilder, Error> {
        let mut url = address(endpoint, ask.path);
        for (name, value) in ask.query {
            url.query_pairs_mut().append_pair(name, value);
        }
        let mut attempt = self.session.request(ask.method.clone(), url)?;
        if let Some(body) = ask.body {
            attempt = attempt.json(body);
        }
        if let Some(key) = key {
            attempt = attempt.header("Idempotency-Key", key);
        }
        if ask.is_long {
            attempt = attempt.timeout(STREAM_TIMEOUT);
        }
        if let Some(after) = ask.after {
            attempt = attempt.header(ACCEPT, events::MEDIA_TYPE).timeout(STREAM_TIMEOUT);
            if let After::Event(last) = after {
                attempt = attempt.header("Last-Event-ID", last.to_string());
            }
        }
        Ok(attempt)
    }
}

/// The address of a resource; every segment is percent-encoded, so that a name stays one segment.
fn address(endpoint: &Url, path: &[&str]) -> Url {
    let mut url = endpoint.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(API).extend(path);
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let plain = Url::parse("http://h:8000").unwrap();
        let nested = Url::parse("https://h/commissaire").unwrap();
        assert_eq!(address(&plain, &["clusters"]).as_str(), "http://h:8000/api/v0/clusters");
        assert_eq!(
            address(&nested, &["host", "fe80::1"]).as_str(),
            "https://h/commissaire/api/v0/host/fe80::1"
        );
        assert_eq!(
            address(&plain, &["cluster", "a b/?#%2e"]).as_str(),
            "http://h:8000/api/v0/cluster/a%20b%2F%3F%23%252e"
        );
    }
}
