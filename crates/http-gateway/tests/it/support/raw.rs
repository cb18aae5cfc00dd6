//! HTTP by hand, for what no client sends.

use std::net::SocketAddr;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::Answer;

/// A server that takes longer hangs.
const PATIENCE: Duration = Duration::from_mins(1);

/// What comes of it, if it does not hang.
#[track_caller]
pub(crate) fn in_time<T>(what: impl Future<Output = T>) -> impl Future<Output = T> {
    let waited = tokio::time::timeout(PATIENCE, what);
    async { waited.await.expect("it hangs") }
}

/// Sends bytes and reads until the server closes the connection.
pub(super) async fn exchange(address: SocketAddr, request: &[u8]) -> Answer {
    let what = String::from_utf8_lossy(&request[..request.len().min(200)]).into_owned();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut answer = Vec::new();
    let talk = async {
        // A server that has seen enough may refuse the rest.
        drop(stream.write_all(request).await);
        drop(stream.read_to_end(&mut answer).await);
    };
    assert!(tokio::time::timeout(PATIENCE, talk).await.is_ok(), "no answer in time to {what}");
    parse(what, &answer)
}

fn parse(what: String, answer: &[u8]) -> Answer {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n");
    let end = end.unwrap_or_else(|| panic!("no answer to {what}"));
    let head = std::str::from_utf8(&answer[..end]).unwrap();
    let (status_line, lines) = head.split_once("\r\n").unwrap_or((head, ""));
    let status = status_line.split(' ').nth(1).unwrap().parse().unwrap();
    let header = |line: &str| {
        let (name, value) = line.split_once(':').unwrap();
        let name: HeaderName = name.parse().unwrap();
        (name, HeaderValue::from_str(value.trim()).unwrap())
    };
    let headers: HeaderMap = lines.lines().map(header).collect();
    Answer { what, status, headers, body: answer[end + 4..].to_vec() }
}
