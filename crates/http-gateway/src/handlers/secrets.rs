//! Secrets: what is asked for here is passed on to Custodia, which decides by its own authentication.

use axum::body::Bytes;
use axum::extract::{FromRequest as _, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};

use crate::custodia::{Custodia, bad_gateway};
use utoipa_axum::routes;

use crate::endpoint::{Endpoint, Endpoints};
use crate::error::ApiError;
use crate::params::unreadable;
use crate::request::RequestContext;
use crate::state::AppState;

/// Where they are here.
const PATH: &str = "/api/v0/secrets";

/// Where they are at Custodia.
const ROOT: &str = "/secrets";

/// The methods that there are, for `Allow`.
const METHODS: &str = "DELETE, GET, HEAD, POST, PUT";

/// The endpoints of secrets.
pub fn endpoints() -> Endpoints<AppState> {
    Endpoints::new("secrets")
        .add(routes!(list), Endpoint::ADMIN.reads_credentials())
        .add(routes!(get, put, post, delete), Endpoint::ADMIN.reads_credentials().below(PATH))
}

/// The secrets at the top, as Custodia answers it.
#[utoipa::path(
    get,
    path = "/api/v0/secrets",
    responses((status = 200, body = Object), (status = 404), (status = 406), (status = 502)),
)]
async fn list(state: State<AppState>, request: Request) -> Result<Response, ApiError> {
    pass(state, request).await
}

/// A secret; with a slash at the end, the names of those in a container. As Custodia answers it.
#[utoipa::path(
    get,
    path = "/api/v0/secrets/{*path}",
    responses((status = 200, body = Object), (status = 400), (status = 406), (status = 502)),
)]
async fn get(state: State<AppState>, request: Request) -> Result<Response, ApiError> {
    pass(state, request).await
}

/// Keeps a secret; Custodia replaces none.
#[utoipa::path(
    put,
    path = "/api/v0/secrets/{*path}",
    request_body(content = Object, description = "as Custodia has it"),
    responses((status = 201), (status = 405), (status = 409), (status = 415), (status = 502)),
)]
async fn put(state: State<AppState>, request: Request) -> Result<Response, ApiError> {
    pass(state, request).await
}

/// Makes a container; its path ends with a slash.
#[utoipa::path(
    post,
    path = "/api/v0/secrets/{*path}",
    request_body(content = Object, description = "as Custodia has it"),
    responses((status = 201), (status = 405), (status = 409), (status = 415), (status = 502)),
)]
async fn post(state: State<AppState>, request: Request) -> Result<Response, ApiError> {
    pass(state, request).await
}

/// Removes a secret, or a container that is empty.
#[utoipa::path(
    delete,
    path = "/api/v0/secrets/{*path}",
    responses((status = 204), (status = 400), (status = 405), (status = 409), (status = 502)),
)]
async fn delete(state: State<AppState>, request: Request) -> Result<Response, ApiError> {
    pass(state, request).await
}

async fn pass(State(state): State<AppState>, request: Request) -> Result<Response, ApiError> {
    let custodia = state.custodia.as_ref().ok_or_else(ApiError::no_route)?;
    // To Custodia a slash at the end is what makes a container.
    let slash = if RequestContext::of(request.extensions()).has_trailing_slash { "/" } else { "" };
    let target = target(request.uri(), slash).ok_or_else(ApiError::no_route)?;
    let _turn = custodia.turn().await?;
    answer(custodia, &target, request).await
}

async fn answer(custodia: &Custodia, target: &str, request: Request) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let method = if parts.method == Method::HEAD { Method::GET } else { parts.method.clone() };
    let headers = parts.headers.clone();
    let body = Bytes::from_request(Request::from_parts(parts, body), &()).await;
    let body = body.map_err(|e| unreadable(&e))?;
    let answer = custodia.ask(method, target, &headers, body).await?;
    if !answer.status.is_success() {
        return Err(refusal(answer.status));
    }
    let mut response = (answer.status, answer.body).into_response();
    let kind = answer.headers.get(header::CONTENT_TYPE).cloned();
    let kind = kind.unwrap_or(HeaderValue::from_static("application/octet-stream"));
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// What Custodia is asked for; `None` for what could name something outside of its secrets. Names need
/// no escapes, and what is escaped twice is not taken apart here.
fn target(uri: &Uri, slash: &str) -> Option<String> {
    let below = format!("{}{slash}", uri.path().strip_prefix(PATH)?);
    let path = below.strip_prefix('/').unwrap_or(&below);
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&byte);
    let is_name = |name: &str| !matches!(name, "" | "." | "..") && name.bytes().all(is_plain);
    let fits = path.is_empty() || path.strip_suffix('/').unwrap_or(path).split('/').all(is_name);
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    fits.then(|| format!("{ROOT}/{path}{query}"))
}

/// What Custodia says beyond the status may be anything, a traceback among it.
fn refusal(status: StatusCode) -> ApiError {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ApiError::forbidden(
            "Custodia does not let you: give it the credentials that it knows, in its own headers",
        ),
        StatusCode::NOT_FOUND => ApiError::not_found("Custodia has no such secret or container"),
        StatusCode::CONFLICT => ApiError::conflict(
            "Custodia has this already, or what is in it: delete that first, nothing is replaced",
        ),
        StatusCode::METHOD_NOT_ALLOWED => ApiError::not_allowed(
            "Custodia does not do that here: the path of a container ends with a slash",
            METHODS,
        ),
        StatusCode::BAD_REQUEST
        | StatusCode::NOT_ACCEPTABLE
        | StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            let detail = "Custodia does not understand this: see its manual for types and bodies";
            ApiError::new(status, detail)
        }
        _ => {
            tracing::warn!(http.status = status.as_u16(), "custodia fails");
            bad_gateway()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(path: &str) -> Option<String> {
        let (path, slash) = path.strip_suffix('/').map_or((path, ""), |path| (path, "/"));
        target(&format!("/api/v0{path}").parse().unwrap(), slash)
    }

    #[test]
    fn what_is_asked_for_is_below_the_secrets() {
        for (given, asked) in [
            ("/secrets", "/secrets/"),
            ("/secrets/", "/secrets/"),
            ("/secrets/a", "/secrets/a"),
            ("/secrets/a/", "/secrets/a/"),
            ("/secrets/hosts/2001:db8::1", "/secrets/hosts/2001:db8::1"),
            ("/secrets/a/...?type=kem&value=x/../y", "/secrets/a/...?type=kem&value=x/../y"),
        ] {
            assert_eq!(to(given).as_deref(), Some(asked), "{given}");
        }
    }

    #[test]
    fn nothing_leads_out_of_them() {
        for path in [
            "/secrets/..",
            "/secrets/../x",
            "/secrets/a/../../x",
            "/secrets/a/..",
            "/secrets/./a",
            "/secrets//a",
            "/secrets//",
            "/secrets/a//",
            "/secrets/%2e%2e/x",
            "/secrets/a%2f..%2fx",
            "/secrets/%252e%252e/x",
            "/secrets/a%00",
            "/secrets/a\\..\\x",
            "/secrets/a%0d%0aX:y",
            "/clusters",
        ] {
            assert_eq!(to(path), None, "{path}");
        }
    }
}
