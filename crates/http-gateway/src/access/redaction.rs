//! Sentences without the hosts that a principal may not see. Records hold sentences about several clusters: such as which hosts
//! of a quorum group are unavailable.

use std::collections::{BTreeSet, HashSet};

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{FromRequest as _, FromRequestParts as _, RawPathParams, Request};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use model::{Address, ClusterMember, Host, ident};
use serde_json::Value;
use storage_client::StorageClient;

use super::rights::Rights;
use crate::error::ApiError;
use crate::params::unreadable;
use crate::request::RequestContext;
use crate::state::AppState;

/// The addresses that are looked up at a time.
const LOOKED_UP: usize = 256;

/// The largest answer whose sentences are looked at, in bytes.
const ANSWER_MAX: usize = 64 * 1024 * 1024;

/// The redaction of the answer to a request.
#[derive(Debug)]
pub struct Redaction {
    rights: Rights,
    /// What the request names. It is no news, and without it in the answer one would learn that it exists.
    named: HashSet<Address>,
}

impl Redaction {
    /// That of a request, which is passed on as it was.
    ///
    /// # Errors
    /// When the body cannot be read.
    pub async fn of(request: Request, state: &AppState) -> Result<(Request, Self), ApiError> {
        let context = RequestContext::of(request.extensions());
        let rights = context.principal().map(|principal| principal.rights.clone());
        let (mut parts, body) = request.into_parts();
        let mut named = HashSet::new();
        if let Ok(params) = RawPathParams::from_request_parts(&mut parts, state).await {
            named.extend(params.iter().filter_map(|(_, value)| address(value)));
        }
        let body = Bytes::from_request(Request::from_parts(parts.clone(), body), state).await;
        let body = body.map_err(|rejection| unreadable(&rejection))?;
        if let Ok(mut value) = serde_json::from_slice::<Value>(&body) {
            each_text(&mut value, &mut |text| named.extend(words(text).filter_map(address)));
        }
        let request = Request::from_parts(parts, Body::from(body));
        Ok((request, Self { rights: rights.unwrap_or_default(), named }))
    }

    /// An answer without the hosts that may not be seen, in any of its sentences. Event streams are redacted by their handler.
    pub async fn answer(&self, storage: &StorageClient, response: Response) -> Response {
        let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        if !matches!(kind, Some("application/json" | "application/problem+json")) {
            return response;
        }
        let (mut parts, body) = response.into_parts();
        let Ok(bytes) = to_bytes(body, ANSWER_MAX).await else {
            let detail = "the answer is too large for a caller who may not see all of it";
            return ApiError::unavailable(detail).into_response();
        };
        match self.redacted(storage, &bytes).await {
            Ok(None) => Response::from_parts(parts, Body::from(bytes)),
            Ok(Some(text)) => {
                parts.headers.remove(CONTENT_LENGTH);
                Response::from_parts(parts, Body::from(text))
            }
            Err(error) => ApiError::from(error).into_response(),
        }
    }

    /// The text, if something had to be taken out of it.
    async fn redacted(
        &self,
        storage: &StorageClient,
        bytes: &Bytes,
    ) -> bus::Result<Option<String>> {
        // Sentences of records are in JSON only.
        let Ok(mut value) = serde_json::from_slice::<Value>(bytes) else { return Ok(None) };
        let is_changed = redact(storage, &self.rights, &self.named, vec![&mut value]).await?;
        Ok(is_changed.then(|| value.to_string()))
    }
}

/// Takes the hosts that may not be seen out of the sentences in some values.
///
/// # Errors
/// When the clusters of hosts cannot be read.
pub async fn values<'a>(
    storage: &StorageClient,
    rights: &Rights,
    values: impl IntoIterator<Item = &'a mut Value>,
) -> bus::Result<()> {
    redact(storage, rights, &HashSet::new(), values.into_iter().collect()).await.map(drop)
}

/// The same, except for those in `kept`. Returns whether there were any.
async fn redact(
    storage: &StorageClient,
    rights: &Rights,
    kept: &HashSet<Address>,
    mut values: Vec<&mut Value>,
) -> bus::Result<bool> {
    let mut named = BTreeSet::new();
    for value in &mut values {
        each_sentence(value, &mut |text| named.extend(words(text).filter_map(address)));
    }
    let named = named.into_iter().filter(|address| !kept.contains(address)).collect();
    let hidden = hidden(storage, rights, named).await?;
    let mut is_changed = false;
    if !hidden.is_empty() {
        for value in &mut values {
            each_sentence(value, &mut |text| {
                if let Some(redacted) = sentence(text, &hidden) {
                    *text = redacted;
                    is_changed = true;
                }
            });
        }
    }
    Ok(is_changed)
}

/// The hosts among these addresses that exist and may not be seen.
async fn hidden(
    storage: &StorageClient,
    rights: &Rights,
    named: Vec<Address>,
) -> bus::Result<HashSet<Address>> {
    let mut hidden = HashSet::new();
    for named in named.chunks(LOOKED_UP) {
        let members = storage.get_many::<ClusterMember>(named).await?;
        let mut unassigned = Vec::new();
        for (address, member) in named.iter().zip(members) {
            match member {
                None => unassigned.push(address.clone()),
                Some(member) if !rights.shows(Some(&member.record.cluster)) => {
                    hidden.insert(address.clone());
                }
                Some(_) => {}
            }
        }
        if !unassigned.is_empty() {
            let hosts = storage.get_many::<Host>(&unassigned).await?;
            let hosts = unassigned.into_iter().zip(hosts);
            hidden.extend(hosts.filter_map(|(address, host)| host.map(|_| address)));
        }
    }
    Ok(hidden)
}

