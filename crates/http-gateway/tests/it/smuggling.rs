//! Requests that another server could see the end of elsewhere: no second one is ever seen in them.

use super::support::{Gateway, PASSWORD, USER, basic};

/// Would make a cluster, if it were taken for a request.
fn second() -> String {
    let authorization = basic(format!("{USER}:{PASSWORD}"));
    format!(
        "PUT /api/v0/cluster/smuggled HTTP/1.1\r\nHost: a\r\nAuthorization: {authorization}\r\n\
         Content-Length: 2\r\n\r\n{{}}"
    )
}

#[tokio::test]
async fn a_request_with_two_ends_is_refused_and_nothing_after_it_is_a_request() {
    let gateway = Gateway::start().await;
    let second = second();
    for (what, head, body) in [
        ("both, length first", "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        ("both, length last", "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", "0\r\n\r\n"),
        ("two lengths", "Content-Length: 0\r\nContent-Length: 4\r\n", ""),
        ("the same twice", "Content-Length: 0\r\nContent-Length: 0\r\n", ""),
        ("a list of lengths", "Content-Length: 0, 4\r\n", ""),
        ("a signed length", "Content-Length: +0\r\n", ""),
        ("a huge length", "Content-Length: 99999999999999999999\r\n", ""),
        ("a folded line", "X: a\r\n Content-Length: 4\r\n", ""),
        ("a bare LF", "X: a\nContent-Length: 0\r\n", ""),
        ("a bare CR", "X: a\rContent-Length: 0\r\n", ""),
        ("a space before the colon", "Content-Length : 0\r\n", ""),
        ("another encoding", "Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"),
        ("an unknown encoding", "Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"),
    ] {
        let request = format!("PUT /healthz HTTP/1.1\r\nHost: a\r\n{head}\r\n{body}{second}");
        let answer = gateway.bytes(request.as_bytes()).await;
        assert_eq!(answer.status, 400, "{what}: {}", answer.text());
        assert!(!answer.text().contains("HTTP/1.1"), "{what}: {}", answer.text());
    }
    gateway.get("/cluster/smuggled").await.refused(404, "");
}

#[tokio::test]
async fn a_chunked_request_is_the_last_of_its_connection() {
    let gateway = Gateway::start().await;
    let authorization = basic(format!("{USER}:{PASSWORD}"));
    let second = second();
    for (chunks, status) in [
        ("2\r\n{}\r\n0\r\n\r\n", 201),
        ("2;a=b\r\n{}\r\n0\r\n\r\n", 201),
        ("2\r\n{}x\r\n0\r\n\r\n", 400),
        ("2\n{}\n0\n\n", 400),
        ("-2\r\n{}\r\n0\r\n\r\n", 400),
        ("0x2\r\n{}\r\n0\r\n\r\n", 400),
        ("ffffffffffffffffff\r\n{}\r\n0\r\n\r\n", 400),
        ("nonsense", 400),
    ] {
        let request = format!(
            "PUT /api/v0/network/n1 HTTP/1.1\r\nHost: a\r\nAuthorization: {authorization}\r\n\
             Transfer-Encoding: chunked\r\n\r\n{chunks}{second}"
        );
        let answer = gateway.bytes(request.as_bytes()).await;
        assert_eq!(answer.status, status, "{chunks:?}: {}", answer.text());
        assert_eq!(answer.header("connection"), "close", "{chunks:?}");
        assert!(!answer.text().contains("HTTP/1.1"), "{chunks:?}: {}", answer.text());
    }
    gateway.get("/cluster/smuggled").await.refused(404, "");
}

#[tokio::test]
async fn requests_one_after_the_other_are_all_answered() {
    let gateway = Gateway::start().await;
    let last = "GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let answer = gateway.bytes(format!("{}{last}", second()).as_bytes()).await;
    assert_eq!(answer.status, 201);
    assert!(answer.text().contains("HTTP/1.1 200 OK"), "{}", answer.text());
}
