//! Requests to the server, whichever endpoint answers.

mod answer;
mod session;

use std::cell::Cell;

use reqwest::{Method, Url};
use serde_json::Value;
use uuid::Uuid;

use self::session::Session;
use crate::config::Config;
use crate::error::{Error, root_cause};

const API: [&str; 2] = ["api", "v0"];

/// A connection to the fleet's server; made when the first command needs one.
#[derive(Debug)]
pub(crate) struct Client {
    session: Session,
    endpoints: Vec<Url>,
    /// The endpoint that answered last: the next request starts there.
    current: Cell<usize>,
}

/// What is asked for, wherever it is asked.
struct Request<'a> {
    method: Method,
    path: &'a [&'a str],
    body: Option<&'a Value>,
    /// One key for all endpoints: should the first have carried the request out after all, the next
    /// one answers with that result instead of doing it again.
    key: Option<String>,
}

/// Whether falling over to another endpoint is worth a note.
#[derive(Clone, Copy, PartialEq)]
enum Notes {
    Print,
    Omit,
}

impl Client {
    /// Sets the connection up; nothing is sent yet.
    pub(crate) fn new(config: Config) -> Result<Self, Error> {
        let endpoints = config.endpoints.clone();
        Ok(Self { session: Session::open(config)?, endpoints, current: Cell::new(0) })
    }

    pub(crate) async fn get(&self, path: &[&str]) -> Result<Value, Error> {
        self.send(Method::GET, path, None, Notes::Print).await
    }

    /// As [`Self::get`], for asking again and again: silent about endpoints that are away.
    pub(crate) async fn poll(&self, path: &[&str]) -> Result<Value, Error> {
        self.send(Method::GET, path, None, Notes::Omit).await
    }

    pub(crate) async fn put(&self, path: &[&str], body: &Value) -> Result<Value, Error> {
        self.send(Method::PUT, path, Some(body), Notes::Print).await
    }

    pub(crate) async fn post(&self, path: &[&str], body: &Value) -> Result<Value, Error> {
        self.send(Method::POST, path, Some(body), Notes::Print).await
    }

    pub(crate) async fn delete(&self, path: &[&str]) -> Result<Value, Error> {
        self.send(Method::DELETE, path, None, Notes::Print).await
    }

    async fn send(
        &self,
        method: Method,
        path: &[&str],
        body: Option<&Value>,
        notes: Notes,
    ) -> Result<Value, Error> {
        let key = body.map(|_| Uuid::new_v4().to_string());
        let request = Request { method, path, body, key };
        match self.anywhere(&request, notes).await {
            Err(Error::Refused { status: 401 | 403, .. }) if self.session.renew()? => {
                self.anywhere(&request, notes).await
            }
            answer => answer,
        }
    }

    /// Tries each endpoint once, beginning with the one that answered last.
    async fn anywhere(&self, request: &Request<'_>, notes: Notes) -> Result<Value, Error> {
        let is_get = request.method == Method::GET;
        let count = self.endpoints.len();
        let first = self.current.get();
        let mut sent = false;
        for attempt in 0..count {
            let at = (first + attempt) % count;
            let endpoint = &self.endpoints[at];
            let failure = match self.attempt(endpoint, request)?.send().await {
                Ok(response) => {
                    self.current.set(at);
                    return answer::read(response, shown(endpoint)).await;
                }
                Err(failure) => failure.without_url(),
            };
            let arrived = !failure.is_connect();
            sent |= arrived && !is_get;
            // Without a key, only what surely did not arrive may be sent again.
            let again = !arrived || request.key.is_some() || is_get;
            if attempt + 1 == count || !again {
                let endpoint = shown(endpoint).to_owned();
                return Err(Error::Unreachable {
                    endpoint,
                    others: count > 1,
                    sent,
                    source: failure,
                });
            }
            if notes == Notes::Print {
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
        endpoint: &Url,
        request: &Request<'_>,
    ) -> Result<reqwest::RequestBuilder, Error> {
        let url = address(endpoint, request.path);
        let mut attempt = self.session.request(request.method.clone(), url)?;
        if let Some(body) = request.body {
            attempt = attempt.json(body);
        }
        if let Some(key) = &request.key {
            attempt = attempt.header("Idempotency-Key", key);
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

/// An endpoint as its owner wrote it.
fn shown(endpoint: &Url) -> &str {
    endpoint.as_str().trim_end_matches('/')
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
