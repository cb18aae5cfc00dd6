//! The events of an operation as a stream, as they happen.
//!
//! Nobody pushes: each reader reads the next records by their ids, which have no gaps, sends them, and
//! waits until it is woken or for a short while. So none can be missed, a reader that does not read asks
//! for nothing, and where a reader was is said by a number that is good at every gateway.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, Query, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};
use bus::warn_unless_outage;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, stream};
use model::{Instance, Operation, OperationEvent, OperationStatus};
use serde::Deserialize;
use serde_json::{Value, json};
use storage_client::StorageClient;
use tokio::time::{Instant, sleep, sleep_until};

use super::history::{found, without_id};
use crate::access::{Rights, redaction};
use crate::api::Api;
use crate::error::ApiError;
use crate::params::{Name, Params};
use crate::principal::Caller;
use crate::state::AppState;
use crate::watching::Watcher;

/// How long a reader waits for news at most before it looks by itself.
const POLL: Duration = Duration::from_millis(500);

/// A reader looks at most so often, however fast events come: then it takes several at a time.
const PACE: Duration = Duration::from_millis(100);

/// How often Server-Sent Events say something when there is nothing to say.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Events that are asked for at a time: few while there are none, many while there are.
const FEW: u32 = 8;
/// See [`FEW`].
const MANY: u32 = 256;

/// The largest number that is taken for an event's: the document says 32 bits with a sign.
const AFTER_MAX: u32 = i32::MAX.unsigned_abs();

/// The media type of Server-Sent Events.
const SSE: &str = "text/event-stream";

/// The media type of JSON lines.
const LINES: &str = "application/x-ndjson";

/// Which events.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Wanted {
    after: u32,
    follow: Option<bool>,
    /// The event that came last.
    #[serde(skip)]
    last: Option<EventId>,
}

/// The id of a Server-Sent Event: its `seq`; in later generations of the installation than the first the number of the
/// generation and a hyphen before it. A restore from a backup begins a generation, and the same `seq` may then be that of
/// another event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct EventId {
    generation: u64,
    seq: u32,
}

impl EventId {
    fn parse(text: &str) -> Option<Self> {
        let (generation, seq) = match text.trim().split_once('-') {
            Some((generation, seq)) => (generation.parse().ok()?, seq),
            None => (1, text.trim()),
        };
        let seq = seq.parse().ok().filter(|seq| *seq <= AFTER_MAX)?;
        Some(Self { generation, seq })
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

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Lines,
    Sse,
}

/// The events of an operation, each a line of JSON; with `Accept: text/event-stream` each a Server-Sent
/// Event, whose id is its `seq`, behind the number of restores from a backup if there were any. They come as they happen until the operation has ended.
#[utoipa::path(
    get,
    path = "/api/v0/operation/{id}/events",
    params(
        ("after" = Option<u32>, Query, description = "Only events after the one with this `seq`."),
        ("follow" = Option<bool>, Query, description = "false: what there is now, and not what follows."),
        ("Last-Event-ID" = Option<String>, Header, description = "Only events after the one with this id; it goes before `after`."),
    ),
    responses(
        (status = 200, content(
            (OperationEvent = "application/x-ndjson"),
            (String = "text/event-stream"),
        )),
        (status = 400, description = "the query or Last-Event-ID does not fit"),
        (status = 404, description = "there is no such operation"),
    ),
)]
pub(super) async fn stream(
    api: Api,
    State(state): State<AppState>,
    Params(Name(id)): Params<Name>,
    Wanted { after, follow, last }: Wanted,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    found(&api, &id).await?;
    // There is no principal if the path authenticates by itself.
    let principal = api.context.principal().cloned();
    let watcher =
        state.watching.enter(principal.as_ref().map_or("", |principal| &principal.owner().id))?;
    let outdated = api.context.caller.as_ref().map(|caller| outdated(&state, caller).boxed());
    let format = Format::accepted(&headers);
    let instance = api.storage.find::<Instance>(Instance::ALL).await?;
    let generation = instance.map_or(1, |found| found.record.generation.max(1));
    let after = match last {
        Some(last) if last.generation == generation => last.seq,
        // The installation was restored since: its events are others.
        Some(_) => 0,
        None => after,
    };
    let reader = Reader {
        storage: api.storage,
        id,
        format,
        generation,
        seen: after,
        batch: FEW,
        follow: follow.unwrap_or(true),
        ended: None,
        over: false,
        said: Instant::now(),
        watcher,
        outdated: outdated.unwrap_or_else(|| std::future::pending().boxed()),
        limited_to: principal.map(|principal| principal.rights.clone()).filter(|r| !r.shows(None)),
    };
    let chunks = stream::unfold(reader, |mut reader| async {
        let chunk = reader.chunk().await?;
        Some((chunk, reader))
    });
    let headers =
        [(header::CONTENT_TYPE, format.media_type()), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, Body::from_stream(chunks)).into_response())
}

