//! A token in a file, which others replace while the service runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bus::error::chain;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Request, StatusCode};
use kube::Client;
use kube::client::Body;
use runtime::Files;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tower::{BoxError, service_fn};

/// How long a token is used before its file is read again.
const READ_AGAIN: Duration = Duration::from_mins(1);

/// The token in a file. The library would keep a rejected token for a minute, and cannot send one that a line feed follows.
#[derive(Debug)]
struct TokenFile {
    path: PathBuf,
    files: Files,
    known: Mutex<Known>,
}

/// What a file with a token held when it was last read.
#[derive(Debug)]
struct Known {
    header: HeaderValue,
    /// When it was read; `None` if the API server has rejected it since.
    read_at: Option<Instant>,
}

/// Adds the token in a file to the requests of a client. The file is read again once a minute, and before the next request
/// when the API server has rejected the token.
///
/// # Errors
/// A sentence that says why there is no token in the file.
pub(super) async fn authorized(
    client: Client,
    path: PathBuf,
    files: &Files,
) -> Result<Client, String> {
    let namespace = client.default_namespace().to_owned();
    let header = read(&path, files).await?;
    let known = Mutex::new(Known { header, read_at: Some(Instant::now()) });
    let file = Arc::new(TokenFile { path, files: files.clone(), known });
    let service = service_fn(move |mut request: Request<Body>| {
        let (client, file) = (client.clone(), Arc::clone(&file));
        async move {
            let header = file.header().await;
            request.headers_mut().insert(AUTHORIZATION, header.clone());
            let response = client.send(request).await?;
            if response.status() == StatusCode::UNAUTHORIZED {
                file.reject(&header).await;
            }
            Ok::<_, BoxError>(response)
        }
    });
    Ok(Client::new(service, namespace))
}

impl TokenFile {
    async fn header(&self) -> HeaderValue {
        let mut known = self.known.lock().await;
        if known.read_at.is_some_and(|read_at| read_at.elapsed() < READ_AGAIN) {
            return known.header.clone();
        }
        match read(&self.path, &self.files).await {
            Ok(header) => known.header = header,
            // The one before may still be valid.
            Err(problem) => tracing::warn!(problem, "the token of a container manager is not read"),
        }
        known.read_at = Some(Instant::now());
        known.header.clone()
    }

    /// Has the file read again, unless that has happened since this token was sent.
    async fn reject(&self, header: &HeaderValue) {
        let mut known = self.known.lock().await;
        if known.header == *header {
            known.read_at = None;
        }
    }
}

/// The header with the token in a file.
async fn read(path: &Path, files: &Files) -> Result<HeaderValue, String> {
    let place = path.display();
    let text = files.read_to_string(path).await;
    let text = text.map_err(|error| format!("cannot read {place}: {}", chain(&error)))?;
    let token = text.trim();
    if token.is_empty() {
        return Err(format!("{place} holds no token"));
    }
    let header = HeaderValue::from_str(&format!("Bearer {token}"));
    let mut header = header
        .map_err(|_| format!("the token in {place} has characters that are not allowed in one"))?;
    header.set_sensitive(true);
    Ok(header)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex as StdMutex;

    use runtime::files::MemoryFiles;

    use super::*;

    /// A client whose server accepts one token, and the tokens that it was sent.
    struct Server {
        client: Client,
        accepted: Arc<StdMutex<String>>,
        sent: Arc<StdMutex<Vec<String>>>,
        files: MemoryFiles,
    }

    impl Server {
        async fn start() -> Self {
            let accepted = Arc::new(StdMutex::new("one".to_owned()));
            let sent = Arc::<StdMutex<Vec<String>>>::default();
            let (valid, seen) = (Arc::clone(&accepted), Arc::clone(&sent));
            let service = service_fn(move |request: Request<Body>| {
                let header = request.headers()[AUTHORIZATION].to_str().unwrap();
                let token = header.strip_prefix("Bearer ").unwrap().to_owned();
                let status = if token == *valid.lock().unwrap() { 200 } else { 401 };
                seen.lock().unwrap().push(token);
                let response = http::Response::builder().status(status);
                std::future::ready(response.body(Body::from(b"{}".to_vec())))
            });
            let files = MemoryFiles::default();
            files.write("/token", "one\n");
            let client = Client::new(service, "default");
            let memory = Files::Memory(files.clone());
            let client = authorized(client, "/token".into(), &memory).await.unwrap();
            Self { client, accepted, sent, files }
        }

        /// The status of a request, and the token that was sent.
        async fn ask(&self) -> (u16, String) {
            let request = Request::get("/").body(Body::empty()).unwrap();
            let status = self.client.send(request).await.unwrap().status().as_u16();
            (status, self.sent.lock().unwrap().pop().unwrap())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn replaced_token_is_used_within_a_minute() {
        let server = Server::start().await;
        assert_eq!(server.ask().await, (200, "one".to_owned()));
        server.files.write("/token", "two");
        "two".clone_into(&mut server.accepted.lock().unwrap());
        // The old one is sent, rejected, and not sent again.
        assert_eq!(server.ask().await, (401, "one".to_owned()));
        assert_eq!(server.ask().await, (200, "two".to_owned()));
        server.files.write("/token", "three");
        "three".clone_into(&mut server.accepted.lock().unwrap());
        tokio::time::sleep(READ_AGAIN).await;
        assert_eq!(server.ask().await, (200, "three".to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn file_that_is_unusable_leaves_the_token_before_it() {
        let server = Server::start().await;
        for content in ["", " \n", "with\nlines"] {
            server.files.write("/token", content);
            tokio::time::sleep(READ_AGAIN).await;
            assert_eq!(server.ask().await, (200, "one".to_owned()), "{content:?}");
        }
        let files = Files::Memory(server.files.clone());
        let refused =
            authorized(server.client.clone(), "/none".into(), &files).await.err().unwrap();
        assert!(refused.contains("cannot read /none"), "{refused}");
    }
}
