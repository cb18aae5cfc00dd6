//! Sentences without the hosts and nodes that a principal may not see. Records hold sentences about several clusters: such as
//! which hosts of a quorum group are unavailable.

use std::collections::{BTreeSet, HashSet};
use std::ops::Range;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{FromRequest as _, FromRequestParts as _, RawPathParams, Request};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use model::{Address, ClusterMember, Host, UNAVAILABLE_NODES, ident};
use serde_json::Value;
use storage_client::StorageClient;

use super::rights::Rights;
use crate::error::ApiError;
use crate::params::unreadable;
use crate::request::RequestContext;
use crate::state::AppState;

/// The addresses that are looked up at a time.
const LOOKED_UP: usize = 256;

/// The fields in which the body of a request names hosts.
const NAMING: [&str; 5] = ["address", "host", "hosts", "old", "new"];

/// The largest answer whose sentences are looked at, in bytes.
const ANSWER_MAX: usize = 64 * 1024 * 1024;

/// The redaction of the answer to a request.
#[derive(Debug)]
pub struct Redaction {
    rights: Rights,
    /// The hosts that the request names. A refusal repeats them, whether they exist or not.
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
        // A host that registers itself is the one that the request comes from.
        let source = context.caller.and_then(|caller| address(&caller.source.to_string()));
        let mut named = HashSet::from_iter(source);
        if let Ok(params) = RawPathParams::from_request_parts(&mut parts, state).await {
            named.extend(params.iter().filter_map(|(_, value)| address(value)));
        }
        let body = Bytes::from_request(Request::from_parts(parts.clone(), body), state).await;
        let body = body.map_err(|rejection| unreadable(&rejection))?;
        if let Ok(Value::Object(mut fields)) = serde_json::from_slice(&body) {
            for (_, value) in
                fields.iter_mut().filter(|(field, _)| NAMING.contains(&field.as_str()))
            {
                each_text(value, &mut |text| named.extend(address(text)));
            }
        }
        let request = Request::from_parts(parts, Body::from(body));
        Ok((request, Self { rights: rights.unwrap_or_default(), named }))
    }

    /// An answer without what may not be seen in any of its sentences. Event streams are redacted by their handler.
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
        let is_refusal = parts.status.is_client_error();
        match self.redacted(storage, &bytes, is_refusal).await {
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
        is_refusal: bool,
    ) -> bus::Result<Option<String>> {
        // Sentences of records are in JSON only.
        let Ok(mut value) = serde_json::from_slice::<Value>(bytes) else { return Ok(None) };
        let none = HashSet::new();
        let kept = if is_refusal { &self.named } else { &none };
        let is_changed = redact(storage, &self.rights, kept, vec![&mut value]).await?;
        Ok(is_changed.then(|| value.to_string()))
    }
}

/// Takes what may not be seen out of the sentences in some values.
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

