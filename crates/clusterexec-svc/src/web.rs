//! Requests to URLs of the operator's.

use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};
use url::Url;

/// The status of the answer to a `GET`.
///
/// # Errors
/// When there is no answer within `timeout`.
pub(crate) async fn get(url: &str, timeout: Duration) -> reqwest::Result<StatusCode> {
    Ok(client(timeout)?.get(url).send().await?.status())
}

/// Sends a JSON document by `POST`.
///
/// # Errors
/// A message without the URL, which may hold a secret, if the answer is not a success or does not come within
/// `timeout`.
pub(crate) async fn post(
    url: &Url,
    body: &serde_json::Value,
    timeout: Duration,
) -> Result<(), String> {
    let message = |error: reqwest::Error| error.without_url().to_string();
    let request = client(timeout).map_err(message)?.post(url.clone()).json(body);
    let status = request.send().await.map_err(message)?.status();
    if status.is_success() { Ok(()) } else { Err(format!("it answers {status}")) }
}

/// A client that follows no redirects, and ignores the proxies that the environment names: hosts and webhooks are in the
/// operator's own network, and the URL of a webhook may hold a secret.
fn client(timeout: Duration) -> reqwest::Result<Client> {
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
        assert_eq!(get(url, timeout).await.unwrap(), StatusCode::NO_CONTENT);
        post(&url.parse().unwrap(), &json!({}), timeout).await.unwrap();
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
