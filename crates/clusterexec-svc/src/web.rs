//! HTTP requests to hosts and to the webhook. A leaf.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bus::{Error, Result};
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};
use url::Url;

/// Where HTTP requests are sent; clones share the client.
#[derive(Debug, Clone)]
pub enum Web {
    /// Over the network.
    Network(Client),
    /// To a server in memory, for tests in paused time, in which nothing may block.
    Memory(MemoryServer),
}

impl Web {
    /// A client that follows no redirects, and ignores the proxies that the environment names: hosts and webhooks are in
    /// the operator's own network, and the URL of a webhook may hold a secret. It keeps no connection open, as hosts are
    /// rebooted between two requests.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn network() -> Result<Self> {
        let client =
            Client::builder().redirect(Policy::none()).no_proxy().pool_max_idle_per_host(0);
        let client = client.build();
        client
            .map(Self::Network)
            .map_err(|e| Error::internal("cannot set up HTTP requests").with_source(e))
    }

    /// The status of the response to a `GET`.
    ///
    /// # Errors
    /// When there is no response within `timeout`.
    pub(crate) async fn get(&self, url: &str, timeout: Duration) -> reqwest::Result<StatusCode> {
        match self {
            Self::Network(client) => Ok(client.get(url).timeout(timeout).send().await?.status()),
            Self::Memory(server) => Ok(server.lock().status),
        }
    }

    /// Sends a JSON document by `POST`.
    ///
    /// # Errors
    /// A message without the URL, which may hold a secret, if the response is not a success or does not arrive within
    /// `timeout`.
    pub(crate) async fn post(
        &self,
        url: &Url,
        headers: HeaderMap,
        body: String,
        timeout: Duration,
    ) -> Result<(), String> {
        let status = match self {
            Self::Network(client) => {
                let request = client.post(url.clone()).timeout(timeout).headers(headers);
                let request = request.header(CONTENT_TYPE, "application/json").body(body);
                let sent = request.send().await;
                sent.map_err(|error| error.without_url().to_string())?.status()
            }
            Self::Memory(server) => server.receive(headers, body),
        };
        if status.is_success() {
            Ok(())
        } else {
            Err(format!("the receiver responds with {status}"))
        }
    }
}

/// A server in memory; clones share it.
#[derive(Debug, Clone, Default)]
pub struct MemoryServer(Arc<Mutex<Served>>);

/// A `POST` that a [`MemoryServer`] has received.
#[derive(Debug, Clone)]
pub struct Post {
    /// The headers of the request.
    pub headers: HeaderMap,
    /// The body.
    pub body: String,
}

#[derive(Debug, Default)]
struct Served {
    status: StatusCode,
    posts: Vec<Post>,
}

impl MemoryServer {
    fn lock(&self) -> MutexGuard<'_, Served> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Responds with `status` from now on; with 200 before.
    pub fn set_status(&self, status: StatusCode) {
        self.lock().status = status;
    }

    /// The requests since the last call, rejected ones included.
    pub fn take(&self) -> Vec<Post> {
        std::mem::take(&mut self.lock().posts)
    }

    fn receive(&self, headers: HeaderMap, body: String) -> StatusCode {
        let mut served = self.lock();
        served.posts.push(Post { headers, body });
        served.status
    }
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "a test that is its own child, and a server of its own"
)]
mod tests {
    use std::io::{ErrorKind, Read as _, Write as _};
    use std::net::TcpListener;
    use std::process::Command;

    use super::*;

    /// Tells the child of the test below which URL to ask.
    const URL: &str = "COMMISSAIRE_TEST_URL";

    const NAME: &str = "web::tests::health_checks_and_webhooks_ignore_proxies_of_the_environment";

    /// The environment of a process is set at its start, so a child asks.
    #[test]
    fn health_checks_and_webhooks_ignore_proxies_of_the_environment() {
        if let Ok(url) = std::env::var(URL) {
            return ask(&url);
        }
        let [proxy, target] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let url = |listener: &TcpListener| format!("http://{}/", listener.local_addr().unwrap());
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", NAME]).env(URL, url(&target));
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
            child.env(name, url(&proxy)).env(name.to_lowercase(), url(&proxy));
        }
        std::thread::spawn(move || target.incoming().flatten().for_each(answer));
        let said = String::from_utf8(child.output().unwrap().stdout).unwrap();
        assert!(said.contains("1 passed"), "{said}");
        proxy.set_nonblocking(true).unwrap();
        assert_eq!(proxy.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    }

    #[tokio::main(flavor = "current_thread")]
    async fn ask(url: &str) {
        let timeout = Duration::from_secs(30);
        let web = Web::network().unwrap();
        assert_eq!(web.get(url, timeout).await.unwrap(), StatusCode::NO_CONTENT);
        let (url, body) = (url.parse().unwrap(), "{}".to_owned());
        web.post(&url, HeaderMap::new(), body, timeout).await.unwrap();
    }

    fn answer(mut stream: std::net::TcpStream) {
        // The whole request is in the first segment.
        let read = stream.read(&mut [0; 4096]);
        read.and_then(|_| {
            stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        })
        .unwrap();
    }
}
