use serde_json::{Value, json};

use super::*;
use crate::topology;

const KEY: &str = "storage.get";

fn read(body: &[u8]) -> Result<Received, Unreadable> {
    receive(KEY, &BasicProperties::default(), body, false)
}

fn with_header(name: &str, value: AMQPValue) -> BasicProperties {
    let mut headers = FieldTable::default();
    headers.insert(name.into(), value);
    BasicProperties::default().with_headers(headers)
}

#[test]
fn what_is_sent_is_what_is_received() {
    let context = Context {
        request_id: "r-1".into(),
        principal: "admin".into(),
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
    };
    let body = body(Some("7"), KEY, &json!({"a": "ä"})).unwrap();
    let read: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(read, json!({"jsonrpc": "2.0", "id": "7", "method": "get", "params": {"a": "ä"}}));
    let received = receive(KEY, &properties(&context, Some(1 << 41)), &body, false).unwrap();
    assert_eq!((received.id.as_deref(), received.deadline), (Some("7"), Some(1 << 41)));
    assert_eq!((received.call.key.as_str(), received.call.method.as_str()), (KEY, "get"));
    assert_eq!(received.call.params.value(), json!({"a": "ä"}));
    assert_eq!(received.call.context, context);
}

#[test]
fn a_bare_record_is_all_parameters() {
    let received =
        receive("jobs.watcher", &BasicProperties::default(), br#"{"address": "h"}"#, true).unwrap();
    assert_eq!(received.call.method, "watcher");
    assert_eq!(received.call.params.value(), json!({"address": "h"}));
    let properties = BasicProperties::default();
    let unreadable = receive("jobs.watcher", &properties, b"{", true).unwrap_err();
    assert_eq!(unreadable.error.kind(), Kind::Parse);
}

#[test]
fn a_notification_is_the_bare_object_and_a_job_is_json_rpc() {
    let key = "notify.storage.Host.updated";
    let change = json!({"event": "updated", "class": "Host", "model": {}, "revision": 7});
    let sent = unanswered(key, topology::job_queue(key), &change).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&sent).unwrap(), change);
    let received = notification(key, &sent).unwrap();
    assert_eq!((received.key.as_str(), received.params), (key, change));
    assert_eq!(notification(key, b"{").unwrap_err().kind(), Kind::Parse);

    let (job, record) = (json!({"address": "h"}), json!({"address": "h", "last_check": ""}));
    let sent = |key, params| unanswered(key, topology::job_queue(key), params).unwrap();
    let investigate: Value = serde_json::from_slice(&sent("jobs.investigate", &job)).unwrap();
    assert_eq!(investigate["params"], job);
    assert_eq!(serde_json::from_slice::<Value>(&sent("jobs.watcher", &record)).unwrap(), record);
}

#[test]
fn what_is_not_json_is_told_from_what_is_no_request() {
    let deep = "[".repeat(100_000);
    for body in [&b""[..], b"{", b"\xff", br#"{"jsonrpc": 1, "#, deep.as_bytes()] {
        assert_eq!(read(body).unwrap_err().error.kind(), Kind::Parse);
    }
    for body in [
        json!(null),
        json!([]),
        json!("get"),
        json!({"method": "get"}),
        json!({"jsonrpc": "1.0", "id": "1", "method": "get"}),
        json!({"jsonrpc": "2.0", "id": "1"}),
        json!({"jsonrpc": "2.0", "id": {}, "method": "get"}),
        json!({"jsonrpc": "2.0", "id": "1", "method": "storage.get"}),
    ] {
        let error = read(body.to_string().as_bytes()).unwrap_err().error;
        assert_eq!(error.kind(), Kind::InvalidRequest, "{body}");
    }
}

#[test]
fn a_wrong_method_is_answered_with_the_id_of_the_request() {
    let body = json!({"jsonrpc": "2.0", "id": "9", "method": "save"}).to_string();
    assert_eq!(read(body.as_bytes()).unwrap_err().id.as_deref(), Some("9"));
}

#[test]
fn a_deadline_is_any_integer_and_nothing_else() {
    let body = body(None, KEY, &json!({})).unwrap();
    let deadline = |value| {
        let received = receive(KEY, &with_header("deadline", value), &body, false);
        received.map(|received| received.deadline)
    };
    for value in [AMQPValue::ShortShortInt(5), AMQPValue::LongUInt(5), AMQPValue::LongLongInt(5)] {
        assert_eq!(deadline(value).unwrap(), Some(5));
    }
    for value in [AMQPValue::LongString("5".into()), AMQPValue::Double(5.0), AMQPValue::Void] {
        assert_eq!(deadline(value).unwrap_err().error.kind(), Kind::InvalidRequest);
    }
}

#[test]
fn headers_that_could_forge_a_log_are_not_believed() {
    let body = body(None, KEY, &json!({})).unwrap();
    for text in ["", "admin\nERROR all is lost", &"x".repeat(257), "\u{1b}[2J"] {
        let value = AMQPValue::LongString(text.into());
        let received = receive(KEY, &with_header("principal", value), &body, false).unwrap();
        assert_eq!(received.call.context.principal, "unknown");
        assert!(!received.call.context.request_id.is_empty());
    }
    let value = AMQPValue::ShortString("ansible".into());
    let received = receive(KEY, &with_header("principal", value), &body, false).unwrap();
    assert_eq!(received.call.context.principal, "ansible");
}

#[test]
fn an_answer_is_a_result_or_an_error() {
    let sent = response(Some("1".into()), Ok(json!(null).into())).unwrap();
    assert_eq!(answer(&sent).unwrap().into_text().unwrap(), "null");
    let sent = response(None, Err(Error::conflict("stale").with_data(json!([1])))).unwrap();
    let error = answer(&sent).unwrap_err();
    assert_eq!((error.kind(), error.data()), (Kind::Conflict, Some(&json!([1]))));
    for body in [&b"{"[..], b"{}", b"[]", br#"{"jsonrpc": "2.0", "error": null}"#] {
        assert_eq!(answer(body).unwrap_err().kind(), Kind::Internal);
    }
}

#[test]
fn names_too_long_for_amqp_are_refused() {
    assert!(short("the key", "x".repeat(255)).is_ok());
    assert_eq!(short("the key", "x".repeat(256)).unwrap_err().kind(), Kind::InvalidParams);
}
