//! The events of operations, as they happen: nobody misses one, and nobody waits for a reader.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bus::{Call, Error, topology};
use futures_util::future::join_all;
use http_gateway::Config;
use http_gateway::server::limits::Limits;
use model::OperationEvent;
use reqwest::Response;
use runtime::Lifecycle;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::{Gateway, PASSWORD, Setup, Storage, USER, basic, in_time};

const EVENTS: &str = "/operation/o1/events";
const SSE: (&str, &str) = ("accept", "text/event-stream");

fn event(seq: u64) -> Value {
    json!({"seq": seq, "time": "2026-11-26T05:00:01.000000", "host": "10.0.0.1", "step": "probe",
           "outcome": "ok", "detail": "d"})
}

async fn running() -> Gateway {
    let gateway = Gateway::start().await;
    gateway.operation("o1", json!({})).await;
    gateway
}

async fn end(gateway: &Gateway) {
    gateway.operation("o1", json!({"status": "finished"})).await;
}

/// A stream that was opened, and what came of it so far.
struct Stream {
    response: Response,
    text: String,
}

impl Stream {
    async fn open(gateway: &Gateway, query: &str, headers: &[(&str, &str)]) -> Self {
        let mut request = gateway.request_of_user("GET", &format!("{EVENTS}{query}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = in_time(request.send()).await.unwrap();
        assert_eq!(response.status(), 200);
        Self { response, text: String::new() }
    }

    /// Reads until that many lines begin so.
    async fn until(&mut self, count: usize, begin: &str) {
        while self.text.lines().filter(|line| line.starts_with(begin)).count() < count {
            let chunk = in_time(self.response.chunk()).await.unwrap().expect("it has ended");
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// Reads to the end: whether it was a proper one.
    async fn rest(mut self) -> (String, bool) {
        loop {
            match in_time(self.response.chunk()).await {
                Ok(Some(chunk)) => self.text.push_str(std::str::from_utf8(&chunk).unwrap()),
                Ok(None) => return (self.text, true),
                Err(_) => return (self.text, false),
            }
        }
    }
}

/// The numbers of the events in a text, whichever format it has.
fn numbers(text: &str) -> Vec<u64> {
    let events = text.lines().map(|line| line.strip_prefix("data: ").unwrap_or(line));
    let events = events.filter_map(|line| serde_json::from_str::<Value>(line).ok());
    events.filter_map(|event| event["seq"].as_u64()).collect()
}

#[tokio::test]
async fn events_are_lines_of_json_and_come_as_they_happen() {
    let gateway = running().await;
    gateway.event("o1", 1, "d").await;
    let mut stream = Stream::open(&gateway, "", &[]).await;
    assert_eq!(stream.response.headers()["content-type"], "application/x-ndjson");
    stream.until(1, "{").await;
    gateway.event("o1", 2, "d").await;
    stream.until(2, "{").await;
    // Another operation's are its own.
    gateway.event("o2", 3, "d").await;
    gateway.event("o1", 3, "d").await;
    end(&gateway).await;
    let (text, proper) = stream.rest().await;
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines, proper), (vec![event(1), event(2), event(3)], true));
}

#[tokio::test]
async fn server_sent_events_have_ids_and_an_end() {
    let gateway = running().await;
    for seq in 1..=3 {
        gateway.event("o1", seq, "d").await;
    }
    let mut stream = Stream::open(&gateway, "", &[SSE]).await;
    assert_eq!(stream.response.headers()["content-type"], "text/event-stream");
    stream.until(3, "id: ").await;
    end(&gateway).await;
    let (text, proper) = stream.rest().await;
    let events: Vec<_> =
        (1..=3).map(|seq| format!("id: {seq}\ndata: {}\n\n", event(seq))).collect();
    let mut expected = events.concat();
    expected.push_str("event: end\ndata: {\"status\":\"finished\"}\n\n");
    assert_eq!((text, proper), (expected, true));
}

#[tokio::test]
async fn a_reader_goes_on_where_it_was_and_may_take_what_there_is_now() {
    let gateway = running().await;
    for seq in 1..=5 {
        gateway.event("o1", seq, "d").await;
    }
    for (query, last, expected) in [
        ("?follow=false", None, 1..=5_u64),
        ("?follow=false&after=3", None, 4..=5),
        ("?follow=false", Some("4"), 5..=5),
        ("?after=1&follow=false", Some("2"), 3..=5),
    ] {
        let header = last.map(|last| ("last-event-id", last));
        let stream = Stream::open(&gateway, query, header.as_slice()).await;
        let (text, proper) = stream.rest().await;
        assert_eq!((numbers(&text), proper), (expected.collect::<Vec<_>>(), true), "{query}");
    }
    let stream = Stream::open(&gateway, "?follow=false&after=5", &[SSE]).await;
    assert_eq!(stream.rest().await, (String::new(), true));
}

#[tokio::test]
async fn what_does_not_fit_is_refused() {
    let gateway = running().await;
    gateway.get("/operation/o9/events").await.refused(404, "there is no operation o9");
    for query in
        ["?after=x", "?after=-1", "?after=2147483648", "?follow=perhaps", "?after=1&after=2"]
    {
        gateway.get(&format!("{EVENTS}{query}")).await.refused(400, "the query: ");
    }
    for last in ["x", "-1", "1.5", "2147483648", ""] {
        let header = ("last-event-id", last);
        let answer = gateway.send_with(header, "GET", &format!("/api/v0{EVENTS}"), "").await;
        answer.refused(400, "Last-Event-ID");
    }
}

/// Reads a few events at a time, and goes on in a new connection.
async fn reconnecting(gateway: &Gateway, all: usize) -> Vec<u64> {
    let mut seen: Vec<u64> = Vec::new();
    while seen.len() < all {
        let last = seen.last().map(ToString::to_string);
        let last = last.as_deref().map(|last| ("last-event-id", last));
        let headers: Vec<_> = [SSE].into_iter().chain(last).collect();
        let mut stream = Stream::open(gateway, "", &headers).await;
        stream.until((all - seen.len()).min(7), "data: {\"detail").await;
        // A connection may break inside an event: what is not whole has not come.
        let whole = stream.text.rfind("\n\n").map_or("", |end| &stream.text[..end]);
        seen.extend(numbers(whole));
    }
    seen
}

/// One that asks and never reads.
async fn stalled(gateway: &Gateway, socket: TcpSocket) -> TcpStream {
    let mut stream = socket.connect(gateway.address).await.unwrap();
    let authorization = basic(format!("{USER}:{PASSWORD}"));
    let head = format!(
        "GET /api/v0{EVENTS} HTTP/1.1\r\nHost: a\r\nAuthorization: {authorization}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // The server has opened the stream once its response begins, which stays unread.
    in_time(stream.peek(&mut [0])).await.unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_readers_get_every_event_once_and_none_is_waited_for() {
    const COUNT: u64 = 200;
    let limits = Limits { streams_per_user: 100, ..Limits::default() };
    let config = Config { limits, ..Config::default() };
    let gateway = Setup { config, ..Setup::default() }.start().await;
    gateway.operation("o1", json!({})).await;
    let _stalled = stalled(&gateway, TcpSocket::new_v4().unwrap()).await;
    let readers = join_all((0..48).map(|n| {
        let headers: &[_] = if n % 2 == 0 { &[SSE] } else { &[] };
        Stream::open(&gateway, "", headers)
    }));
    let readers = readers.await;
    let all = usize::try_from(COUNT).unwrap();
    // As fast as they are taken: one reader never reads.
    let writing = async {
        for seq in 1..=COUNT {
            gateway.event("o1", seq, "d").await;
        }
        end(&gateway).await;
    };
    let ((), texts, reconnected) = tokio::join!(
        in_time(writing),
        join_all(readers.into_iter().map(Stream::rest)),
        reconnecting(&gateway, all)
    );
    let expected: Vec<_> = (1..=COUNT).collect();
    assert_eq!(texts.len(), 48);
    for (text, proper) in texts {
        assert_eq!((numbers(&text), proper), (expected.clone(), true));
    }
    assert_eq!(reconnected, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_takes_nothing_is_cut_off_and_others_are_not() {
    let limits = Limits { idle: Duration::from_millis(700), streams: 2, ..Limits::default() };
    let config = Config { limits, ..Config::default() };
    let gateway = Setup { config, ..Setup::default() }.start().await;
    gateway.operation("o1", json!({})).await;
    // More than any buffer between them takes.
    let large = "x".repeat(256 * 1024);
    for seq in 1..=32 {
        gateway.event("o1", seq, &large).await;
    }
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut deaf = stalled(&gateway, socket).await;
    let mut stream = Stream::open(&gateway, "", &[SSE]).await;
    // There is room for two.
    gateway.get(EVENTS).await.refused(503, "2 streams of events are being read already");
    stream.until(32, "id: ").await;
    // Its place is free in the end.
    let freed = async {
        loop {
            let answer = gateway.get(&format!("{EVENTS}?follow=false&after=32")).await;
            if answer.status == 200 {
                return;
            }
            answer.refused(503, "streams");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    in_time(freed).await;
    let mut got = Vec::new();
    drop(in_time(deaf.read_to_end(&mut got)).await);
    assert!(got.len() < 32 * large.len(), "it was not stalled: {} bytes", got.len());
    // Who waits for news for longer than that is not taken for one who does not listen.
    tokio::time::sleep(Duration::from_millis(900)).await;
    gateway.event("o1", 33, "d").await;
    stream.until(33, "id: ").await;
    end(&gateway).await;
    assert!(stream.rest().await.1);
}

#[tokio::test]
async fn streams_break_off_when_the_server_is_told_to_stop() {
    let gateway = running().await;
    gateway.event("o1", 1, "d").await;
    let mut streams = Vec::new();
    for headers in [&[][..], &[SSE][..]] {
        let mut stream = Stream::open(&gateway, "", headers).await;
        let begin = if headers.is_empty() { "{" } else { "id: " };
        stream.until(1, begin).await;
        streams.push(stream);
    }
    // Nothing ends the tasks of a server that does not stop by itself.
    gateway.life.stop();
    for (text, proper) in join_all(streams.into_iter().map(Stream::rest)).await {
        // It was not the end, and does not look like one.
        assert!(!proper && !text.contains("event: end"), "{text}");
    }
}

#[tokio::test]
async fn streams_break_off_when_users_are_reloaded() {
    let gateway = running().await;
    gateway.event("o1", 1, "d").await;
    let mut stream = Stream::open(&gateway, "", &[]).await;
    stream.until(1, "{").await;
    gateway.life.reload();
    assert_eq!(stream.rest().await, (format!("{}\n", event(1)), false));
    // With valid credentials the stream can be resumed.
    let mut again = Stream::open(&gateway, "?after=1", &[]).await;
    gateway.event("o1", 2, "d").await;
    again.until(1, "{").await;
}

#[tokio::test]
async fn thirty_third_stream_of_a_user_is_rejected_with_429() {
    let gateway = running().await;
    let mut streams = Vec::new();
    for _ in 0..32 {
        streams.push(Stream::open(&gateway, "", &[]).await);
    }
    let events = format!("/api/v0{EVENTS}?follow=false");
    let one_more = gateway.get(&format!("{EVENTS}?follow=false")).await;
    one_more.refused(429, "the user admin has 32 open event streams");
    let other = basic(format!("other:{PASSWORD}"));
    assert_eq!(gateway.send_as(&other, "GET", &events).await.status, 200);
    streams.pop();
    let freed = async {
        while gateway.get(&format!("{EVENTS}?follow=false")).await.status != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    in_time(freed).await;
}

/// A storage service that is away after the first few answers, for as many requests.
async fn unsteady(gateway: &Gateway, life: &Lifecycle) {
    let asked = Arc::new(AtomicUsize::new(0));
    let answer = move |call: Call| {
        let params = call.params.value();
        let is_about_access =
            ["Bindings", "ApiTokens"].iter().any(|list| params["model_type_name"] == *list);
        let is_instance = params["model_type_name"] == "Instance";
        let is_counted = !is_about_access && !is_instance;
        let asked = asked.fetch_add(usize::from(is_counted), Ordering::SeqCst);
        async move {
            if is_about_access {
                return Ok(json!([]));
            }
            if is_instance {
                return Err(Error::not_found("there is no Instance all"));
            }
            if (2..6).contains(&asked) {
                return Err(Error::unavailable("the store does not answer"));
            }
            if params["model_type_name"] == "Operation" {
                let status = if asked < 8 { "in_process" } else { "finished" };
                let operation = json!({"id": "o1", "cluster": "c1", "kind": "restart",
                    "status": status, "started_at": "t", "hosts": []});
                return Ok(json!({"record": operation, "revision": 1}));
            }
            let ids = params["ids"].as_array().unwrap();
            let there = if asked < 2 { 1 } else { 2 };
            let found = ids.iter().map(|id| {
                let id = id.as_str().unwrap();
                let seq: u64 = id.rsplit('.').next().unwrap().parse().unwrap();
                let mut event = event(seq);
                event["id"] = json!(OperationEvent::id_of("o1", seq));
                let found = json!({"record": event, "revision": 1});
                if seq <= there { found } else { Value::Null }
            });
            Ok(found.collect())
        }
    };
    gateway.bus.serve(topology::STORAGE, 16, life, answer).await.unwrap();
}

#[tokio::test]
async fn a_store_that_does_not_answer_for_a_while_ends_no_stream() {
    let gateway = Setup { storage: Storage::Absent, ..Setup::default() }.start().await;
    unsteady(&gateway, &gateway.life).await;
    let stream = Stream::open(&gateway, "", &[SSE]).await;
    let (text, proper) = stream.rest().await;
    assert_eq!((numbers(&text), proper), (vec![1, 2], true));
    assert!(text.ends_with("event: end\ndata: {\"status\":\"finished\"}\n\n"), "{text}");
}
