//! Requests to URLs of the operator's.

use std::time::Duration;

use reqwest::Client;
use reqwest::redirect::Policy;

/// A client whose requests end within `timeout`. It follows no redirects, and ignores the proxies that the environment
/// names: hosts and webhooks stand in the operator's own network, and a webhook's URL may hold a secret.
///
/// # Errors
/// When TLS cannot be set up.
pub(crate) fn client(timeout: Duration) -> reqwest::Result<Client> {
    Client::builder().timeout(timeout).redirect(Policy::none()).no_proxy().build()
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

    use serde_json::json;

    use crate::{health, webhook};

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
        assert_eq!(health::ask_url(url, "127.0.0.1").await, None);
        webhook::post(&url.parse().unwrap(), &json!({})).await.unwrap();
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