/// Resolves when a caller has to authenticate again: its credentials or its rights may be others.
fn outdated(state: &AppState, caller: &Caller) -> impl Future<Output = ()> + Send + use<> {
    let credentials = state.auth.outdated(caller);
    let revoked = Arc::clone(&state.tokens).revoked(caller.principal.clone());
    let rights = Arc::clone(&state.bindings).outdated(caller.principal.clone());
    async move {
        tokio::select! {
            () = credentials => {}
            () = revoked => {}
            () = rights => {}
        }
    }
}

impl FromRequestParts<AppState> for Wanted {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let refused =
            |e: QueryRejection| ApiError::bad_request(format!("the query: {}", e.body_text()));
        let query = Query::<Self>::from_request_parts(parts, state).await;
        let Query(mut wanted) = query.map_err(refused)?;
        if wanted.after > AFTER_MAX {
            return Err(ApiError::bad_request(format!("the query: after is at most {AFTER_MAX}")));
        }
        if let Some(last) = parts.headers.get("last-event-id") {
            let last = last.to_str().ok().and_then(EventId::parse).ok_or_else(|| {
                ApiError::bad_request("Last-Event-ID is the id of the event that came last")
            })?;
            wanted.last = Some(last);
        }
        Ok(wanted)
    }
}

impl Format {
    fn accepted(headers: &HeaderMap) -> Self {
        let accepts =
            headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let is_sse = |range: &str| range.split(';').next().is_some_and(|range| range.trim() == SSE);
        if accepts.flat_map(|value| value.split(',')).any(is_sse) { Self::Sse } else { Self::Lines }
    }

    fn media_type(self) -> &'static str {
        match self {
            Self::Lines => LINES,
            Self::Sse => SSE,
        }
    }
}

/// Events as JSON, with their numbers, without the hosts that a client may not see whose rights are limited.
async fn visible(
    storage: &StorageClient,
    limited_to: Option<&Rights>,
    events: &[OperationEvent],
) -> bus::Result<Vec<(u64, Value)>> {
    let lines = events.iter().map(|event| Ok((event.seq, without_id(event)?)));
    let mut lines = lines.collect::<bus::Result<Vec<_>>>()?;
    if let Some(rights) = limited_to {
        redaction::values(storage, rights, lines.iter_mut().map(|(_, line)| line)).await?;
    }
    Ok(lines)
}

/// One who reads the events of an operation.
struct Reader {
    storage: StorageClient,
    id: String,
    format: Format,
    /// That of the installation.
    generation: u64,
    /// The `seq` of the event that was sent last.
    seen: u32,
    batch: u32,
    follow: bool,
    /// How the operation has ended, once that was seen.
    ended: Option<OperationStatus>,
    /// Nothing comes any more.
    over: bool,
    /// When something was sent last.
    said: Instant,
    watcher: Watcher,
    /// What the client may see, if that is not all.
    limited_to: Option<Rights>,
    /// Resolves when the client has to authenticate again.
    outdated: BoxFuture<'static, ()>,
}

