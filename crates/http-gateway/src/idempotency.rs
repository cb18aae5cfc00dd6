//! `Idempotency-Key`: a request that is repeated within a day has the first result again, and starts
//! nothing.
//!
//! A record claims the key before the request is carried out, and keeps its answer afterwards. Whoever
//! finds a claim without an answer, because the first request is still under way or its gateway has
//! died, carries it out too: the claim names the id of the operation that may be started, so the
//! executor starts it once and tells everybody of the same one. The answer that is written down first
//! is everybody's. Refusals are not kept: they have started nothing.

use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{FromRequest as _, Request};
use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bus::error::chain;
use bus::{Bus, Context, warn_unless_outage};
use jiff::SignedDuration;
use model::{Host, IdempotentRequest, KeptAnswer, Stamp};
use runtime::{Clock, Lifecycle, random};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use storage_client::{Revised, StorageClient, Transaction};

use crate::access::gate;
use crate::endpoint::Endpoint;
use crate::error::ApiError;
use crate::params::{BODY_MAX, unreadable};
use crate::principal::Role;
use crate::request::RequestContext;
use crate::state::AppState;
use crate::token_uses;

const HEADER: &str = "idempotency-key";

/// The longest key, in bytes.
const KEY_MAX: usize = 255;

/// How long a key is remembered.
const KEPT: SignedDuration = SignedDuration::from_hours(24);

/// How often claiming is tried again when others claim the same key.
const ATTEMPTS: usize = 8;

/// How often keys that are free again are removed, and at most how many at a time.
const SWEEP: Duration = Duration::from_mins(10);
/// See [`SWEEP`].
const SWEPT: usize = 500;

/// Carries out a request; with a key that was used before, it gives the answer of then.
pub async fn once(state: AppState, endpoint: Endpoint, request: Request, next: Next) -> Response {
    perform(state, endpoint, request, next).await.unwrap_or_else(ApiError::into_response)
}

async fn perform(
    state: AppState,
    endpoint: Endpoint,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let Some(key) = key_of(request.headers())? else {
        return Ok(next.run(request).await);
    };
    let (mut parts, body) = request.into_parts();
    let body = Request::from_parts(parts.clone(), body);
    let body = Bytes::from_request(body, &state).await.map_err(|e| unreadable(&e))?;
    if only_asks(&body) {
        return Ok(next.run(Request::from_parts(parts, Body::from(body))).await);
    }
    let mut context = RequestContext::of(&parts.extensions);
    let id = hash([context.bus.principal.as_bytes(), key.as_bytes()]);
    let asked = hash([parts.method.as_str().as_bytes(), parts.uri.path().as_bytes(), &body]);
    let storage = StorageClient::new(state.bus.clone(), context.bus.clone())
        .with_refusal(context.refuses_storage.as_deref().cloned());
    let claim = claim(&storage, &state.clock, id, asked).await?;
    if let Some(answer) = claim.record.answer {
        if endpoint.is_registration() {
            may_see(&storage, &context, &answer).await?;
        }
        return Ok(again(answer));
    }
    context.operation_id = Some(claim.record.operation_id.clone());
    parts.extensions.insert(context);
    let response = next.run(Request::from_parts(parts, Body::from(body))).await;
    Ok(keep(&storage, claim, response).await)
}

/// Whether a request starts nothing: there is then nothing to be started twice, and its answer is good
/// for the moment only.
fn only_asks(body: &[u8]) -> bool {
    let members = serde_json::from_slice::<Map<String, Value>>(body);
    members.is_ok_and(|members| members.get("dry_run") == Some(&Value::Bool(true)))
}

/// The key, if one is given.
fn key_of(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let mut given = headers.get_all(HEADER).into_iter();
    let Some(value) = given.next() else { return Ok(None) };
    let key = value.to_str().ok().filter(|key| (1..=KEY_MAX).contains(&key.len()));
    match (key, given.next()) {
        (Some(key), None) => Ok(Some(key.to_owned())),
        _ => Err(ApiError::bad_request(
            "Idempotency-Key is given once, as 1 to 255 ASCII characters: a UUID will do",
        )),
    }
}

