//! What a client is told when it does not work: `application/problem+json` (RFC 9457).

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bus::error::{Error, Kind, chain};
use bus::warn_unless_outage;
use model::ClusterName;
use serde::Serialize;
use serde_json::{Map, Value};
use storage_client::Damaged;
use utoipa::ToSchema;

/// Seconds after which a client may try again when something does not answer.
const RETRY_AFTER: &str = "5";

/// The body of a refusal.
#[derive(Debug, Serialize, ToSchema)]
pub struct Problem {
    /// The status in words.
    title: &'static str,
    /// The status.
    status: u16,
    /// What is wrong, and what to do.
    detail: String,
    /// What else there is to say.
    #[serde(flatten)]
    #[schema(ignore)]
    members: Map<String, Value>,
}

/// A refusal: a status, and a sentence that tells the person what to do.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    detail: String,
    header: Option<(HeaderName, HeaderValue)>,
    /// The records that were read do not belong together: another request changed them in between.
    stale: bool,
    /// Boxed: few refusals have any.
    members: Option<Box<Map<String, Value>>>,
}

impl ApiError {
    /// A refusal with any status.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), header: None, stale: false, members: None }
    }

    /// 400: the request is wrong; nothing was changed.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// 401: the bearer token is not accepted.
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        let challenge = HeaderValue::from_static("Bearer error=\"invalid_token\"");
        Self::new(StatusCode::UNAUTHORIZED, detail).with_header(header::WWW_AUTHENTICATE, challenge)
    }

    /// 403: who asks may not.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, detail)
    }

    /// 404: there is no such thing.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// 404: no route leads there.
    pub fn no_route() -> Self {
        Self::not_found("there is nothing at this path")
    }

    /// 404: there is no such cluster, or it may not be seen.
    pub fn no_cluster(name: &ClusterName) -> Self {
        Self::not_found(format!("there is no cluster {name}"))
    }

    /// 404: there is no such host, or it may not be seen.
    pub fn no_host(address: &str) -> Self {
        Self::not_found(format!("there is no host {address}"))
    }

    /// 404: there is no such operation, or it may not be seen.
    pub fn no_operation(id: &str) -> Self {
        Self::not_found(format!("there is no operation {id}"))
    }

    /// 409: the state of the world does not allow it.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, detail)
    }

    /// 405 because a host is not ready; `allow` are the methods that would work.
    pub fn not_allowed(detail: impl Into<String>, allow: &'static str) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, detail)
            .with_header(header::ALLOW, HeaderValue::from_static(allow))
    }

    /// 429 with the seconds after which it may be tried again.
    pub fn too_many(detail: impl Into<String>, seconds: u64) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, detail)
            .with_header(header::RETRY_AFTER, seconds.into())
    }

    /// A record in the store cannot be read: the only one that names a key of the store, for the operator has to
    /// find it there.
    fn damaged(status: StatusCode, damaged: &Damaged) -> Self {
        let detail = format!(
            "the record {} in the store is damaged: repair it in the store, or DELETE what it describes",
            damaged.key
        );
        Self::new(status, detail)
    }

    /// 503: something does not answer.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
            .with_header(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER))
    }

    /// A plan read records of which another request deleted or changed one in between:
    /// [`crate::api::Api::commit`] makes the plan again. As an answer it is a 503.
    pub fn stale(detail: impl Into<String>) -> Self {
        Self { stale: true, ..Self::unavailable(detail) }
    }

    /// Whether it is one of [`Self::stale`].
    pub fn is_stale(&self) -> bool {
        self.stale
    }

    /// The same refusal with other words.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    /// The same refusal with more for a program to read.
    #[must_use]
    pub fn with_members(mut self, members: Map<String, Value>) -> Self {
        self.members = Some(Box::new(members));
        self
    }

    /// What the person is told.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.header = Some((name, value));
        self
    }
}

impl From<Error> for ApiError {
    /// The one place where errors of services become statuses. What is behind a 5xx is logged here and
    /// not told.
    fn from(error: Error) -> Self {
        let status = StatusCode::from_u16(error.kind().status())
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        match error.kind() {
            Kind::InvalidParams | Kind::NotFound | Kind::Conflict | Kind::ContainerManager => {
                Self::new(status, error.to_string())
            }
            Kind::Unavailable => {
                warn_unless_outage!(error, "a service does not answer");
                // Other messages may show what is inside; causes stay in the log in any case.
                if error.part().is_some() {
                    return Self::unavailable(format!("{error}: try again shortly"));
                }
                Self::unavailable(
                    "a service or a store that this request needs does not answer; `commctl explain` names it: \
                     try again shortly",
                )
            }
            Kind::Timeout => {
                warn_unless_outage!(error, "a service took too long");
                let from = error.part().map(|part| format!(" from the {part} service"));
                let detail = format!(
                    "no answer in time{}; it may still be carried out: look before you repeat it",
                    from.unwrap_or_default()
                );
                Self::new(status, detail)
            }
            Kind::Internal
            | Kind::Parse
            | Kind::InvalidRequest
            | Kind::MethodNotFound
            | Kind::Denied => {
                tracing::error!(error = chain(&error), "a request failed");
                match Damaged::reported_by(&error) {
                    Some(damaged) => Self::damaged(status, &damaged),
                    None => Self::new(status, "this is a defect of the server: its log says more"),
                }
            }
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let title = self.status.canonical_reason().unwrap_or("Error");
        let members = self.members.map(|members| *members).unwrap_or_default();
        let status = self.status.as_u16();
        let body = Problem { title, status, detail: self.detail, members };
        let content_type = [(header::CONTENT_TYPE, "application/problem+json")];
        (self.status, content_type, self.header.map(|header| [header]), Json(body)).into_response()
    }
}