impl Reader {
    /// What is to be sent next, when there is something; `None` at the end. When the daemon is told to
    /// stop, the stream breaks off: the client then knows that there is more, at another gateway. It also breaks off when
    /// users are reloaded: the client has to authenticate again.
    async fn chunk(&mut self) -> Option<io::Result<Bytes>> {
        if self.over {
            return None;
        }
        let mut stopping = pin!(self.watcher.stopping());
        let mut outdated = std::mem::replace(&mut self.outdated, std::future::pending().boxed());
        let broken_off = |why| Some(Err(io::Error::new(io::ErrorKind::Interrupted, why)));
        let chunk = tokio::select! {
            () = &mut stopping => broken_off("the server is told to stop"),
            () = &mut outdated => broken_off("users or bindings have changed: authenticate again"),
            chunk = self.next() => chunk.map(Ok),
        };
        self.outdated = outdated;
        self.over = !matches!(chunk, Some(Ok(_))) || self.over;
        self.said = Instant::now();
        chunk
    }

    async fn next(&mut self) -> Option<Bytes> {
        let mut failing = false;
        loop {
            let looked = Instant::now();
            // Whatever is announced from here on may not be in what is read.
            self.watcher.forget();
            match self.look().await {
                Ok(Some(events)) if !events.is_empty() => {
                    match visible(&self.storage, self.limited_to.as_ref(), &events).await {
                        Ok(lines) => return Some(self.written(&lines)),
                        Err(error) => {
                            if !std::mem::replace(&mut failing, true) {
                                warn_unless_outage!(error, "events cannot be read: trying again");
                            }
                        }
                    }
                }
                // Nothing can follow: the end was seen before this reading.
                Ok(None) => return self.end(),
                Ok(Some(_)) => failing = false,
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        warn_unless_outage!(error, "events cannot be read: trying again");
                    }
                }
            }
            let keep_alive = self.said + KEEP_ALIVE;
            tokio::select! {
                () = self.watcher.woken(&self.id) => sleep_until(looked + PACE).await,
                () = sleep(POLL) => {}
                () = sleep_until(keep_alive), if self.format == Format::Sse => {
                    return Some(Bytes::from_static(b": nothing new\n\n"));
                }
            }
        }
    }

    /// The next events; none when there are none yet; `None` when there will be none.
    async fn look(&mut self) -> bus::Result<Option<Arc<[OperationEvent]>>> {
        let events = self.read().await?;
        if !events.is_empty() {
            return Ok(Some(events));
        }
        if !self.follow || self.ended.is_some() {
            return Ok(None);
        }
        // What has been removed since has ended.
        let operation = self.storage.find::<Operation>(&self.id).await?;
        let status = operation.map_or(OperationStatus::Failed, |operation| operation.record.status);
        if status == OperationStatus::InProcess {
            return Ok(Some(events));
        }
        // What was written before the end may have come after the reading above.
        self.ended = Some(status);
        let events = self.read().await?;
        Ok((!events.is_empty()).then_some(events))
    }

    /// The events after the one that was sent last, up to the first that is not there.
    async fn read(&mut self) -> bus::Result<Arc<[OperationEvent]>> {
        let ids: Vec<_> = (1..=self.batch)
            .map(|n| OperationEvent::id_of(&self.id, u64::from(self.seen) + u64::from(n)))
            .collect();
        let events: Arc<[_]> = if self.follow && self.ended.is_none() {
            self.watcher.read(&self.storage, &ids).await?
        } else {
            // Where nothing more is looked for afterwards, it has to be what is there now.
            let found = self.storage.get_many::<OperationEvent>(&ids).await?;
            found.into_iter().map_while(|event| Some(event?.record)).collect()
        };
        self.batch = if events.len() < ids.len() { FEW } else { MANY };
        Ok(events)
    }

    fn written(&mut self, lines: &[(u64, Value)]) -> Bytes {
        let mut text = String::new();
        for (seq, line) in lines {
            self.seen = u32::try_from(*seq).unwrap_or(u32::MAX);
            match self.format {
                Format::Lines => text.extend([line.to_string().as_str(), "\n"]),
                Format::Sse => {
                    let id = EventId { generation: self.generation, seq: self.seen };
                    text.extend(["id: ", &id.to_string(), "\ndata: ", &line.to_string(), "\n\n"]);
                }
            }
        }
        text.into()
    }

    /// Server-Sent Events have no end of their own: it is an event of its own kind.
    fn end(&mut self) -> Option<Bytes> {
        self.over = true;
        let status = self.ended.filter(|_| self.format == Format::Sse)?;
        Some(format!("event: end\ndata: {}\n\n", json!({"status": status})).into())
    }
}
