//! Messages: what is written into them, and what is made of those that others have written. Pure.

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use runtime::random;
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Map;
use serde_json::value::RawValue;

use crate::error::{Error, Kind, Result};
use crate::jsonrpc::{Answer, ErrorObject, Params, Request, Response, Version};
use crate::topology::Queue;
use crate::{Call, Context, Notification};

const DEADLINE: &str = "deadline";
const CONFIDENTIAL: &str = "confidential";
const REQUEST_ID: &str = "request-id";
const PRINCIPAL: &str = "principal";
const TRACEPARENT: &str = "traceparent";

/// The longest text of a header that is believed.
const LONGEST_HEADER: usize = 256;

/// The largest body that is sent or read, in bytes: what is larger is refused before it is parsed.
pub(super) const SIZE_MAX: usize = 16 << 20;

/// The method by which a service asks the sender of a confidential request for its parameters.
const PARAMS: &str = "params";

/// Who asks when nobody says so.
const UNKNOWN: &str = "unknown";

/// A name as AMQP has it; `what` is for the message of the error.
pub(crate) fn short(what: &str, text: impl Into<String>) -> Result<ShortString> {
    ShortString::try_new(text).map_err(|source| {
        Error::invalid(format!("{what} is too long for AMQP")).with_source(source)
    })
}

/// The last word of a routing key.
pub(super) fn method(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or(key)
}

/// The body of a message that is not answered: JSON-RPC for a job, unless its queue takes bare records;
/// the bare object for a notification, as the original's clients read it.
pub(super) fn unanswered(
    key: &str,
    job_queue: Option<Queue>,
    params: &impl Serialize,
) -> Result<Vec<u8>> {
    match job_queue {
        Some(queue) if !queue.bare => body(None, key, params),
        _ => json(params),
    }
}

/// The body of a request, or of a job when it has no id.
pub(super) fn body(id: Option<&str>, key: &str, params: &impl Serialize) -> Result<Vec<u8>> {
    #[derive(Serialize)]
    struct Outgoing<'a, P> {
        jsonrpc: Version,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a str>,
        method: &'a str,
        params: P,
    }
    json(&Outgoing { jsonrpc: Version::V2, id, method: method(key), params })
}

/// The parameters of a confidential request as JSON text, which stays with the sender until the service asks for it.
pub(super) fn params(params: &impl Serialize) -> Result<SecretString> {
    String::from_utf8(json(params)?)
        .map(SecretString::from)
        .map_err(|e| Error::internal("the parameters are not UTF-8").with_source(e))
}

/// The message by which a service asks for the parameters of a confidential request.
pub(super) fn params_request(id: &str) -> Result<Vec<u8>> {
    body(Some(id), PARAMS, &Map::new())
}

/// The id of such a message; `None` when it is something else.
pub(super) fn id_of_params_request(body: &[u8]) -> Option<String> {
    check_size(body).ok()?;
    let request: Request = serde_json::from_slice(body).ok()?;
    request.id.filter(|_| request.method == PARAMS)
}

/// The answer to such a message.
pub(super) fn params_response(id: String, params: &SecretString) -> Result<Vec<u8>> {
    let params = RawValue::from_string(params.expose_secret().to_owned());
    let params =
        params.map_err(|e| Error::internal("the parameters are not JSON").with_source(e))?;
    response(Some(id), Ok(Answer::Text(params)))
}

/// Anything as JSON text.
pub(super) fn json(value: &impl Serialize) -> Result<Vec<u8>> {
    let text = serde_json::to_vec(value)
        .map_err(|e| Error::internal("cannot write the message as JSON").with_source(e))?;
    check_size(&text)?;
    Ok(text)
}

fn check_size(body: &[u8]) -> Result<()> {
    let size = body.len();
    if size <= SIZE_MAX {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "a message of {size} bytes was refused: at most {SIZE_MAX} go over the bus; ask for less at a time"
    )))
}