/// The parts are told apart by their lengths.
fn hash<const N: usize>(parts: [&[u8]; N]) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    URL_SAFE_NO_PAD.encode(digest.finalize())
}

/// The claim on a key for this request, whoever made it. Its expiry is a stamp: any gateway may have made it, and it lasts
/// longer than a process may.
async fn claim(
    storage: &StorageClient,
    time: &Clock,
    id: String,
    request: String,
) -> Result<Revised<IdempotentRequest>, ApiError> {
    let (now, expires) = (time.stamp(), Stamp::of(time.wall() + KEPT));
    let operation_id = random::uuid().to_string();
    let record = IdempotentRequest { id, request, operation_id, expires_at: expires, answer: None };
    for _ in 0..ATTEMPTS {
        let transaction = match storage.find::<IdempotentRequest>(&record.id).await? {
            None => Transaction::default().create(&record)?,
            Some(old) if old.record.expires_at <= now => Transaction::default()
                .update(&Revised { record: record.clone(), revision: old.revision })?,
            Some(found) if found.record.request == record.request => return Ok(found),
            Some(_) => {
                return Err(ApiError::new(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "this Idempotency-Key was used for another request: a new request needs a new key",
                ));
            }
        };
        match storage.transact(&transaction).await {
            Ok(revision) => return Ok(Revised { record, revision }),
            Err(error) if error.is_conflict() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(ApiError::unavailable("others keep using the same Idempotency-Key: try again"))
}

/// Writes a result down, unless another one was first: then that one is the answer. A result that
/// cannot be written down is answered all the same: it has happened.
async fn keep(
    storage: &StorageClient,
    mut claim: Revised<IdempotentRequest>,
    response: Response,
) -> Response {
    if !response.status().is_success() {
        return response;
    }
    let (parts, body) = response.into_parts();
    let bytes = to_bytes(body, BODY_MAX).await.unwrap_or_default();
    if let Ok(body) = String::from_utf8(bytes.to_vec()) {
        let location = parts.headers.get(LOCATION).and_then(|value| value.to_str().ok());
        let (status, location) = (parts.status.as_u16(), location.map(str::to_owned));
        claim.record.answer = Some(KeptAnswer { status, body, location });
        match write(storage, &claim).await {
            Ok(None) => {}
            Ok(Some(first)) => return again(first),
            Err(error) => {
                warn_unless_outage!(error, "an answer is not kept for its repetition");
            }
        }
    }
    Response::from_parts(parts, Body::from(bytes))
}

/// The answer that was there first, if there was one.
async fn write(
    storage: &StorageClient,
    claim: &Revised<IdempotentRequest>,
) -> bus::Result<Option<KeptAnswer>> {
    match storage.transact(&Transaction::default().update(claim)?).await {
        Ok(_) => Ok(None),
        Err(error) if error.is_conflict() => {
            let first = storage.find::<IdempotentRequest>(&claim.record.id).await?;
            let first = first.map(|first| first.record);
            Ok(first.filter(|first| first.request == claim.record.request).and_then(|f| f.answer))
        }
        Err(error) => Err(error),
    }
}

/// Whether the client may still see the host that it registered: no other part of the request names it for certain.
///
/// # Errors
/// 404 if it may not.
async fn may_see(
    storage: &StorageClient,
    context: &RequestContext,
    answer: &KeptAnswer,
) -> Result<(), ApiError> {
    let Some(principal) = context.principal() else { return Ok(()) };
    if principal.enrollment().is_some() || principal.rights.shows(None) {
        return Ok(());
    }
    let host = serde_json::from_str::<Host>(&answer.body);
    let host = host.map_err(|_| ApiError::unavailable("a kept answer cannot be read"))?;
    gate::require_host(storage, principal, Role::Reader, &host.address).await
}

fn again(answer: KeptAnswer) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    let location = answer.location.and_then(|location| HeaderValue::from_str(&location).ok());
    let location = location.map(|location| [(LOCATION, location)]);
    (status, [(CONTENT_TYPE, "application/json")], location, answer.body).into_response()
}

/// Removes keys that are free again, and old API tokens, until the daemon stops.
pub(crate) async fn sweep(bus: Bus, clock: Clock, lifecycle: Lifecycle) {
    let storage = StorageClient::new(bus, Context::service("gateway"));
    loop {
        tokio::select! {
            () = lifecycle.stopping() => return,
            () = tokio::time::sleep(SWEEP) => {}
        }
        if let Err(error) = sweep_once(&storage, &clock).await {
            tracing::debug!(error = chain(&error), "old idempotency keys are not removed yet");
        }
        if let Err(error) = token_uses::sweep_once(&storage, &clock).await {
            tracing::debug!(error = chain(&error), "expired API tokens are not removed yet");
        }
    }
}

async fn sweep_once(storage: &StorageClient, clock: &Clock) -> bus::Result<()> {
    let now = clock.stamp();
    let all = storage.list::<IdempotentRequest>().await?.into_iter();
    for old in all.filter(|claim| claim.record.expires_at <= now).take(SWEPT) {
        let id = &old.record.id;
        let removal = Transaction::default()
            .check::<IdempotentRequest>(id, Some(old.revision))
            .delete::<IdempotentRequest>(id);
        match storage.transact(&removal).await {
            // Somebody uses the key again, or another gateway sweeps, too.
            Err(error) if error.is_conflict() => {}
            removed => drop(removed?),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(values: &[&[u8]]) -> HeaderMap {
        let value = |value: &&[u8]| HeaderValue::from_bytes(value).unwrap();
        values.iter().map(|v| (HEADER.parse().unwrap(), value(v))).collect()
    }

    #[test]
    fn a_key_is_a_short_ascii_text() {
        assert_eq!(key_of(&headers(&[])).unwrap(), None);
        assert_eq!(key_of(&headers(&[b"\"a b\""])).unwrap().as_deref(), Some("\"a b\""));
        assert!(key_of(&headers(&[&[b'a'; 255]])).is_ok());
        for wrong in [&[&b""[..]][..], &[&[b'a'; 256]], &[b"\xc3\xa4"], &[b"a", b"a"]] {
            assert!(key_of(&headers(wrong)).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn what_only_asks_is_told_from_what_starts_something() {
        assert!(only_asks(br#"{"dry_run": true, "soak": 5}"#));
        for starts in
            ["", "{}", r#"{"dry_run": false}"#, r#"{"dry_run": "true"}"#, "[true]", "not json"]
        {
            assert!(!only_asks(starts.as_bytes()), "{starts}");
        }
    }

    #[test]
    fn parts_are_told_apart() {
        assert_ne!(hash([b"ab", b"c"]), hash([b"a", b"bc"]));
        assert!(hash([b"a"]).len() == 43 && hash([b"a"]) == hash([b"a"]));
    }

    #[tokio::test]
    async fn the_sweep_removes_what_has_expired_and_nothing_else() {
        let (bus, lifecycle) = (Bus::memory(), Lifecycle::new());
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let config = storage_svc::Config::sqlite(path("store.db"), path("secret.key"));
        storage_svc::run(&bus, &config, &lifecycle).await.unwrap();
        let storage = StorageClient::new(bus, Context::default());
        let clock = Clock::simulated("2026-11-23T00:00:00Z".parse().unwrap());
        for name in ["a", "b"] {
            claim(&storage, &clock, name.to_owned(), "r".to_owned()).await.unwrap();
            clock.advance(SignedDuration::from_hours(12));
        }
        sweep_once(&storage, &clock).await.unwrap();
        let left = storage.list::<IdempotentRequest>().await.unwrap();
        assert_eq!(left.iter().map(|left| left.record.id.as_str()).collect::<Vec<_>>(), ["b"]);
    }
}
