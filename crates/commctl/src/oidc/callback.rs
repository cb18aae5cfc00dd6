//! The address on this machine to which the browser brings the issuer's answer.

use std::cell::Cell;
use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use oauth2::AuthorizationCode;
use reqwest::Url;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::issuer::shown;

const PATH: &str = "/callback";

/// Size limit of a request, in bytes: browsers send all cookies of 127.0.0.1 along.
const REQUEST_MAX: usize = 32 * 1024;

/// Timeout for the answer: the user logs in at the issuer in this time.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_mins(5);

/// Timeout for one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The most connections at a time; further ones wait.
const CONNECTIONS: usize = 16;

/// What the answer must have.
#[derive(Debug)]
pub(super) struct Expected<'a> {
    pub(super) state: &'a str,
    pub(super) issuer: &'a str,
    /// Whether each answer names its issuer (RFC 9207).
    pub(super) announces_issuer: bool,
}

/// The code, or the issuer's error.
type Answer = Result<AuthorizationCode, String>;

/// Accepts connections from this machine.
#[derive(Debug)]
pub(super) struct Listener(TcpListener);

impl Listener {
    pub(super) async fn bind() -> io::Result<Self> {
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map(Self)
    }

    pub(super) fn redirect_uri(&self) -> io::Result<String> {
        Ok(format!("http://{}{PATH}", self.0.local_addr()?))
    }

    /// The first answer with the right state; all other requests are refused, and do not end the wait. `None` if it does not
    /// come in time.
    pub(super) async fn answer(self, expected: &Expected<'_>) -> Option<Answer> {
        timeout(ANSWER_TIMEOUT, self.first(expected)).await.ok()
    }

    async fn first(self, expected: &Expected<'_>) -> Answer {
        let is_answered = Cell::new(false);
        let mut connections = FuturesUnordered::new();
        loop {
            tokio::select! {
                accepted = self.0.accept(), if connections.len() < CONNECTIONS => {
                    // A connection that was aborted before it was accepted is ignored.
                    if let Ok((stream, _)) = accepted {
                        let served = serve(stream, expected, &is_answered);
                        connections.push(async { timeout(REQUEST_TIMEOUT, served).await.ok().flatten() });
                    }
                }
                Some(served) = connections.next() => {
                    if let Some(answer) = served {
                        return answer;
                    }
                }
            }
        }
    }
}

/// Answers one request; the issuer's answer, if it is that.
async fn serve(
    mut stream: TcpStream,
    expected: &Expected<'_>,
    is_answered: &Cell<bool>,
) -> Option<Answer> {
    let verdict = match read(&mut stream).await {
        Some(head) => judge(&head, expected),
        None => Err("431 Request Header Fields Too Large"),
    };
    let verdict = match verdict {
        Ok(_) if is_answered.replace(true) => Err("409 Conflict"),
        verdict => verdict,
    };
    let (status, page) = match &verdict {
        Ok(Ok(_)) => {
            ("200 OK", "The answer has arrived: return to the terminal, and close this page.")
        }
        Ok(Err(_)) => ("200 OK", "The log-in has failed: the terminal shows why. Close this page."),
        Err(status) => (*status, "This is not the answer to the log-in that commctl waits for."),
    };
    let length = page.len() + 1;
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\n\
         Cache-Control: no-store\r\nContent-Security-Policy: default-src 'none'\r\n\
         X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\nConnection: close\r\n\r\n{page}\n"
    );
    // The browser need not stay for the page.
    let _written = stream.write_all(answer.as_bytes()).await;
    let _closed = stream.shutdown().await;
    verdict.ok()
}

/// The head of a request; `None` if it is too large or incomplete.
async fn read(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    let mut part = [0; 4096];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let count = stream.read(&mut part).await.ok().filter(|count| *count > 0)?;
        if head.len() + count > REQUEST_MAX {
            return None;
        }
        head.extend_from_slice(&part[..count]);
    }
    Some(head)
}

