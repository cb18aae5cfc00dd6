//! A receiver of webhooks.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::server::eventually;

/// A delivery that was received.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    /// When its last byte arrived.
    pub(crate) at: Timestamp,
    pub(crate) body: Value,
}

/// An HTTP server that accepts each delivery.
pub(crate) struct Receiver {
    pub(crate) url: String,
    received: Arc<Mutex<Vec<Delivery>>>,
    server: JoinHandle<()>,
}

impl Receiver {
    /// A receiver on loopback; `path` is the path of its URL, with a query if there is one.
    #[expect(clippy::disallowed_methods, reason = "the runtime of a test ends all tasks")]
    pub(crate) async fn start(path: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}{path}", listener.local_addr().unwrap());
        let received = Arc::<Mutex<Vec<_>>>::default();
        let deliveries = Arc::clone(&received);
        let server = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                // A sender that is killed leaves an incomplete request.
                let Some(delivery) = receive(stream).await else { continue };
                deliveries.lock().unwrap_or_else(PoisonError::into_inner).push(delivery);
            }
        });
        Self { url, received, server }
    }

    /// Waits for a delivery, and removes it: deliveries are not ordered.
    pub(crate) async fn next(&self, is_wanted: impl Fn(&Value) -> bool) -> Delivery {
        eventually("the webhook is called", async || {
            let mut received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
            let place = received.iter().position(|delivery| is_wanted(&delivery.body))?;
            Some(received.remove(place))
        })
        .await
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// The delivery of a request; `None` if the connection breaks.
#[expect(clippy::disallowed_methods, reason = "a receiver has the clock of the machine")]
async fn receive(mut stream: TcpStream) -> Option<Delivery> {
    let mut request = Vec::new();
    loop {
        let mut part = [0; 4096];
        let count = stream.read(&mut part).await.ok().filter(|count| *count > 0)?;
        request.extend_from_slice(&part[..count]);
        let text = String::from_utf8_lossy(&request);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let head = head.to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        if body.len() == length.parse::<usize>().unwrap() {
            let at = Timestamp::now();
            let body = serde_json::from_str(body).unwrap();
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.ok()?;
            return Some(Delivery { at, body });
        }
    }
}
