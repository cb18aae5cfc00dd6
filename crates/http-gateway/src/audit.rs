//! The audit log: one JSON line for every change that somebody asked for, and for every reading of
//! credentials. Never a body, never a secret.
//!
//! Nothing is answered before its line is on the disk. Where a line cannot be written the answer is
//! 503, also when the change itself is done, and whatever else would need a line is refused unseen until
//! the log can be written again: a server whose acts nobody could reconstruct should not act. Lines wait
//! in memory until then, and none is lost while the process lives.
//!
//! Whoever hangs up has a line all the same, without a status: it may have been carried out.

mod writer;

use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::MatchedPath;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse as _, Response};
use model::Stamp;
use serde::Serialize;

use runtime::Clock;

use crate::endpoint::{Endpoint, OPERATION_PATH, Target};
use crate::error::ApiError;
use crate::principal::{Principal, Role};
use crate::request::{Admission, RequestContext};
use writer::Writer;

/// Where lines go; clones share it.
#[derive(Debug, Clone)]
pub struct Audit(Arc<Sink>);

#[derive(Debug)]
enum Sink {
    File(Writer),
    /// The log, that is the journal: target `audit`.
    Log,
    /// Memory, for tests and simulations, in which nothing may block.
    Memory(Mutex<Vec<String>>),
}

/// A line.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    /// When the request came.
    pub time: Stamp,
    /// Who sent it; null on paths that authenticate by themselves.
    pub principal: Option<String>,
    /// Their highest role.
    pub role: Option<Role>,
    /// From where.
    pub source: IpAddr,
    /// Its id, which the records that it made carry, too.
    pub request_id: String,
    /// What was asked for.
    pub method: String,
    /// Of what, without the query.
    pub path: String,
    /// What was answered; null when they did not wait for it.
    pub status: Option<u16>,
    /// The cluster that the path names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// The host that the path names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The operation that the path names, or that was started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
}

/// Answers a request, with a line in the log if its endpoint or its sender needs one.
pub fn record<Answer, Next>(
    audit: &Audit,
    clock: &Clock,
    endpoint: Endpoint,
    admission: Admission,
    next: Next,
) -> impl Future<Output = Response> + use<Answer, Next>
where
    Answer: Future<Output = Response>,
    Next: FnOnce(Admission) -> Answer,
{
    let Admission { request, refusal } = &admission;
    let context = request.extensions().get::<RequestContext>();
    let caller = context.and_then(|context| context.caller.as_ref());
    let principal = caller.and_then(|caller| caller.principal.as_deref());
    // Strangers have no line, or they could fill the disk; one who may only register hosts has one for each attempt.
    let is_enrolling = principal.is_some_and(|known| known.role() == Some(Role::Enroll));
    let is_known = principal.is_some() || refusal.is_none();
    let is_audited = is_enrolling || (is_known && endpoint.is_audited(request.method()));
    let entry = caller.filter(|_| is_audited).map(|caller| {
        let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
        let target = Target::of(route, request.uri().path());
        Entry {
            time: clock.stamp(),
            principal: principal.map(|principal| principal.id.clone()),
            role: principal.and_then(Principal::role),
            source: caller.source,
            request_id: context.map(|context| context.bus.request_id.clone()).unwrap_or_default(),
            method: request.method().to_string(),
            path: request.uri().path().to_owned(),
            status: None,
            cluster: target.cluster.map(str::to_owned),
            host: target.host.map(str::to_owned),
            operation: target.operation.map(str::to_owned),
        }
    });
    let entry = entry.map(|entry| (audit.clone(), entry));
    let answer = next(admission);
    async move {
        match entry {
            Some((audit, entry)) => Box::pin(audit.keep(entry, answer)).await,
            None => answer.await,
        }
    }
}

impl Audit {
    /// Into the log.
    pub fn log() -> Self {
        Self(Arc::new(Sink::Log))
    }

    /// Into a file that only its owner can read, made where it is missing; lines are appended.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn file(path: &Path) -> std::io::Result<Self> {
        Ok(Self(Arc::new(Sink::File(Writer::open(path)?))))
    }

    /// Into memory, where [`Self::lines`] shows them.
    pub fn memory() -> Self {
        Self(Arc::new(Sink::Memory(Mutex::default())))
    }

    /// The lines that were written into memory.
    pub fn lines(&self) -> Vec<String> {
        match &*self.0 {
            Sink::Memory(lines) => lines.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            Sink::File(_) | Sink::Log => Vec::new(),
        }
    }

    /// Opens the file again, after it was moved away.
    ///
    /// # Errors
    /// Names the file that cannot be opened: lines go on into the one that is open.
    pub async fn reopen(&self) -> std::io::Result<()> {
        match &*self.0 {
            Sink::File(writer) => writer.reopen().await,
            Sink::Log | Sink::Memory(_) => Ok(()),
        }
    }

    /// Whether lines can be written; where the last one could not, it is tried again.
    pub(crate) async fn is_writable(&self) -> bool {
        match &*self.0 {
            Sink::File(writer) => writer.is_well().await,
            Sink::Log | Sink::Memory(_) => true,
        }
    }

    /// Awaits an answer and writes its line, before it is sent.
    async fn keep(self, entry: Entry, answer: impl Future<Output = Response>) -> Response {
        if !self.is_writable().await {
            let detail =
                "the audit log cannot be written, so nothing was done: the server's log says why";
            return ApiError::unavailable(detail).into_response();
        }
        let mut line = Line { audit: self, entry: Some(entry) };
        let response = answer.await;
        if let Some(entry) = &mut line.entry {
            entry.operation = entry.operation.take().or_else(|| started(&response));
        }
        if line.end(response.status().as_u16()).await {
            return response;
        }
        let detail =
            "this may be done, but the audit log cannot be written: the server's log says why";
        ApiError::unavailable(detail).into_response()
    }

    /// Hands a line over; the answer says whether it is on the disk.
    fn write(&self, entry: &Entry) -> Option<writer::Written> {
        let Ok(line) = serde_json::to_string(entry) else { return None };
        match &*self.0 {
            Sink::File(writer) => Some(writer.write(line)),
            Sink::Log => {
                tracing::info!(target: "audit", "{line}");
                None
            }
            Sink::Memory(lines) => {
                lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                None
            }
        }
    }
}

/// The operation that a request has started.
fn started(response: &Response) -> Option<String> {
    let location = response.headers().get(LOCATION)?.to_str().ok()?;
    location.strip_prefix(OPERATION_PATH).map(str::to_owned)
}

/// A line that will be written, whatever becomes of its request.
struct Line {
    audit: Audit,
    entry: Option<Entry>,
}

impl Line {
    /// Strangers who are refused on a path that authenticates by itself have none.
    async fn end(&mut self, status: u16) -> bool {
        let Some(entry) = self.entry.take() else { return true };
        if entry.principal.is_none() && (400..500).contains(&status) {
            return true;
        }
        match self.audit.write(&Entry { status: Some(status), ..entry }) {
            Some(written) => written.await.unwrap_or(false),
            None => true,
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if let Some(entry) = self.entry.take() {
            self.audit.write(&entry);
        }
    }
}