/// The same, except for the hosts in `kept`. Returns whether there was anything.
async fn redact(
    storage: &StorageClient,
    rights: &Rights,
    kept: &HashSet<Address>,
    mut values: Vec<&mut Value>,
) -> bus::Result<bool> {
    let mut named = BTreeSet::new();
    let mut is_changed = false;
    for value in &mut values {
        each_sentence(value, &mut |text| {
            if let Some(redacted) = without_nodes(text) {
                *text = redacted;
                is_changed = true;
            }
            named.extend(hosts(text).map(|(_, address)| address));
        });
    }
    let named = named.into_iter().filter(|address| !kept.contains(address)).collect();
    let hidden = hidden(storage, rights, named).await?;
    if !hidden.is_empty() {
        for value in &mut values {
            each_sentence(value, &mut |text| {
                if let Some(redacted) = without_hosts(text, &hidden) {
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

/// The addresses in a sentence, and where they are. A word of letters alone is one only after `host`, or before a parenthesis: else
/// a host could be named like any word.
fn hosts(text: &str) -> impl Iterator<Item = (Range<usize>, Address)> {
    words(text).filter_map(|place| {
        let mut word = &text[place.clone()];
        if let Some((before, port)) = word.split_once(':')
            && port.bytes().all(|byte| byte.is_ascii_digit())
        {
            word = before;
        }
        let place = place.start..place.start + word.len();
        let is_plain = word.bytes().all(|byte| byte.is_ascii_alphabetic());
        let is_named =
            text[..place.start].ends_with("host ") || text[place.end..].starts_with(" (");
        (!is_plain || is_named).then(|| Some((place, address(word)?)))?
    })
}

/// Where the parts of a sentence are that consist of the characters of addresses.
fn words(text: &str) -> impl Iterator<Item = Range<usize>> {
    const EDGES: [char; 4] = ['.', ':', '-', '_'];
    let is_separator = |c: char| !c.is_ascii_alphanumeric() && !EDGES.contains(&c);
    let mut end = 0;
    text.split_inclusive(is_separator).filter_map(move |piece| {
        let start = end;
        end += piece.len();
        let word = piece.trim_end_matches(is_separator).trim_end_matches(EDGES);
        let trimmed = word.trim_start_matches(EDGES);
        (!trimmed.is_empty()).then(|| start + word.len() - trimmed.len()..start + word.len())
    })
}

fn address(word: &str) -> Option<Address> {
    ident::canonical_address(word)
}

/// A sentence in which each list of hidden hosts is replaced by their number; `None` if it names none.
fn without_hosts(text: &str, hidden: &HashSet<Address>) -> Option<String> {
    let mut redacted = String::with_capacity(text.len());
    // What was read of the text, and the hosts at the end of that which are to be replaced.
    let (mut read, mut count) = (0, 0);
    for (place, _) in hosts(text).filter(|(_, address)| hidden.contains(address)) {
        // It may be in the parenthesis of another one.
        let Some(between) = text.get(read..place.start) else { continue };
        if count == 0 || between != ", " {
            push_count(&mut redacted, count);
            redacted.push_str(between);
            count = 0;
        }
        count += 1;
        // What follows in parentheses is about the host.
        let after = &text[place.end..];
        let rest = after.strip_prefix(" (").map_or(after, after_parenthesis);
        read = text.len() - rest.len();
    }
    if count == 0 {
        return None;
    }
    push_count(&mut redacted, count);
    redacted.push_str(&text[read..]);
    Some(redacted)
}

fn push_count(redacted: &mut String, count: usize) {
    let hosts = match count {
        0 => return,
        1 => "1 host of a cluster".to_owned(),
        _ => format!("{count} hosts of clusters"),
    };
    redacted.push_str(&hosts);
    redacted.push_str(" that you may not see");
}

/// A sentence in which a list of unavailable nodes, which may be those of any cluster, is replaced by their number; `None` if it
/// has none.
fn without_nodes(text: &str) -> Option<String> {
    let (before, mut rest) = text.split_once(UNAVAILABLE_NODES)?;
    let mut count = 0_usize;
    while let Some((name, reason)) = rest.split_once(" (")
        && !name.contains([' ', ','])
    {
        count += 1;
        rest = after_parenthesis(reason);
        let Some(next) = rest.strip_prefix(", ") else { break };
        rest = next;
    }
    if let Some((others, after)) =
        rest.strip_prefix("and ").and_then(|rest| rest.split_once(" other"))
    {
        count += others.parse().unwrap_or(0);
        rest = after.strip_prefix('s').unwrap_or(after);
    }
    (count > 0).then(|| format!("{before}{UNAVAILABLE_NODES}{count} in all{rest}"))
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
    use model::abridged;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn without(text: &str, hidden: &[&str]) -> String {
        let hidden = hidden.iter().map(|address| Address::from(*address)).collect();
        without_hosts(text, &hidden).unwrap_or_else(|| text.to_owned())
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
            (
                "10.0.0.20, 10.0.0.2 and http://10.0.0.2:80/",
                "10.0.0.20, 1 host of a cluster that you may not see and http://1 host of a cluster that you may not see:80/",
            ),
            ("a role on db (down)", "a role on 1 host of a cluster that you may not see"),
            (
                "the host role has no role",
                "the host 1 host of a cluster that you may not see has no role",
            ),
        ] {
            let hidden = ["10.0.0.2", "10.0.0.3", "2001:db8::1", "db-1.example", "db", "role"];
            assert_eq!(without(text, &hidden), expected);
        }
    }

    #[test]
    fn lists_of_unavailable_nodes_become_their_numbers() {
        let list = abridged((0..12).map(|n| format!("w{n} (operation o{n})")), ", ");
        for (listed, expected) in [
            ("w1 (not ready)", "1 in all"),
            ("w1 (not ready (since 2)), w-2.x (operation o1); wait", "2 in all; wait"),
            (&list, "12 in all"),
        ] {
            let redacted = without_nodes(&format!("and {UNAVAILABLE_NODES}{listed}"));
            assert_eq!(redacted, Some(format!("and {UNAVAILABLE_NODES}{expected}")));
        }
        assert_eq!(without_nodes("the node w1 (not ready)"), None);
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
        fn hidden_addresses_are_taken_out_and_no_others(
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
            let count = |text: &str, wanted: &str| hosts(text).filter(|(_, found)| found.as_str() == wanted).count();
            prop_assert_eq!(count(&left, "10.0.0.2"), 0, "{:?}: {:?}", text, left);
            if !text.contains('(') {
                for other in ["10.0.0.1", "10.0.0.22"] {
                    prop_assert_eq!(count(&left, other), count(&text, other), "{:?}: {:?}", text, left);
                }
            }
        }
    }
}