/// The properties of any message of ours: who asks, and until when they wait, in ms since the epoch.
pub(super) fn properties(context: &Context, deadline: Option<i64>) -> BasicProperties {
    let mut headers = FieldTable::default();
    let mut text = |name: &str, value: &str| {
        headers.insert(name.into(), AMQPValue::LongString(value.into()));
    };
    text(REQUEST_ID, &context.request_id);
    text(PRINCIPAL, &context.principal);
    if let Some(traceparent) = &context.traceparent {
        text(TRACEPARENT, traceparent);
    }
    if let Some(deadline) = deadline {
        headers.insert(DEADLINE.into(), AMQPValue::LongLongInt(deadline));
    }
    BasicProperties::default().with_content_type("application/json".into()).with_headers(headers)
}

/// The same for a request whose parameters are fetched from its sender.
pub(super) fn confidential(properties: BasicProperties) -> BasicProperties {
    let mut headers = properties.headers().clone().unwrap_or_default();
    headers.insert(CONFIDENTIAL.into(), AMQPValue::Boolean(true));
    properties.with_headers(headers)
}

/// The properties of an answer.
pub(super) fn answer_properties(
    correlation_id: Option<&ShortString>,
    account: Option<&ShortString>,
) -> BasicProperties {
    let properties = BasicProperties::default().with_content_type("application/json".into());
    let properties = match correlation_id {
        Some(id) => properties.with_correlation_id(id.clone()),
        None => properties,
    };
    signed(properties, account)
}

/// The same with the account of the sender: the broker checks that it is the one of the connection.
pub(crate) fn signed(
    properties: BasicProperties,
    account: Option<&ShortString>,
) -> BasicProperties {
    match account {
        Some(account) => properties.with_user_id(account.clone()),
        None => properties,
    }
}

/// A message for a service that could not be read: it is answered, and not begun.
#[derive(Debug)]
pub(super) struct Unreadable {
    pub(super) id: Option<String>,
    pub(super) error: Error,
}

/// A message for a service, as it came.
#[derive(Debug)]
pub(super) struct Received {
    /// The JSON-RPC id, absent in notifications.
    pub(super) id: Option<String>,
    pub(super) call: Call,
    /// When the asker stops waiting, in ms since the epoch.
    pub(super) deadline: Option<i64>,
    /// The parameters are not in the message: the sender gives them when it is asked.
    pub(super) confidential: bool,
}

/// Reads a message for a service; of a bare one the whole body is the parameters.
pub(super) fn receive(
    key: &str,
    properties: &BasicProperties,
    body: &[u8],
    bare: bool,
) -> Result<Received, Unreadable> {
    check_size(body).map_err(|error| Unreadable { id: None, error })?;
    let headers = properties.headers().as_ref();
    let (id, params) = if bare {
        let unreadable = |error| Unreadable { id: None, error: unreadable(body, &error) };
        (None, serde_json::from_slice(body).map_err(unreadable)?)
    } else {
        request(key, body)?
    };
    let deadline = match headers.and_then(|headers| headers.inner().get(DEADLINE)) {
        None => None,
        Some(value) => Some(integer(value).ok_or_else(|| Unreadable {
            id: id.clone(),
            error: invalid("the header deadline is no integer"),
        })?),
    };
    let call = Call {
        key: key.to_owned(),
        method: method(key).to_owned(),
        params,
        context: context(headers),
        account: properties.user_id().as_ref().map(|account| account.as_str().to_owned()),
    };
    let confidential = headers.and_then(|headers| headers.inner().get(CONFIDENTIAL));
    let confidential = confidential == Some(&AMQPValue::Boolean(true));
    Ok(Received { id, call, deadline, confidential })
}

fn request(key: &str, body: &[u8]) -> Result<(Option<String>, Params), Unreadable> {
    let request = serde_json::from_slice::<Request>(body)
        .map_err(|error| Unreadable { id: None, error: unreadable(body, &error) })?;
    if request.method != method(key) {
        let why = "the method is not the last word of the routing key";
        return Err(Unreadable { id: request.id, error: invalid(why) });
    }
    Ok((request.id, request.params))
}

