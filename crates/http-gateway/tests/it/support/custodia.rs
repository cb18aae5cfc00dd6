//! Custodia: a server on a Unix socket with its way of authentication, containers and secrets.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use runtime::Lifecycle;
use serde_json::json;
use tokio::net::UnixListener;

/// The key of its only user, whose id is `app`.
pub(crate) const CUSTODIA_KEY: &str = "custodia-key";

/// See the module. Clones are the same server.
#[derive(Debug, Clone, Default)]
pub(crate) struct Custodia(Arc<Mutex<Has>>);

#[derive(Debug, Default)]
struct Has {
    /// By path; a container's ends with a slash.
    secrets: BTreeMap<String, Bytes>,
    seen: Vec<(String, HeaderMap)>,
    open: bool,
}

impl Custodia {
    /// One that lets everybody in.
    pub(crate) fn open() -> Self {
        Self(Arc::new(Mutex::new(Has { open: true, ..Has::default() })))
    }

    /// Method with path and query, and headers, of all that was asked.
    pub(crate) fn seen(&self) -> Vec<(String, HeaderMap)> {
        self.0.lock().unwrap().seen.clone()
    }

    pub(crate) fn serve(&self, socket: &Path, life: &Lifecycle) {
        let listener = UnixListener::bind(socket).unwrap();
        let router = Router::new().fallback(answer).with_state(self.clone());
        let stopping = life.stopping();
        life.spawn("custodia", async move {
            axum::serve(listener, router).with_graceful_shutdown(stopping).await.unwrap();
        });
    }
}

async fn answer(
    State(custodia): State<Custodia>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if uri.path().ends_with("/silent/head") {
        return std::future::pending().await;
    }
    let mut has = custodia.0.lock().unwrap();
    has.seen.push((format!("{method} {uri}"), headers.clone()));
    let path = uri.path().strip_prefix("/secrets/").unwrap().to_owned();
    let is = |name: &str, value: &str| headers.get(name).is_some_and(|given| given == value);
    let known = is("custodia_auth_id", "app") && is("custodia_auth_key", CUSTODIA_KEY);
    let container = path.ends_with('/') || path.is_empty();
    let status = match (&method, path.as_str()) {
        _ if !known && !has.open => StatusCode::FORBIDDEN,
        (_, "status/302") => {
            return (StatusCode::FOUND, [("location", "http://example.com")]).into_response();
        }
        (_, "status/500") => {
            return (StatusCode::INTERNAL_SERVER_ERROR, "Traceback canary").into_response();
        }
        (_, "status/406") => StatusCode::NOT_ACCEPTABLE,
        (_, "large") => return vec![b'x'; http_gateway::custodia::ANSWER_MAX + 1].into_response(),
        (_, "largest") => return vec![b'x'; http_gateway::custodia::ANSWER_MAX].into_response(),
        (_, "silent/body") => {
            let never = futures_util::stream::pending::<Result<Bytes, std::io::Error>>();
            return Body::from_stream(never).into_response();
        }
        (&Method::GET, _) if container => {
            let names =
                has.secrets.keys().filter_map(|key| key.strip_prefix(&path)).map(str::to_owned);
            let names: Vec<_> = names.filter(|name| !name.is_empty()).collect();
            return axum::Json(json!(names)).into_response();
        }
        (&Method::GET, _) => match has.secrets.get(&path) {
            Some(secret) => {
                let kind = [("content-type", "application/json"), ("server", "custodia")];
                return (kind, secret.clone()).into_response();
            }
            None => StatusCode::NOT_FOUND,
        },
        (&Method::DELETE, _) if has.secrets.remove(&path).is_some() => StatusCode::NO_CONTENT,
        (&Method::DELETE, _) => StatusCode::NOT_FOUND,
        (&(Method::PUT | Method::POST), _) if (method == Method::POST) != container => {
            StatusCode::METHOD_NOT_ALLOWED
        }
        (&(Method::PUT | Method::POST), _) if has.secrets.contains_key(&path) => {
            StatusCode::CONFLICT
        }
        _ => {
            has.secrets.insert(path, body);
            StatusCode::CREATED
        }
    };
    status.into_response()
}
