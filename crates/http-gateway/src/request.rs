//! What is known about a request besides its head and its body.

use axum::extract::Request;
use axum::http::{Extensions, HeaderMap, HeaderValue, Uri};
use bus::Context;
use runtime::random;

use crate::access::gate::HostRight;
use crate::error::ApiError;
use crate::principal::{Caller, Principal};

/// The header that carries a request's id, both ways.
pub const REQUEST_ID: &str = "x-request-id";

/// What is known about a request. Every request carries it as an extension; the layers complete it.
#[derive(Debug, Clone, Default)]
pub struct RequestContext {
    /// What its messages to services carry: its id, its principal and its trace.
    pub bus: Context,
    /// Whether its path ended with a slash, which is removed before it is routed.
    pub has_trailing_slash: bool,
    /// Who sends it; `None` where an endpoint needs no log-in.
    pub caller: Option<Caller>,
    /// The answer of the storage service to all that it asks for, while it is not known what its sender may do.
    pub refuses_storage: Option<Box<bus::Error>>,
    /// The right that it depends on, where that may change with the cluster of a host.
    pub host_right: Option<HostRight>,
    /// The id of the operation that it may start, where its `Idempotency-Key` determines one.
    pub operation_id: Option<String>,
}

impl RequestContext {
    /// That of a request.
    pub fn of(extensions: &Extensions) -> Self {
        extensions.get().cloned().unwrap_or_default()
    }

    /// The principal that sends it, if it is known.
    pub fn principal(&self) -> Option<&Principal> {
        self.caller.as_ref()?.principal.as_deref()
    }
}

/// A request after its log-in; its context says who sends it.
#[derive(Debug)]
pub struct Admission {
    /// The request.
    pub request: Request,
    /// The answer to it, if its sender may not have another one.
    pub refusal: Option<ApiError>,
}

/// Begins the context of a request, before it is routed, and removes one slash from the end of its path. Returns its id
/// as a header of its answer.
pub fn begin(request: Request) -> (Request, HeaderValue) {
    let bus = bus_context(request.headers());
    // It is fit for a header: it came from one, or is a UUID.
    let id = HeaderValue::from_str(&bus.request_id).unwrap_or(HeaderValue::from_static("none"));
    let (mut request, has_trailing_slash) = without_slash(request);
    let context = RequestContext { bus, has_trailing_slash, ..RequestContext::default() };
    request.extensions_mut().insert(context);
    (request, id)
}

fn without_slash(mut request: Request) -> (Request, bool) {
    let path_and_query = request.uri().path_and_query().map_or("", |p| p.as_str());
    let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
    if let Some(shorter) = path.strip_suffix('/').filter(|shorter| !shorter.is_empty()) {
        let separator = if query.is_empty() { "" } else { "?" };
        let mut parts = request.uri().clone().into_parts();
        if let Ok(changed) = format!("{shorter}{separator}{query}").parse() {
            parts.path_and_query = Some(changed);
        }
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
            return (request, true);
        }
    }
    (request, false)
}

/// The id and the trace that a request brings along, where they are fit to be passed on.
fn bus_context(headers: &HeaderMap) -> Context {
    let header = |name: &str| headers.get(name)?.to_str().ok().filter(|value| value.len() <= 64);
    let plain = |id: &&str| id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let given = header(REQUEST_ID).filter(plain).filter(|id| !id.is_empty());
    Context {
        request_id: given.map_or_else(|| random::uuid().to_string(), str::to_owned),
        principal: String::new(),
        traceparent: header("traceparent").map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[test]
    fn one_trailing_slash_is_optional() {
        for (given, routed) in [
            ("/api/v0/hosts/", "/api/v0/hosts"),
            ("/api/v0/hosts", "/api/v0/hosts"),
            ("/api/v0/hosts//", "/api/v0/hosts/"),
            ("/api/v0/hosts/?a=/", "/api/v0/hosts?a=/"),
            ("/", "/"),
            ("//", "/"),
        ] {
            let request = Request::builder().uri(given).body(Body::empty()).unwrap();
            assert_eq!(begin(request).0.uri(), routed, "{given}");
        }
    }
}