/// The issuer's answer in a request, or the status with which the request is refused.
fn judge(head: &[u8], expected: &Expected<'_>) -> Result<Answer, &'static str> {
    const BAD_REQUEST: &str = "400 Bad Request";
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = std::str::from_utf8(line).map_err(|_| BAD_REQUEST)?;
    let [method, target, "HTTP/1.1" | "HTTP/1.0"] = line.split(' ').collect::<Vec<_>>()[..] else {
        return Err(BAD_REQUEST);
    };
    if !target.starts_with('/') {
        return Err("404 Not Found");
    }
    let url = Url::parse(&format!("http://127.0.0.1{target}")).map_err(|_| BAD_REQUEST)?;
    if url.path() != PATH {
        return Err("404 Not Found");
    }
    if method != "GET" {
        return Err("405 Method Not Allowed");
    }
    let parameters: Vec<_> = url.query_pairs().collect();
    let one = |name: &str| {
        let mut values = parameters.iter().filter(|(found, _)| found == name);
        let value = values.next().map(|(_, value)| value.as_ref());
        if values.next().is_some() { Err(BAD_REQUEST) } else { Ok(value) }
    };
    let [state, code, error] = [one("state")?, one("code")?, one("error")?];
    if state != Some(expected.state) || code.is_none() == error.is_none() {
        return Err(BAD_REQUEST);
    }
    match one("iss")? {
        Some(issuer) if issuer != expected.issuer => {
            return Ok(Err(format!("the answer is of another issuer: {}", shown(issuer))));
        }
        None if expected.announces_issuer => {
            return Ok(Err("the answer does not name its issuer".to_owned()));
        }
        _ => {}
    }
    Ok(match (code, error) {
        (Some(code), None) => Ok(AuthorizationCode::new(code.to_owned())),
        (_, error) => {
            let error = error.unwrap_or_default();
            Err(match one("error_description")? {
                Some(description) => shown(&format!("{description} ({error})")),
                None => shown(error),
            })
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(line: &str, announces_issuer: bool) -> Result<Result<String, String>, &'static str> {
        let expected = Expected { state: "s1", issuer: "https://id", announces_issuer };
        let head = format!("{line}\r\nHost: a\r\n\r\n");
        judge(head.as_bytes(), &expected).map(|answer| answer.map(|code| code.secret().clone()))
    }

    #[test]
    fn only_an_answer_with_the_state_counts() {
        let get = |target: &str| judged(&format!("GET {target} HTTP/1.1"), false);
        assert_eq!(get("/callback?code=c&state=s1"), Ok(Ok("c".to_owned())));
        for (target, status) in [
            ("/callback?code=c&state=s2", "400"),
            ("/callback?code=c", "400"),
            ("/callback?code=c&state=", "400"),
            ("/callback?state=s1", "400"),
            ("/callback?code=c&error=e&state=s1", "400"),
            ("/callback?code=c&code=d&state=s1", "400"),
            ("/callback?code=c&state=s1&state=s1", "400"),
            ("/callback?code=c&state=s2&state=s1", "400"),
            ("/callback?error=access_denied&state=s2", "400"),
            ("/callback/?code=c&state=s1", "404"),
            ("/?code=c&state=s1", "404"),
            ("http://other/callback?code=c&state=s1", "404"),
            ("//other/callback?code=c&state=s1&x=/", "404"),
            ("/favicon.ico", "404"),
        ] {
            let verdict = get(target);
            let is_refused = verdict.as_ref().is_err_and(|found| found.starts_with(status));
            assert!(is_refused, "{target}: {verdict:?}");
        }
        assert!(
            judged("POST /callback?code=c&state=s1 HTTP/1.1", false)
                .unwrap_err()
                .starts_with("405")
        );
        for line in
            ["", "GET", "GET /callback?code=c&state=s1", "GET /callback?code=c&state=s1 HTTP/2"]
        {
            assert!(judged(line, false).is_err(), "{line}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn wait_for_the_answer_ends_after_five_minutes() {
        let listener = Listener::bind().await.unwrap();
        let expected = Expected { state: "s1", issuer: "https://id", announces_issuer: false };
        let begun = tokio::time::Instant::now();
        assert!(listener.answer(&expected).await.is_none());
        assert_eq!(begun.elapsed().as_secs(), 300);
    }

    #[test]
    fn answer_of_another_issuer_fails() {
        let with = |iss: &str, announced| {
            judged(&format!("GET /callback?code=c&state=s1{iss} HTTP/1.1"), announced).unwrap()
        };
        for announced in [false, true] {
            assert!(with("&iss=https%3A%2F%2Fid", announced).is_ok());
            assert!(
                with("&iss=https%3A%2F%2Fid%2F", announced).unwrap_err().contains("another issuer")
            );
        }
        assert!(with("", false).is_ok());
        assert!(with("", true).unwrap_err().contains("does not name its issuer"));
    }

    #[test]
    fn errors_are_shown_without_control_characters() {
        let line =
            "GET /callback?error=access_denied&error_description=no%1b[31m%0Ago&state=s1 HTTP/1.1";
        assert_eq!(judged(line, false), Ok(Err("no\\u{1b}[31m go (access_denied)".to_owned())));
    }
}