/// Calls `with` for each text of several words: one word is a name, and no sentence.
fn each_sentence(value: &mut Value, with: &mut impl FnMut(&mut String)) {
    each_text(value, &mut |text| {
        if text.contains(' ') {
            with(text);
        }
    });
}

fn each_text(value: &mut Value, with: &mut impl FnMut(&mut String)) {
    match value {
        Value::String(text) => with(text),
        Value::Array(values) => values.iter_mut().for_each(|value| each_text(value, with)),
        Value::Object(fields) => fields.values_mut().for_each(|value| each_text(value, with)),
        _ => {}
    }
}

/// The parts of a sentence that can be addresses.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let is_separator = |c: char| !c.is_ascii_alphanumeric() && !".:_-".contains(c);
    text.split(is_separator).map(|word| word.trim_matches(['.', ':', '-', '_']))
}

fn address(word: &str) -> Option<Address> {
    ident::canonical_address(word)
}

/// A sentence in which each list of hidden hosts is replaced by their number; `None` if it names none.
fn sentence(text: &str, hidden: &HashSet<Address>) -> Option<String> {
    let is_hidden = |word: &str| address(word).is_some_and(|address| hidden.contains(&address));
    let mut redacted = String::with_capacity(text.len());
    let (mut rest, mut count) = (text, 0_usize);
    // The place in `redacted` where the number of the list that is being replaced belongs.
    let mut place = 0;
    loop {
        let found = words(rest).find(|word| !word.is_empty() && is_hidden(word));
        let Some(word) = found else { break };
        // It is a part of `rest`.
        let start = rest.find(word)?;
        let (before, after) = (&rest[..start], &rest[start + word.len()..]);
        if count == 0 || before != ", " {
            end_list(&mut redacted, place, count);
            redacted.push_str(before);
            (place, count) = (redacted.len(), 0);
        }
        count += 1;
        // What follows in parentheses is about the host.
        rest = after.strip_prefix(" (").map_or(after, after_parenthesis);
    }
    if place == 0 && count == 0 {
        return None;
    }
    end_list(&mut redacted, place, count);
    redacted.push_str(rest);
    Some(redacted)
}

fn end_list(redacted: &mut String, place: usize, count: usize) {
    match count {
        0 => {}
        1 => redacted.insert_str(place, "1 host of a cluster that you may not see"),
        _ => redacted.insert_str(place, &format!("{count} hosts of clusters that you may not see")),
    }
}

/// What follows the parenthesis that is open; nothing where it is not closed.
fn after_parenthesis(text: &str) -> &str {
    let mut depth = 1_usize;
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &text[at + 1..];
        }
    }
    ""
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn without(text: &str, hidden: &[&str]) -> String {
        let hidden = hidden.iter().map(|address| Address::from(*address)).collect();
        sentence(text, &hidden).unwrap_or_else(|| text.to_owned())
    }

    #[test]
    fn lists_of_hidden_hosts_become_their_numbers() {
        for (text, expected) in [
            ("nothing here", "nothing here"),
            (
                "and these are: 10.0.0.1 (down), 10.0.0.2 (log-in (SSH) failed), 10.0.0.3 (operation o1)",
                "and these are: 10.0.0.1 (down), 2 hosts of clusters that you may not see",
            ),
            (
                "10.0.0.2, 10.0.0.1 and 10.0.0.3: wait.",
                "1 host of a cluster that you may not see, 10.0.0.1 and 1 host of a cluster that you may not see: wait.",
            ),
            ("the host 10.0.0.2.", "the host 1 host of a cluster that you may not see."),
            ("the host 10.0.0.20", "the host 10.0.0.20"),
            ("at 2001:DB8::1, now", "at 1 host of a cluster that you may not see, now"),
            ("db-1.example (a", "1 host of a cluster that you may not see"),
        ] {
            let hidden = ["10.0.0.2", "10.0.0.3", "2001:db8::1", "db-1.example"];
            assert_eq!(without(text, &hidden), expected);
        }
    }

    #[test]
    fn only_sentences_are_looked_at() {
        let mut value = json!({"address": "10.0.0.2", "reasons": ["10.0.0.2 is down", 7], "a": {"b": "on 10.0.0.2"}});
        let mut seen = Vec::new();
        each_sentence(&mut value, &mut |text| seen.push(text.clone()));
        seen.sort();
        assert_eq!(seen, ["10.0.0.2 is down", "on 10.0.0.2"]);
    }

    proptest! {
        #[test]
        fn no_hidden_address_is_left(
            parts in prop::collection::vec(
                prop_oneof![
                    Just("10.0.0.2"), Just("10.0.0.1"), Just(" ("), Just(")"), Just(", "), Just(": "), Just("a host "),
                    Just("10.0.0.22"), Just("."), Just("\u{e4}"),
                ],
                0..12,
            ),
        ) {
            let text = parts.concat();
            let left = without(&text, &["10.0.0.2"]);
            let hidden = Address::from("10.0.0.2");
            prop_assert!(!words(&left).filter_map(address).any(|word| word == hidden), "{text:?}: {left:?}");
        }
    }
}
