//! Continuing operations that ended before all of their hosts were done.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use bus::{Error, topology};
use model::Operation;
use model::messages::{ContinueOperation, OperationPlan};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::history::{OperationSummary, summary};
use super::start::{location, plan};
use crate::api::Api;
use crate::endpoint::OPERATION_PATH;
use crate::error::ApiError;
use crate::params::{Name, Params, SpelledBody, present};
use crate::state::AppState;

/// How an operation is to be continued.
#[derive(Debug, Deserialize, ToSchema)]
pub struct Continuation {
    /// Work on the hosts that failed, too.
    #[serde(default, deserialize_with = "present")]
    retry_failed: Option<bool>,
    /// Start nothing, and answer what would happen.
    #[serde(default, deserialize_with = "present")]
    dry_run: Option<bool>,
}

/// Starts an operation of the same kind, with the same options, over the hosts that are not done.
#[utoipa::path(
    post,
    path = "/api/v0/operation/{id}/continue",
    request_body = Continuation,
    responses(
        (status = 200, body = OperationPlan, description = "what would happen (`dry_run`)"),
        (
            status = 201,
            body = OperationSummary,
            description = "the new operation",
            headers(("Location" = String, description = "Where the operation is shown.")),
        ),
        (status = 404, description = "there is no such operation"),
        (status = 409, description = "it is in process, has finished, is continued already, or no host is left; or as for a start"),
    ),
)]
pub(super) async fn proceed(
    api: Api,
    State(state): State<AppState>,
    Params(Name(id)): Params<Name>,
    SpelledBody(body): SpelledBody<Continuation>,
) -> Result<Response, ApiError> {
    let retry_failed = body.retry_failed.unwrap_or_default();
    let mut request = ContinueOperation { id, retry_failed, ..Default::default() };
    if body.dry_run == Some(true) {
        request.dry_run = true;
        return Ok(Json(plan(api.request(topology::CONTINUE, &request).await?)?).into_response());
    }
    let new = api.operation_id();
    request.operation_id = Some(new.clone());
    let started = api.request(topology::CONTINUE, &request).await.map_err(|error| {
        if error.status() == StatusCode::GATEWAY_TIMEOUT {
            return error.with_detail(format!(
                "no answer in time; it may be continued: look with GET {OPERATION_PATH}{new}"
            ));
        }
        error
    })?;
    let summary = summary(&api, &state, operation(started)?).await?;
    Ok((StatusCode::CREATED, location(&new), Json(summary)).into_response())
}

fn operation(answer: Value) -> Result<Operation, Error> {
    serde_json::from_value(answer).map_err(|e| {
        let message = "the cluster executor answered with something else than an operation";
        Error::internal(message).with_source(e)
    })
}
