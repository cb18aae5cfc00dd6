//! Clients that take their time, or too much: they are sent away, and the others do not notice.

use std::net::SocketAddr;
use std::time::Duration;

use http_gateway::Config;
use http_gateway::server::limits::Limits;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::sleep;

use super::support::{Gateway, PASSWORD, Setup, Storage, USER, basic, in_time};

const SHORT: Duration = Duration::from_millis(200);

async fn with(limits: Limits) -> Gateway {
    Setup { config: Config { limits, ..Config::default() }, ..Setup::default() }.start().await
}

/// Sends this, and reads until the server closes the connection.
async fn until_closed(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    in_time(stream.read_to_end(&mut answer)).await.unwrap();
    String::from_utf8(answer).unwrap()
}

/// Sends a request that is complete, and reads the head of its answer.
async fn asked(stream: &mut TcpStream) -> String {
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut answer = vec![0; 1024];
    let count = in_time(stream.read(&mut answer)).await.unwrap();
    String::from_utf8_lossy(&answer[..count]).into_owned()
}

#[tokio::test]
async fn a_head_that_does_not_end_ends_the_connection() {
    let gateway = with(Limits { head: SHORT, ..Limits::default() }).await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n").await.unwrap();
    let mut slowly = tokio::time::interval(SHORT / 10);
    let closed = async {
        let mut rest = [0; 16];
        loop {
            tokio::select! {
                read = stream.read(&mut rest) => return read.unwrap_or(0),
                _ = slowly.tick() => {}
            }
            // Something comes again and again, and it never ends.
            if stream.write_all(b"A: b\r\n").await.is_err() {
                return 0;
            }
        }
    };
    assert_eq!(in_time(closed).await, 0);
    gateway.get("/hosts").await.is(200, &json!([]));
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_408_and_the_connection_closed() {
    let gateway = with(Limits { body: SHORT, ..Limits::default() }).await;
    let authorization = basic(format!("{USER}:{PASSWORD}"));
    for framing in ["Content-Length: 100\r\n\r\n{", "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"]
    {
        let request = format!(
            "PUT /api/v0/cluster/c1 HTTP/1.1\r\nHost: a\r\nAuthorization: {authorization}\r\n{framing}"
        );
        let answer = until_closed(gateway.address, &request).await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        assert!(answer.contains("connection: close"), "{answer}");
        assert!(answer.contains("application/problem+json"), "{answer}");
        assert!(answer.contains("x-request-id: "), "{answer}");
    }
    gateway.get("/cluster/c1").await.refused(404, "");
}

#[tokio::test]
async fn an_idle_connection_is_closed_before_and_after_a_request() {
    let gateway = with(Limits { idle: SHORT, ..Limits::default() }).await;
    assert_eq!(until_closed(gateway.address, "").await, "");
    let answer = until_closed(gateway.address, "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(!answer.contains("connection: close"), "{answer}");
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_504() {
    let limits = Limits { request: SHORT, ..Limits::default() };
    let config = Config { limits, ..Config::default() };
    let gateway = Setup { storage: Storage::Silent, config, ..Setup::default() }.start().await;
    let header = ("x-request-id", "abc-1");
    let answer = gateway.send_with(header, "GET", "/api/v0/hosts", "").await;
    answer.refused(504, "look with GET");
    assert_eq!(answer.header("x-request-id"), "abc-1");
}

#[tokio::test]
async fn an_answer_that_nobody_reads_is_not_kept() {
    let gateway = with(Limits { idle: SHORT, connections: 1, ..Limits::default() }).await;
    let socket = TcpSocket::new_v4().unwrap();
    // Few answers fill it.
    socket.set_recv_buffer_size(4096).unwrap();
    let mut deaf = socket.connect(gateway.address).await.unwrap();
    let many = "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1_000);
    // Until nothing goes through any more, in either direction.
    let sending = async { while deaf.write_all(many.as_bytes()).await.is_ok() {} };
    in_time(sending).await;
    // There is room for one only: that one.
    let mut other = TcpStream::connect(gateway.address).await.unwrap();
    assert!(asked(&mut other).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_thousand_idle_connections_are_in_nobodys_way() {
    let gateway = Gateway::start().await;
    let mut idle = Vec::new();
    for number in 0..1_000 {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        // A third has never asked, a third has, a third is about to.
        match number % 3 {
            0 => {}
            1 => assert!(asked(&mut stream).await.starts_with("HTTP/1.1 200 ")),
            _ => stream.write_all(b"GET /he").await.unwrap(),
        }
        idle.push(stream);
    }
    for _ in 0..20 {
        in_time(gateway.get("/hosts")).await.is(200, &json!([]));
    }
    // They are still there, too.
    assert!(asked(&mut idle[0]).await.starts_with("HTTP/1.1 200 "));
    assert!(asked(&mut idle[1]).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn connection_without_a_first_byte_is_closed_after_the_head_timeout() {
    let gateway = with(Limits { head: SHORT, ..Limits::default() }).await;
    assert_eq!(until_closed(gateway.address, "").await, "");
    // After a request, the idle timeout applies.
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    asked(&mut stream).await;
    tokio::time::sleep(2 * SHORT).await;
    assert!(asked(&mut stream).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn new_connection_at_the_limit_replaces_the_one_idle_the_longest() {
    let gateway = with(Limits { connections: 2, ..Limits::default() }).await;
    let mut first = TcpStream::connect(gateway.address).await.unwrap();
    let mut second = TcpStream::connect(gateway.address).await.unwrap();
    asked(&mut first).await;
    asked(&mut second).await;
    asked(&mut first).await;
    let mut third = TcpStream::connect(gateway.address).await.unwrap();
    assert!(asked(&mut third).await.starts_with("HTTP/1.1 200 "));
    assert_eq!(in_time(second.read(&mut [0; 16])).await.unwrap(), 0);
    assert!(asked(&mut first).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn new_connection_at_the_limit_waits_while_all_are_busy() {
    let limits = Limits { connections: 2, ..Limits::default() };
    let config = Config { limits, ..Config::default() };
    let gateway = Setup { storage: Storage::Silent, config, ..Setup::default() }.start().await;
    let authorization = basic(format!("{USER}:{PASSWORD}"));
    let head =
        format!("GET /api/v0/hosts HTTP/1.1\r\nHost: a\r\nAuthorization: {authorization}\r\n\r\n");
    let mut busy = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        busy.push(stream);
    }
    // Neither has been answered.
    for stream in &mut busy {
        let answer = tokio::time::timeout(SHORT, stream.read(&mut [0])).await;
        assert!(answer.is_err());
    }
    let mut third = TcpStream::connect(gateway.address).await.unwrap();
    let waiting = asked(&mut third);
    tokio::pin!(waiting);
    assert!(tokio::time::timeout(SHORT, &mut waiting).await.is_err(), "both connections are busy");
    busy.pop();
    assert!(in_time(waiting).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn silent_connections_at_the_limit_do_not_block_others() {
    const MOST: usize = 400;
    let gateway = with(Limits { connections: MOST, ..Limits::default() }).await;
    let mut silent = Vec::new();
    for _ in 0..MOST {
        silent.push(TcpStream::connect(gateway.address).await.unwrap());
    }
    // Each request over a new connection.
    for _ in 0..20 {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        assert!(asked(&mut stream).await.starts_with("HTTP/1.1 200 "));
        silent.push(stream);
    }
    let closed = in_time(silent[0].read(&mut [0])).await.unwrap();
    assert_eq!(closed, 0, "the first one was evicted");
    assert!(asked(&mut silent[MOST - 1]).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn of_a_large_body_the_refusal_arrives_and_little_is_read() {
    let gateway = Gateway::start().await;
    let authorization = basic(format!("{USER}:{PASSWORD}"));
    let body = vec![b' '; 10 * 1024 * 1024];
    let chunked = [b"a00000\r\n", &body[..], b"\r\n0\r\n\r\n"].concat();
    for (framing, body) in
        [("Content-Length: 10485760", &body), ("Transfer-Encoding: chunked", &chunked)]
    {
        let head = format!(
            "PUT /api/v0/cluster/c1 HTTP/1.1\r\nHost: a\r\nAuthorization: {authorization}\r\n{framing}\r\n\r\n"
        );
        let answer = gateway.bytes(&[head.as_bytes(), body].concat()).await;
        answer.refused(413, "1048576");
    }
    gateway.get("/hosts").await.is(200, &json!([]));
}

#[tokio::test]
async fn at_the_end_idle_connections_are_closed_and_requests_answered() {
    // No limit of time closes a connection here.
    let long = Duration::from_hours(1);
    let gateway = with(Limits { head: long, body: long, idle: long, ..Limits::default() }).await;
    let mut fresh = TcpStream::connect(gateway.address).await.unwrap();
    let mut idle = TcpStream::connect(gateway.address).await.unwrap();
    assert!(asked(&mut idle).await.starts_with("HTTP/1.1 200 "));
    let mut busy = TcpStream::connect(gateway.address).await.unwrap();
    let authorization = basic(format!("{USER}:{PASSWORD}"));
    let head = format!(
        "PUT /api/v0/cluster/c1 HTTP/1.1\r\nHost: a\r\nAuthorization: {authorization}\r\n\
         Content-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    );
    busy.write_all(head.as_bytes()).await.unwrap();
    let mut text = [0; 1024];
    // The handler waits for the body.
    let count = in_time(busy.read(&mut text)).await.unwrap();
    assert!(text[..count].starts_with(b"HTTP/1.1 100 "));

    gateway.life.stop();
    for stream in [&mut fresh, &mut idle] {
        assert_eq!(in_time(stream.read(&mut text)).await.unwrap(), 0);
    }
    // The storage service has been told the same: this is answered without it.
    busy.write_all(b"[]").await.unwrap();
    let mut answer = String::new();
    in_time(busy.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

#[tokio::test]
async fn at_the_end_a_response_to_a_slow_client_is_sent_to_its_end() {
    let gateway = with(Limits::default()).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut slow = socket.connect(gateway.address).await.unwrap();
    // More than the buffers of both sides hold.
    let requests = "GET /api/v0/openapi.json HTTP/1.1\r\nHost: a\r\n\r\n".repeat(20);
    slow.write_all(requests.as_bytes()).await.unwrap();
    let mut text = vec![0; 1024];
    slow.read_exact(&mut text).await.unwrap();
    gateway.life.stop();
    // Longer than the grace period of an evicted connection, which ends before its client has read the response.
    sleep(Duration::from_millis(1_500)).await;
    in_time(slow.read_to_end(&mut text)).await.unwrap();
    let text = String::from_utf8(text).unwrap();
    let (_, last) = text.rsplit_once("HTTP/1.1 200 ").unwrap();
    let (head, body) = last.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{head}");
}