fn invalid(why: &str) -> Error {
    Error::new(Kind::InvalidRequest, why)
}

/// Not JSON at all, or JSON and not what it should be: a mistake in content can stand before one in form.
fn unreadable(body: &[u8], error: &serde_json::Error) -> Error {
    if serde_json::from_slice::<IgnoredAny>(body).is_err() {
        Error::new(Kind::Parse, format!("the message is not JSON: {error}"))
    } else {
        invalid(&format!("the message is no JSON-RPC 2.0 request: {error}"))
    }
}

/// Who asks, as far as the headers are believable: they end up in logs and records.
fn context(headers: Option<&FieldTable>) -> Context {
    let text = |name| {
        let text = text(headers?.inner().get(name)?)?;
        let believable =
            (1..=LONGEST_HEADER).contains(&text.len()) && !text.chars().any(char::is_control);
        believable.then(|| text.to_owned())
    };
    Context {
        request_id: text(REQUEST_ID).unwrap_or_else(|| random::uuid().to_string()),
        principal: text(PRINCIPAL).unwrap_or_else(|| UNKNOWN.to_owned()),
        traceparent: text(TRACEPARENT),
    }
}

/// A header's text, of whichever kind.
pub(crate) fn text(value: &AMQPValue) -> Option<&str> {
    match value {
        AMQPValue::LongString(text) => std::str::from_utf8(text.as_bytes()).ok(),
        AMQPValue::ShortString(text) => Some(text.as_str()),
        _ => None,
    }
}

/// A header's number, of whichever width: client libraries take the shortest.
fn integer(value: &AMQPValue) -> Option<i64> {
    match *value {
        AMQPValue::ShortShortInt(n) => Some(n.into()),
        AMQPValue::ShortShortUInt(n) => Some(n.into()),
        AMQPValue::ShortInt(n) => Some(n.into()),
        AMQPValue::ShortUInt(n) => Some(n.into()),
        AMQPValue::LongInt(n) => Some(n.into()),
        AMQPValue::LongUInt(n) => Some(n.into()),
        AMQPValue::LongLongInt(n) => Some(n),
        _ => None,
    }
}

/// The body of an answer; the error in place of one that is too large.
pub(super) fn response(id: Option<String>, result: Result<Answer>) -> Result<Vec<u8>> {
    json(&Response::new(id.clone(), result)).or_else(|error| json(&Response::new(id, Err(error))))
}

/// Reads an answer.
pub(super) fn answer(body: &[u8]) -> Result<Answer> {
    /// As [`Response`].
    #[derive(Deserialize)]
    struct Incoming {
        #[serde(default, deserialize_with = "present")]
        result: Option<Box<RawValue>>,
        #[serde(default)]
        error: Option<ErrorObject>,
    }
    /// `null` is a result, too.
    fn present<'de, D: Deserializer<'de>>(text: D) -> Result<Option<Box<RawValue>>, D::Error> {
        Deserialize::deserialize(text).map(Some)
    }
    check_size(body)?;
    let no_answer = || Error::internal("the answer is no JSON-RPC 2.0 response");
    let incoming: Incoming =
        serde_json::from_slice(body).map_err(|e| no_answer().with_source(e))?;
    match (incoming.error, incoming.result) {
        (Some(error), _) => Err(error.into()),
        (None, Some(result)) => Ok(Answer::Text(result)),
        (None, None) => Err(no_answer()),
    }
}

/// Reads a notification: its whole body is what it says.
pub(super) fn notification(key: &str, body: &[u8]) -> Result<Notification> {
    check_size(body)?;
    let params = serde_json::from_slice(body).map_err(|error| {
        Error::new(Kind::Parse, format!("the notification {key} is not JSON: {error}"))
    })?;
    Ok(Notification { key: key.to_owned(), params, reply: None })
}

#[cfg(test)]
mod tests;
